"""Decides which kernel modules an initrd carries and in which order they load. Pure.

Source: modules.dep(5) for `modules.dep`; `modules.builtin` lists what the kernel has inside.
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from yurt.errors import Unsupported

# what a guest needs before its root is mounted, and before its own udev (if any) runs
MICRO = (
    *("virtio_mmio", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "ext4", "pvpanic_pci"),
    "virtio_balloon",
)
FULL = (
    *("virtio_pci", "virtio_console", "virtio_blk", "virtio_net", "virtio_rng", "virtio_balloon"),
    *("ahci", "sd_mod", "crc32c_generic", "ext4", "e1000e", "pvpanic_pci"),
)
# the file systems of shares cost a boot some milliseconds, so only those load them that have shares
FLAVOURS: Mapping[str, tuple[str, ...]] = {"micro": MICRO, "micro-shares": (*MICRO, "virtiofs"), "full": FULL}

# what a machine without sound, cameras, radios and laboratory buses does not miss: more than half of the bytes
_DRIVERS_LEFT_OUT = (
    *(
        "media",
        "infiniband",
        "iio",
        "staging",
        "comedi",
        "mtd",
        "isdn",
        "atm",
        "bluetooth",
        "edac",
        "thunderbolt",
    ),
    *("mmc", "hwmon", "platform", "nfc", "gnss", "parport", "leds", "w1", "soundwire"),
    *("gpu/drm/amd", "gpu/drm/i915", "gpu/drm/nouveau", "gpu/drm/radeon"),
    *("net/wireless", "net/can", "net/wwan", "net/arcnet", "net/hamradio"),
)
_NETS_LEFT_OUT = ("bluetooth", "mac80211", "wireless", "can", "nfc", "atm", "ax25", "appletalk")
_LEFT_OUT = (
    "kernel/sound/",
    *(f"kernel/drivers/{name}/" for name in _DRIVERS_LEFT_OUT),
    *(f"kernel/net/{name}/" for name in _NETS_LEFT_OUT),
)
_KEPT_NICS = frozenset({"intel", "realtek", "amd", "amazon", "google", "microsoft"})


def module_name(path: str) -> str:
    """`kernel/drivers/char/hw_random/virtio-rng.ko` is the module `virtio_rng`."""
    return PurePosixPath(path).name.split(".ko", 1)[0].replace("-", "_")


def parse_dependencies(text: str) -> dict[str, tuple[str, ...]]:
    """Read `modules.dep`: each module's path, and the paths of what it needs."""
    table = {}
    for line in text.splitlines():
        path, colon, needs = line.partition(":")
        if colon:
            table[path.strip()] = tuple(needs.split())
    return table


def load_order(wanted: Iterable[str], dependencies: str, builtin: str) -> tuple[str, ...]:
    """Return paths of all modules to load, each after what it needs; what is built in is left out.

    `dependencies` and `builtin` are the texts of `modules.dep` and `modules.builtin`.
    Raises Unsupported for a module this kernel has in neither form.
    """
    table = parse_dependencies(dependencies)
    paths = {module_name(path): path for path in table}
    inside = {module_name(line) for line in builtin.split()}
    order: dict[str, None] = {}

    def add(path: str) -> None:
        if path not in order:
            for need in reversed(table.get(path, ())):
                add(need)
            order[path] = None

    for name in wanted:
        if path := paths.get(name):
            add(path)
        elif name not in inside:
            raise Unsupported(f"this kernel has no module `{name}`")
    return tuple(order)


def worth_keeping(path: str) -> bool:
    """Whether a virtual machine's own /lib/modules should carry this module (path as in `modules.dep`)."""
    parts = PurePosixPath(path).parts
    if parts[:4] == ("kernel", "drivers", "net", "ethernet"):
        return parts[4] in _KEPT_NICS
    return not path.startswith(_LEFT_OUT)
