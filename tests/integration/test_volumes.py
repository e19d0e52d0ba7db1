"""Volumes and shares in real guests: they outlive instances, move between kinds, grow, and lead nowhere else.

One microVM, one VM and one container serve the whole file.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Daemon

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.needs("qemu-system-x86_64", "crun", "/usr/lib/qemu/virtiofsd", "mkfs.ext4"),
]
KINDS = ("container", "microvm", "vm")
CANARY = "nobody in a guest may ever read this"
SWAPS = 3000


@pytest.fixture(scope="module")
def place(shared_daemon: Daemon) -> Path:
    """A directory that is shared, with a canary beside it that is not."""
    outside = shared_daemon.path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "canary").write_text(CANARY)
    shared = outside / "shared"
    shared.mkdir()
    (shared / "file").write_text("from the host\n")
    return shared


@pytest.fixture(scope="module")
def guests(shared_daemon: Daemon, place: Path) -> Iterator[Daemon]:
    """A guest of each kind with the same shares, the machines with a volume each."""
    for kind in KINDS:
        words = ["--mount", f"{place}:/shared", "--mount", f"{place}:/look:ro"]
        if kind != "container":
            shared_daemon.yurt("volume", "create", f"of-{kind}", "--size", "256M")
            words += ["--volume", f"of-{kind}:/srv/data"]
        shared_daemon.yurt("run", "tiny", "--as", kind, "--name", kind, "--detach", *words)
    for kind in KINDS:
        shared_daemon.yurt("wait", kind, "--for", "agent")
    yield shared_daemon
    shared_daemon.yurt("delete", "--force", *KINDS, check=False)
    for volume in shared_daemon.json("volume", "ls"):
        shared_daemon.yurt("volume", "delete", volume["name"])


def inside(daemon: Daemon, name: str, script: str, *, check: bool = True) -> str:
    return daemon.yurt("exec", name, "--", "sh", "-c", script, check=check).stdout.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_shows_the_hosts_files_and_takes_new_ones(guests: Daemon, place: Path, kind: str) -> None:
    assert inside(guests, kind, "cat /shared/file") == "from the host\n"
    inside(guests, kind, f"echo {kind} >/shared/{kind}; mkdir /shared/d-{kind}")
    written = place / kind
    assert written.read_text() == f"{kind}\n"
    assert written.stat().st_uid == place.stat().st_uid, "what root in a guest makes belongs to who shares it"
    assert inside(guests, kind, f"stat -c %u /shared/{kind}") == "0\n"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_only_stays_so(guests: Daemon, place: Path, kind: str) -> None:
    assert inside(guests, kind, "cat /look/file") == "from the host\n"
    inside(
        guests,
        kind,
        "echo no >/look/file; rm /look/file; mount -o remount,rw /look; echo no >/look/new",
        check=False,
    )
    assert (place / "file").read_text() == "from the host\n" and not (place / "new").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_leads_nowhere_else_whatever_is_swapped_in_it(guests: Daemon, place: Path, kind: str) -> None:
    """The host swaps a directory for a link out of the share, again and again, while the guest reads and writes."""
    trap, spare = place / "trap", place / "spare"
    spare.mkdir(exist_ok=True)
    (spare / "canary").write_text("harmless\n")
    trap.symlink_to("..")
    stop = threading.Event()

    def swap() -> None:
        """Exchange the two names; from within the guest it would be the same calls."""
        third = place / "third"
        for _ in range(SWAPS):
            if stop.is_set():
                return
            trap.rename(third)
            spare.rename(trap)
            trap.rename(spare)
            third.rename(trap)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        script = (
            "i=0; while [ $i -lt 300 ]; do cat /shared/trap/canary /shared/spare/canary; "
            "echo written >/shared/trap/canary; echo written >/shared/trap/escaped; i=$((i+1)); done 2>/dev/null"
        )
        seen = inside(guests, kind, script, check=False)
    finally:
        stop.set()
        swapper.join()
        for path in (trap, place / "third"):
            if path.is_symlink():
                path.unlink()
    assert CANARY not in seen and "harmless" in seen
    assert (place.parent / "canary").read_text() == CANARY
    assert not (place.parent / "escaped").exists()
    for name in ("spare", "trap"):
        subprocess.run(["rm", "-rf", str(place / name)], check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_links_in_a_share_lead_into_the_guest(guests: Daemon, place: Path, kind: str) -> None:
    link = place / f"link-{kind}"
    link.symlink_to(place.parent / "canary")
    assert CANARY not in inside(guests, kind, f"cat /shared/link-{kind} 2>&1", check=False)
    assert CANARY not in inside(
        guests, kind, "cat /shared/../canary /shared/../../outside/canary 2>&1", check=False
    )


def test_some_places_are_not_shared(guests: Daemon) -> None:
    for source in ("/", "/proc", "/sys", "/dev", str(guests.state)):
        refused = guests.yurt("create", "tiny", "--mount", f"{source}:/x", check=False)
        assert refused.returncode != 0 and b"shared" in refused.stderr, source
    absent = guests.yurt("create", "tiny", "--mount", f"{guests.path}/absent:/x", check=False)
    assert absent.returncode != 0


def test_a_volume_outlives_its_instance_and_moves_to_another_kind(guests: Daemon) -> None:
    inside(guests, "microvm", "echo kept >/srv/data/file; sync")
    refused = guests.yurt("volume", "attach", "of-microvm", "vm", check=False)
    assert refused.returncode == 5 and b"attached to `microvm`" in refused.stderr
    assert guests.yurt("volume", "delete", "of-microvm", check=False).returncode == 5
    guests.yurt("run", "tiny", "--as", "microvm", "--name", "other", "--detach")
    guests.yurt("delete", "--force", "other")
    guests.yurt("volume", "create", "moving", "--size", "64M")
    guests.yurt("run", "tiny", "--as", "microvm", "--name", "first", "--volume", "moving:/m", "--detach")
    guests.yurt("wait", "first", "--for", "agent")
    inside(guests, "first", "echo kept >/m/file; sync")
    guests.yurt("delete", "--force", "first")
    guests.yurt("volume", "attach", "moving:/m", "vm")
    assert inside(guests, "vm", "cat /m/file") == "kept\n"
    guests.yurt("volume", "detach", "moving")
    assert "moving" not in str(guests.json("info", "vm")["spec"]["volumes"])


def test_a_volume_grows_while_its_machine_runs(guests: Daemon) -> None:
    def blocks() -> int:
        return int(inside(guests, "vm", "df -k /srv/data | tail -1").split()[1])

    before = blocks()
    guests.yurt("volume", "resize", "of-vm", "512M")
    assert blocks() > before * 1.7
    assert guests.yurt("volume", "resize", "of-vm", "128M", check=False).returncode == 2


def test_what_a_guest_has_flushed_survives_the_sudden_end_of_its_machine(guests: Daemon) -> None:
    inside(guests, "microvm", "echo flushed >/srv/data/flushed; sync /srv/data/flushed || sync")
    os.kill(guests.json("info", "microvm")["pid"], signal.SIGKILL)
    guests.yurt("wait", "microvm", "--for", "exit", check=False)
    guests.yurt("start", "microvm")
    guests.yurt("wait", "microvm", "--for", "agent")
    assert inside(guests, "microvm", "cat /srv/data/flushed /srv/data/file") == "flushed\nkept\n"


def test_shares_come_back_with_the_guest_and_outlive_the_daemon(guests: Daemon) -> None:
    guests.kill()
    guests.start()
    for kind in KINDS:
        guests.yurt("wait", kind, "--for", "agent")
        assert inside(guests, kind, "cat /shared/file") == "from the host\n"


def test_a_tree_is_a_containers_volume_and_a_machines_share(guests: Daemon) -> None:
    guests.yurt("volume", "create", "tree", "--filesystem")
    guests.yurt("run", "tiny", "--as", "container", "--name", "one", "--volume", "tree:/tree", "--detach")
    inside(guests, "one", "echo tree >/tree/file")
    both = guests.yurt("create", "tiny", "--as", "container", "--volume", "tree:/tree", check=False)
    assert both.returncode == 5
    guests.yurt("delete", "--force", "one")
    guests.yurt("run", "tiny", "--as", "microvm", "--name", "two", "--volume", "tree:/tree", "--detach")
    guests.yurt("wait", "two", "--for", "agent")
    assert inside(guests, "two", "cat /tree/file") == "tree\n"
    guests.yurt("delete", "--force", "two")
    disk = guests.yurt("create", "tiny", "--as", "container", "--volume", "of-vm:/x", check=False)
    assert disk.returncode != 0


def test_of_eight_that_want_a_volume_one_gets_it(guests: Daemon) -> None:
    guests.yurt("volume", "create", "wanted", "--filesystem")
    names = [f"want-{number}" for number in range(8)]
    runs = [
        subprocess.Popen(
            guests.argv("create", "tiny", "--as", "container", "--name", name, "--volume", "wanted:/w"),
            env=guests.environ(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for name in names
    ]
    said = [run.communicate()[1] for run in runs]
    won = [name for name, run in zip(names, runs, strict=True) if run.returncode == 0]
    assert len(won) == 1 and guests.json("volume", "info", "wanted")["instance"] == won[0]
    assert all(b"attached to" in text for text, run in zip(said, runs, strict=True) if run.returncode)
    with contextlib.suppress(ValueError):
        guests.yurt("delete", won[0])
