"""What the jail adds to the start of QEMU: from before the launch to the monitor's greeting, in the jail and bare."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import ROOT, Report, figures, interleave, need, options

sys.path.insert(0, str(ROOT / "src"))

from yurt.drivers.qemu.jails import LIMITS, qemu_jail
from yurt.host.gate import bind_socket
from yurt.host.jail import spawn_jailed
from yurt.host.proc import Process

QEMU = "/usr/bin/qemu-system-x86_64"
UID = 0x3CFFFF00
PROMISE_MS = 10.0


def machine(qmp: int) -> list[str]:
    """A microVM that never runs: what is measured is everything before its first instruction."""
    words = [QEMU, "-no-user-config", "-nodefaults", "-display", "none", "-machine", "microvm", "-m", "64"]
    words += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    return [
        *words,
        "-S",
        "-chardev",
        f"socket,id=qmp,fd={qmp},server=on,wait=off",
        "-mon",
        "qmp,mode=control",
    ]


def greeted(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        if b'"QMP"' not in client.recv(4096):
            raise RuntimeError("QEMU's monitor did not greet")


def bare(path: Path) -> float:
    """QEMU as root with all its rights, started by nothing but fork and exec."""
    with bind_socket(path) as listener:
        begin = time.perf_counter()
        argv = machine(listener.fileno())
        process = subprocess.Popen(argv, pass_fds=(listener.fileno(),), stdin=subprocess.DEVNULL)
        try:
            greeted(path)
            return time.perf_counter() - begin
        finally:
            process.kill()
            process.wait()


def jailed(path: Path) -> float:
    """The same as the driver starts it."""
    started: list[Process] = []
    with bind_socket(path) as listener:
        begin = time.perf_counter()
        jail = qemu_jail(QEMU, UID, UID, (), kvm=False)
        argv, passed = machine(listener.fileno()), (listener.fileno(),)
        process = spawn_jailed(argv, jail, started.append, output=2, pass_fds=passed)
        try:
            greeted(path)
            return time.perf_counter() - begin
        finally:
            process.send(signal.SIGKILL)
            os.waitpid(process.pid, 0)
            process.close()


def main() -> int:
    chosen = options(__doc__ or "", 40)
    need("qemu-system-x86_64")
    if os.geteuid() != 0:
        sys.exit("this bench needs root")
    with tempfile.TemporaryDirectory(prefix="yurt-bench-") as scratch:
        path = Path(scratch) / f"{secrets.token_hex(4)}.sock"
        pairs: list[float] = []

        def case(measure: Callable[[Path], float], sign: int) -> Callable[[], float]:
            def once() -> float:
                took = measure(path)
                pairs.append(sign * took)
                return took

            return once

        found = interleave({"jailed QEMU": case(jailed, 1), "bare QEMU": case(bare, -1)}, chosen.rounds)
    added = [sum(pairs[at : at + 2]) for at in range(0, len(pairs), 2)]
    report = Report(
        f"QEMU's start in the jail ({len(LIMITS)} limits, own namespaces and root, Landlock, seccomp)"
    )
    report.add_cases(found)
    report.add("the jail adds, median of pairs", figures(added).median * 1e3, "ms", PROMISE_MS)
    return report.show(as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
