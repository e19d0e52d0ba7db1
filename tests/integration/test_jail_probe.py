"""A program that tries everything, inside QEMU's jail and inside a container: the whole table of results is asserted.

It stands in for a QEMU (or a container's root) that was taken over. QEMU's own filter is not there: what is denied
here, the outer walls deny.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.conformance.drivers_crun import SLOT_IDS
from tests.integration.crun_guest import Guest, in_guest

from yurt.drivers.qemu.jails import LIMITS, qemu_jail
from yurt.host.jail import spawn_jailed
from yurt.host.machinelog import MachineLog
from yurt.model.limits import Limits

pytestmark = [pytest.mark.root, pytest.mark.needs("gcc")]
SOURCE = Path(__file__).with_name("jail_probe.c")
EXPECTED = Path(__file__).with_name("jail_probe_results")
UID = 0x3CFFFF10
ABSTRACT = f"yurt-test-{os.getpid()}"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """The probe, a canary, another guest's disk and monitor."""
    directory = Path(tempfile.mkdtemp(prefix="yp-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        subprocess.run(
            [
                "gcc",
                "-static",
                "-O1",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-o",
                str(directory / "probe"),
                str(SOURCE),
            ],
            check=True,
        )
        for name in ("canary", "disk"):
            (directory / name).write_text("untouched")
            (directory / name).chmod(0o666)  # it is not the mode that protects them
        with socket.socket(socket.AF_UNIX) as monitor, socket.socket(socket.AF_UNIX) as abstract:
            monitor.bind(str(directory / "qmp.sock"))
            (directory / "qmp.sock").chmod(0o666)
            monitor.listen(1)
            abstract.bind("\0" + ABSTRACT)
            abstract.listen(1)
            yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host with the jail's own user: only the walls keep them apart."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], user=UID, group=UID)
    try:
        yield process
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def arguments(place: Path, victim: int) -> list[str]:
    return [str(place / "canary"), str(place / "disk"), str(place / "qmp.sock"), str(victim), ABSTRACT]


def table(output: str) -> str:
    """The lines of results, without what the flood has written after them."""
    return output.partition("end ok\n")[0]


def check(name: str, found: str) -> None:
    path = EXPECTED / f"{name}.txt"
    if os.environ.get("YURT_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(found)
    assert found == path.read_text()


def test_in_qemus_jail(place: Path, victim: subprocess.Popen[bytes]) -> None:
    log, program = MachineLog.make(), str(place / "probe")
    jail = replace(qemu_jail(program, UID, UID, (), kvm=False), limits=LIMITS)
    argv = [program, *arguments(place, victim.pid), "flood"]
    process = spawn_jailed(argv, jail, lambda process: None, output=log.descriptor)
    _, status = os.waitpid(process.pid, 0)
    text = log.text()
    log.close()
    assert "\nend ok\n" in text
    check("qemu", table(text))
    assert os.waitstatus_to_exitcode(status) == 1  # EPERM: its log was full, and it could do no more
    assert len(text) <= 64 << 10
    for name in ("canary", "disk"):
        assert (place / name).read_text() == "untouched"


@pytest.mark.needs("crun", "busybox")
def test_in_a_container(place: Path, victim: subprocess.Popen[bytes]) -> None:
    async def story(guest: Guest) -> None:
        rootfs = guest.test.attachments.rootfs
        assert rootfs is not None
        inside = rootfs.data / "upper" / "probe"
        await asyncio.to_thread(shutil.copy, place / "probe", inside)
        os.chown(inside, SLOT_IDS[0], SLOT_IDS[0])
        code, output = await guest.sh(" ".join(["/probe", *arguments(place, victim.pid)]))
        assert code == 0, output
        check("container", table(output))

    in_guest(
        story, limits=Limits(pids=256)
    )  # with the usual 4096, the fork bomb meets the limit of memory first
    for name in ("canary", "disk"):
        assert (place / name).read_text() == "untouched"


@pytest.mark.parametrize("name", ["qemu", "container"])
def test_at_least_sixty_tries_fail(name: str) -> None:
    rows = [line.split() for line in (EXPECTED / f"{name}.txt").read_text().splitlines()]
    assert len([row for row in rows if row[1] not in ("ok", "0", "empty")]) >= 60
    assert len({row[0] for row in rows}) == len(rows)
