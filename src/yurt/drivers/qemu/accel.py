"""KVM or TCG: decided by running a guest, not by looking at /dev/kvm.

A /dev/kvm may open and make machines that then hang, or run fifty times slower than without it (some nested hosts).
So the probe runs a tiny 64-bit guest under a deadline, and keeps the verdict for this boot of the host.
"""

import os
import tempfile
from pathlib import Path

import msgspec

from yurt.drivers.qemu import guest64, jails
from yurt.errors import Timeout, ToolFailed, Unsupported
from yurt.host import proc
from yurt.host.files import write_atomic
from yurt.host.jail import run_jailed
from yurt.model.host import Accelerator
from yurt.model.instance import AccelMode

DEADLINE_S = 2.0
KVM_DEVICE = Path("/dev/kvm")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a probe: it holds for one boot of the host and one QEMU program."""

    boot_id: str
    qemu: str
    accelerator: Accelerator


def probe_argv(qemu: str, accelerator: str, image: str) -> list[str]:
    """The probe guest's command line."""
    return [
        *(qemu, "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"),
        *("-machine", "microvm,acpi=off,rtc=off,isa-serial=off", "-m", "16", "-accel", accelerator),
        *("-device", f"isa-debug-exit,iobase={guest64.EXIT_PORT},iosize=1", "-kernel", image),
    ]


async def run_guest(qemu: str, accelerator: str, *, deadline_s: float) -> str:
    """Run the probe guest, in a jail as every guest; return "" when it worked, else what went wrong in a few words."""
    with tempfile.NamedTemporaryFile(prefix="yurt-probe-") as image:
        image.write(guest64.image())
        image.flush()
        os.fchmod(image.fileno(), 0o444)
        try:
            if jailed():
                jail = jails.probe_jail(qemu, Path(image.name), kvm=accelerator == "kvm")
                argv = probe_argv(qemu, accelerator, jails.KERNEL)
                ended = await run_jailed(argv, jail, timeout_s=deadline_s, check=False)
            else:
                argv = probe_argv(qemu, accelerator, image.name)
                ended = await proc.run(argv, timeout_s=deadline_s, check=False)
        except Timeout:
            return f"a 64-bit guest with paging hangs or crawls on it (gave up after {deadline_s:g} s)"
        except ToolFailed as error:
            return error.message
    if ended.status == guest64.GOOD_STATUS:
        return ""
    lines = ended.stderr.decode(errors="replace").strip().splitlines()
    if lines:
        return f"QEMU says: {lines[-1].removeprefix(qemu).removeprefix(Path(qemu).name).lstrip(': ')}"
    return f"a 64-bit guest with paging fails ({proc.describe_status(ended.status)})"


async def find_accelerator(qemu: str, device: Path = KVM_DEVICE) -> Accelerator:
    """Find out, now, what guests run on here; takes up to `DEADLINE_S` where KVM hangs."""
    if not device.exists():
        reason = f"this host has no {device}: no hardware virtualization, or its kernel module is not loaded"
        return Accelerator(name="tcg", reason=reason)
    if not os.access(device, os.R_OK | os.W_OK):
        return Accelerator(name="tcg", reason=f"{device} is there, but this user may not open it")
    if trouble := await run_guest(qemu, "kvm", deadline_s=DEADLINE_S):
        return Accelerator(name="tcg", reason=f"{device} is there, but {trouble}")
    return Accelerator(name="kvm", reason="a 64-bit guest with paging runs on KVM")


def jailed() -> bool:
    """Whether guests of this daemon run in the full jail, which takes root."""
    return os.geteuid() == 0


async def probe(qemu: str, cache: Path, boot_id: str, *, force: bool = False) -> Accelerator:
    """Return the verdict for this boot of the host, from `cache` or (also with `force`) measured and kept there."""
    if not force and (kept := read_verdict(cache)) and (kept.boot_id, kept.qemu) == (boot_id, qemu):
        return kept.accelerator
    found = await find_accelerator(qemu)
    verdict = Verdict(boot_id=boot_id, qemu=qemu, accelerator=found)
    write_atomic(cache, msgspec.json.encode(verdict), mode=0o644, durable=False)
    return found


def read_verdict(cache: Path) -> Verdict | None:
    """Read a kept verdict; None when there is none or it cannot be understood."""
    try:
        return msgspec.json.decode(cache.read_bytes(), type=Verdict)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def choose(mode: AccelMode, verdict: Accelerator, device: Path = KVM_DEVICE) -> Accelerator:
    """What this instance runs on. The user's word beats the verdict, whose reason then comes along as a warning.

    Raises Unsupported when KVM is asked for and this host has none at all.
    """
    if mode is AccelMode.AUTO:
        return verdict
    if mode is AccelMode.TCG:
        return Accelerator(name="tcg", reason="asked for with `--accel tcg`", probed=False)
    if not device.exists():
        raise Unsupported("this host has no KVM", hint="leave `--accel` out, or use `--accel tcg`")
    if verdict.name == "kvm":
        return verdict
    return Accelerator(name="kvm", reason=f"asked for, against the probe: {verdict.reason}", probed=False)
