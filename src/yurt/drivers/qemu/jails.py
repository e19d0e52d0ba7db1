"""What QEMU's jail holds, and that of its network helper: data for the launcher in host/jail.py.

Disks, sockets and NICs come as descriptors; kernel and initrd, which QEMU opens by name, as files of the private root.
"""

from pathlib import Path

from msgspec.structs import replace

from yurt.drivers.base import Attachments
from yurt.host.jailroot import readable, system_libraries
from yurt.host.jailspec import HOST_NETWORK, STANDARD_DEVICES, Bind, JailSpec
from yurt.host.rootless import current_ids
from yurt.host.seccomp import AF_INET, AF_UNIX
from yurt.model.instance import ResolvedSpec

KERNEL, INITRD = "/boot/kernel", "/boot/initrd"
SOCKETS = "/net"  # where the helper makes its socket
# Debian's places of QEMU's own files: firmware, key maps, boot ROMs of cards
FIRMWARE = (
    "/usr/share/qemu",
    "/usr/share/seabios",
    "/usr/lib/ipxe/qemu",
    "/usr/share/OVMF",
    "/usr/share/ovmf",
)
LIMITS = (("core", 0), ("memlock", 0), ("msgqueue", 0), ("nofile", 1024), ("nproc", 512))
# processes are counted by user, and the helper has QEMU's: leave room for all threads of a large machine
HELPER_LIMITS = (("core", 0), ("memlock", 0), ("msgqueue", 0), ("nofile", 8192), ("nproc", 1024))
RESOLVER = Path("/etc/resolv.conf")


def program_prefix_data(program: str) -> tuple[str, ...]:
    """Where a QEMU outside of /usr/bin keeps its firmware (`/opt/qemu/bin/…` has `/opt/qemu/share/qemu`). Pure."""
    prefix = Path(program).parent.parent
    return () if str(prefix) in ("/usr", "/") else (str(prefix / "share/qemu"),)


def machine_limits(spec: ResolvedSpec) -> tuple[tuple[str, int], ...]:
    """QEMU's own limits: what the user asks for in place of the usual. Pure."""
    asked = {"nofile": spec.limits.open_files, "nproc": spec.limits.processes}
    return tuple((name, asked.get(name) or usual) for name, usual in LIMITS)


def machine_jail(qemu: str, attachments: Attachments, spec: ResolvedSpec, *, kvm: bool) -> JailSpec:
    """The jail of one instance's QEMU: nothing in it may be written to by name."""
    kernel = attachments.kernel
    own = (Bind(str(kernel.kernel), KERNEL), Bind(str(kernel.initrd), INITRD)) if kernel else ()
    jail = qemu_jail(qemu, attachments.uid, attachments.gid, own, kvm=kvm)
    return replace(jail, limits=machine_limits(spec))


def probe_jail(qemu: str, kernel: Path, *, kvm: bool) -> JailSpec:
    """The jail of the accelerator probe's QEMU."""
    uid = current_ids().tool_uid
    return qemu_jail(qemu, uid, uid, (Bind(str(kernel), KERNEL),), kvm=kvm)


def qemu_jail(qemu: str, uid: int, gid: int, own: tuple[Bind, ...], *, kvm: bool) -> JailSpec:
    """A jail for a QEMU: no network, no socket family but unix, its firmware, and what is its own."""
    libraries, links = system_libraries()
    program = Bind(str(Path(qemu).resolve()), qemu)
    return JailSpec(
        uid=uid,
        gid=gid,
        binds=(*libraries, program, *readable(*FIRMWARE, *program_prefix_data(qemu)), *own),
        links=links,
        devices=(*STANDARD_DEVICES, "kvm") if kvm else STANDARD_DEVICES,
        limits=LIMITS,
    )


def helper_jail(program: str, attachments: Attachments, sockets: Path) -> JailSpec:
    """The jail of slirp4netns: the host's network and the host's name servers, and one directory for its socket."""
    libraries, links = system_libraries()
    binds = [*libraries, Bind(str(Path(program).resolve()), program), Bind(str(sockets), SOCKETS, True)]
    if RESOLVER.exists():
        binds.append(Bind(str(RESOLVER.resolve()), str(RESOLVER)))
    return JailSpec(
        uid=attachments.uid,
        gid=attachments.gid,
        binds=tuple(binds),
        links=links,
        network=HOST_NETWORK,
        families=(AF_UNIX, AF_INET),
        limits=HELPER_LIMITS,
    )
