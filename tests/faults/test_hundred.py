"""A hundred instances at once, half of them killed from outside while they come and go: the host converges to nothing."""

import contextlib
import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.conftest import Daemon

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("qemu-system-x86_64", "crun")]
COUNT, MACHINES, CLIENTS = 100, 8, 8


def test_a_hundred_come_and_go_and_half_of_them_are_killed(daemon: Daemon) -> None:
    choice = random.Random(20)  # the same half every time
    doomed = set(choice.sample(range(COUNT), COUNT // 2))
    daemon.yurt("run", "tiny", "--as", "microvm", "--name", "first", "--network", "none", "--detach")
    daemon.yurt("delete", "--force", "first")  # kernel and disk form are there now
    reasons: list[str] = []
    lock = threading.Lock()

    def one(number: int) -> None:
        name, kind = f"many-{number}", "microvm" if number < MACHINES else "container"
        daemon.yurt("run", "tiny", "--as", kind, "--name", name, "--network", "none", "--detach")
        if number in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(daemon.json("info", name)["pid"], signal.SIGKILL)
            daemon.yurt("wait", name, "--for", "exit", check=False)
            info = daemon.json("info", name)
            with lock:
                reasons.append(f"{info['phase']}: {info['reason']}")
        daemon.yurt("delete", "--force", name)

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(one, range(COUNT)))
    assert len(reasons) == COUNT // 2
    assert all(reason.startswith("crashed: ") and "SIGKILL" in reason for reason in reasons), set(reasons)
    assert daemon.json("ls") == []
    assert not list((daemon.state / "instances").iterdir())
    assert not list((daemon.run / "instances").iterdir())
    assert daemon.json("host", "info")["instances"] == 0
