"""What is asked for -> QEMU's command line, one small pure function per device.

Nothing here opens a file, reads a clock or decides a policy that the caller did not ask for. No text that a user
wrote stands inside a comma-separated option: devices, block nodes, NICs and objects are JSON, and the options that
have no JSON form carry only numbers and names of ours. Written for QEMU 7.2 and later.
"""

import msgspec

from yurt.drivers.base import NicAttachment
from yurt.drivers.qemu.blocks import descriptor_set_args, file_node, format_node, json_option
from yurt.drivers.qemu.room import Room, balloon_args, port_args, whole_pages
from yurt.drivers.qemu.shares import SharePort, share_args
from yurt.drivers.qemu.throttle import group_options, limit_node, limit_options
from yurt.drivers.qemu.volumes import VolumeDisk, volume_args
from yurt.errors import Invalid
from yurt.model.image import DiskFormat
from yurt.model.instance import Kind, NetworkMode
from yurt.model.limits import Limits
from yurt.model.names import InstanceId
from yurt.model.volume import ROOT_SERIAL

AGENT_PORT = "org.yurt.agent.0"
TRANSLATION_CACHE_MIB = 256  # smaller ones slow a boot by up to 74 %, larger ones gain nothing
BASE_SET, DISK_SET = 1, 2  # numbers of the descriptor sets


class Descriptors(msgspec.Struct, frozen=True, kw_only=True):
    """Descriptors that QEMU inherits; -1: absent. The sockets listen already.

    `network` is a socket that carries one Ethernet frame a message; `lifeline` QEMU just holds, and others see it end.
    """

    qmp: int
    agent: int
    console: int
    disk: int = -1
    base: int = -1
    network: int = -1
    lifeline: int = -1
    nics: tuple["NicDescriptors", ...] = ()

    def all(self) -> tuple[int, ...]:
        """Those that are there, in order."""
        *single, nics = msgspec.structs.astuple(self)
        every = [*single, *(number for nic in nics for number in (nic.tap, nic.vhost))]
        return tuple(number for number in every if number >= 0)


class NicDescriptors(msgspec.Struct, frozen=True, kw_only=True):
    """What a NIC on a tap needs: the tap, and the kernel's virtio backend where there is one (else -1)."""

    tap: int
    vhost: int = -1


class MachineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides a QEMU command line."""

    qemu: str
    id: InstanceId
    kind: Kind
    cpus: int
    memory_bytes: int
    network: NetworkMode
    accelerator: str  # kvm or tcg
    tsc_khz: int  # the host's TSC rate; 0 when unknown
    descriptors: Descriptors
    disk_format: DiskFormat = DiskFormat.QCOW2
    base_format: DiskFormat = DiskFormat.RAW
    kernel: str = ""  # paths as QEMU sees them
    initrd: str = ""
    kernel_words: tuple[str, ...] = ()
    nics: tuple[NicAttachment, ...] = ()
    room: Room | None = None  # none: it cannot grow while it runs
    virtio_disk: bool = False  # a VM's root disk is a virtio disk instead of a SATA disk
    limits: Limits = Limits()
    volumes: tuple[VolumeDisk, ...] = ()
    shares: tuple[SharePort, ...] = ()


def machine_argv(machine: MachineSpec) -> list[str]:
    """The whole command line of one VM or microVM, program first."""
    micro = machine.kind is Kind.MICROVM
    return [
        machine.qemu,
        *identity_args(machine.id),
        *confinement_args(),
        *(micro_machine_args() if micro else full_machine_args()),
        *accelerator_args(machine.accelerator),
        *processor_args(machine.accelerator, machine.cpus, machine.room),
        *memory_args(machine.memory_bytes, machine.room, shared=bool(machine.shares)),
        *monitor_args(machine.descriptors.qmp),
        *console_args(machine.descriptors.console),
        *(kernel_args(machine) if micro else firmware_args()),
        *disk_args(machine),
        *volume_args(machine.volumes, micro=micro),
        *share_args(machine.shares, micro=micro),
        *random_args(micro),
        *agent_args(machine.descriptors.agent, micro),
        *network_args(machine, micro),
        *taps_args(machine.nics, machine.descriptors.nics, micro),
        *panic_args(),
        *([] if micro else display_args()),
        *(
            []
            if machine.room is None
            else [*balloon_args(machine.room, micro), *port_args(machine.room.ports)]
        ),
    ]


def identity_args(instance_id: InstanceId) -> list[str]:
    """A process title that names the instance by id (the name may change while it runs)."""
    return ["-name", f"yurt-{instance_id}"]


def confinement_args() -> list[str]:
    """Nothing from configuration files, no default devices, and every system call group that can be denied is."""
    return [
        "-no-user-config",
        "-nodefaults",
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-display",
        "none",
    ]


def micro_machine_args() -> list[str]:
    """The `microvm` machine.

    ACPI stays on because Debian's kernel finds virtio-mmio devices through nothing else; PIT, PIC and RTC because a
    guest without them waits for timers that never come; PCI Express for the panic device, which costs no measurable
    time. Modern virtio only. A guest that resets boots again.
    """
    options = "acpi=on,pcie=on,pit=on,pic=on,rtc=on,isa-serial=on,x-option-roms=off,auto-kernel-cmdline=off"
    return [
        "-machine",
        f"microvm,{options},dump-guest-core=off,memory-backend=ram0",
        "-global",
        "virtio-mmio.force-legacy=false",
    ]


def full_machine_args() -> list[str]:
    """A PC with PCI Express and AHCI."""
    return ["-machine", "q35,vmport=off,usb=off,dump-guest-core=off,memory-backend=ram0"]


def accelerator_args(accelerator: str) -> list[str]:
    """KVM, or TCG with one thread per vCPU and a translation cache that holds a whole boot."""
    if accelerator == "kvm":
        return ["-accel", "kvm"]
    return ["-accel", f"tcg,thread=multi,tb-size={TRANSLATION_CACHE_MIB}"]


def processor_args(accelerator: str, cpus: int, room: Room | None = None) -> list[str]:
    """The vCPUs, and how many there may be.

    Under TCG an AMD model without AVX, the fastest to emulate, raised to the x86-64-v2 level that newer
    distributions are built for.
    """
    model = "host" if accelerator == "kvm" else "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt"
    grows = room is not None and room.cpus > cpus
    return ["-cpu", model, "-smp", f"cpus={cpus},maxcpus={room.cpus}" if room and grows else str(cpus)]


def memory_args(memory_bytes: int, room: Room | None = None, *, shared: bool = False) -> list[str]:
    """RAM as a backend named `ram0`, rounded up to whole huge pages, and how much there may be.

    `shared`: file servers map it, too.
    """
    size = whole_pages(memory_bytes)
    kind = (
        {"qom_type": "memory-backend-memfd", "share": True} if shared else {"qom_type": "memory-backend-ram"}
    )
    backend = json_option("-object", **kind, id="ram0", size=size)
    if room is None or not room.slots:
        return ["-m", f"{size}B", *backend]
    return ["-m", f"size={size}B,slots={room.slots},maxmem={room.memory_bytes}B", *backend]


def socket_chardev_args(name: str, descriptor: int) -> list[str]:
    """A character device on a socket that listens already; nobody need be connected for the guest to run."""
    return ["-chardev", f"socket,id={name},fd={descriptor},server=on,wait=off"]


def monitor_args(descriptor: int) -> list[str]:
    """The QMP monitor."""
    return [*socket_chardev_args("qmp", descriptor), "-mon", "chardev=qmp,mode=control"]


def console_args(descriptor: int) -> list[str]:
    """The first serial port."""
    return [*socket_chardev_args("console", descriptor), "-serial", "chardev:console"]


def kernel_args(machine: MachineSpec) -> list[str]:
    """Direct boot. QEMU opens kernel and initrd by name, so the files must be readable to its user."""
    return [
        "-kernel",
        machine.kernel,
        "-initrd",
        machine.initrd,
        "-append",
        " ".join(kernel_words(machine)),
    ]


def kernel_words(machine: MachineSpec) -> list[str]:
    """The guest kernel's command line.

    The kernel's self-tests of its ciphers are left to whoever built it (a seventh of a boot). Under TCG it is told the
    TSC's rate, because measuring it fails more often than not on this machine type; spares the defences against a
    speculation that an emulated CPU does not do; and leaves its locks as they are when it has one CPU, for rewriting
    them means translating it all anew (a twelfth of a boot). Raises Invalid for an extra word that is not one word.
    """
    words = ["console=ttyS0", "quiet", "cryptomgr.notests"]
    if machine.accelerator != "kvm":
        if machine.tsc_khz:
            words += [f"tsc_early_khz={machine.tsc_khz}", "tsc=reliable"]
        words += ["mitigations=off", "noreplace-smp"]
    for word in machine.kernel_words:
        if not word or not word.isascii() or not word.isprintable() or " " in word:
            raise Invalid(f"`{word!a}` is not one word of a kernel command line")
    return [*words, *machine.kernel_words]


def firmware_args() -> list[str]:
    """SeaBIOS, which boots the root disk and nothing else."""
    return ["-boot", "strict=on"]


def disk_args(machine: MachineSpec) -> list[str]:
    """The root disk: an overlay of its own, over a read-only base when there is one. Formats are never probed.

    Writes are cached by the host and flushed when the guest asks; what the guest discards or zeroes is freed.
    """
    descriptors, args = machine.descriptors, list[str]()
    based = descriptors.base >= 0
    if based:
        args += descriptor_set_args(BASE_SET, descriptors.base)
        args += file_node("base-file", BASE_SET, read_only=True)
        args += format_node("base", machine.base_format, None, read_only=True)
    args += descriptor_set_args(DISK_SET, descriptors.disk)
    args += file_node("root-file", DISK_SET, read_only=False)
    saving = {"discard": "unmap", "detect_zeroes": "unmap"}
    args += format_node("root", machine.disk_format, "base" if based else None, **saving)
    args += json_option("-object", **group_options(machine.limits))
    args += json_option("-blockdev", **limit_options("root"))
    return [*args, *root_device_args(machine)]


def root_device_args(machine: MachineSpec) -> list[str]:
    """The root disk as the guest sees it: SATA only for a VM whose disk may come from anywhere."""
    disk = {"id": "disk0", "drive": limit_node("root")}
    if machine.kind is Kind.MICROVM:
        return json_option("-device", driver="virtio-blk-device", **disk, serial=ROOT_SERIAL)
    if machine.virtio_disk:
        return json_option("-device", driver="virtio-blk-pci", **disk, bootindex=0)
    return json_option("-device", driver="ide-hd", **disk, bus="ide.0", bootindex=0)


def random_args(micro: bool) -> list[str]:
    """Entropy from the host's kernel, without a file."""
    return [
        *json_option("-object", qom_type="rng-builtin", id="rng0"),
        *json_option("-device", driver=virtio("rng", micro), id="random0", rng="rng0"),
    ]


def agent_args(descriptor: int, micro: bool) -> list[str]:
    """The port that yurt-agent opens."""
    return [
        *socket_chardev_args("agent", descriptor),
        *json_option("-device", driver=virtio("serial", micro), id="serial0"),
        *json_option("-device", driver="virtserialport", bus="serial0.0", chardev="agent", name=AGENT_PORT),
    ]


def network_args(machine: MachineSpec, micro: bool) -> list[str]:
    """No NIC, or one whose frames go to the user-mode network's helper."""
    if machine.network is not NetworkMode.USER:
        return []
    link, mac = {"type": "fd", "str": str(machine.descriptors.network)}, mac_address(machine.id)
    return [
        *json_option("-netdev", type="dgram", id="net0", local=link),
        *json_option("-device", **nic_model(micro), id="nic0", netdev="net0", mac=mac),
    ]


def taps_args(
    nics: tuple[NicAttachment, ...], descriptors: tuple[NicDescriptors, ...], micro: bool
) -> list[str]:
    """NICs on taps that the daemon has made and put on their bridges; QEMU gets them open."""
    args = list[str]()
    for nic, given in zip(nics, descriptors, strict=True):
        name = f"net{nic.index}"
        backend = {"vhost": True, "vhostfd": str(given.vhost)} if given.vhost >= 0 else {"vhost": False}
        args += json_option("-netdev", type="tap", id=name, fd=str(given.tap), **backend)
        args += json_option("-device", **nic_model(micro), id=f"nic{nic.index}", netdev=name, mac=nic.mac)
    return args


def nic_model(micro: bool) -> dict[str, str]:
    """The device that the guest sees; a whole PC's is one that any system has a driver for."""
    return {"driver": "virtio-net-device"} if micro else {"driver": "e1000e", "romfile": ""}


def mac_address(instance_id: InstanceId) -> str:
    """A MAC in QEMU's range, from the first half of the instance's id."""
    return "52:54:00:" + ":".join(instance_id[at : at + 2] for at in (0, 2, 4))


def display_args() -> list[str]:
    """A standard VGA card: nothing shows it yet, but firmware and boot loaders expect one."""
    return json_option("-device", driver="VGA", id="display0")


def panic_args() -> list[str]:
    """The device by which a guest's kernel says that it has panicked; QEMU then ends."""
    return [*json_option("-device", driver="pvpanic-pci", id="panic0"), "-action", "panic=shutdown"]


def virtio(device: str, micro: bool) -> str:
    """The name of a virtio device on this machine's bus."""
    return f"virtio-{device}-{'device' if micro else 'pci'}"
