"""User-mode network of containers: up before the command runs, served by a helper that can do nothing else."""

import asyncio
import re
import socket
from pathlib import Path

import pytest
from tests.integration.crun_guest import Guest, collect, in_guest

from yurt.host import proc
from yurt.model.instance import NetworkMode

pytestmark = [pytest.mark.root, pytest.mark.needs("crun", "busybox", "slirp4netns")]


def test_the_network_is_up_before_the_command_runs() -> None:
    async def story(guest: Guest) -> None:
        code, words = await collect(await guest.client.attach_main())
        assert code == 0, words
        assert "inet 10.0.2.15/24" in words and "default via 10.0.2.2" in words
        assert "nameserver 10.0.2.3" in words

    script = "ip addr; ip route; cat /etc/resolv.conf; ip link show up dev tap0"
    in_guest(story, command=("/bin/sh", "-c", script), network=NetworkMode.USER)


def test_packets_go_through_and_the_hosts_loopback_is_out_of_reach() -> None:
    async def story(guest: Guest) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(1)
            port = server.getsockname()[1]
            code, words = await guest.sh(f"echo hello | nc -w 2 10.0.2.2 {port}; echo ended $?")
            assert code == 0 and "ended 1" in words  # refused: an answer came back through the helper
            with pytest.raises(TimeoutError):
                server.accept()

    in_guest(story, network=NetworkMode.USER)


def test_the_helper_is_a_nobody_and_ends_with_the_container() -> None:
    async def story(guest: Guest) -> None:
        pid, start = guest.launched.helpers["network"]
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(re.findall(r"^(\w+):\t(.*)$", status, re.M))
        uid = str(guest.test.attachments.uid)
        assert fields["Uid"].split() == [uid] * 4 and fields["Groups"].strip() == ""
        assert all(int(fields[f"Cap{name}"], 16) == 0 for name in ("Prm", "Eff", "Bnd", "Inh", "Amb"))
        assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
        helper = proc.Process.adopt(pid, start)
        assert helper is not None
        await guest.driver.kill(guest.test.run_dir)
        await guest.driver.cleanup(guest.test.run_dir)
        async with asyncio.timeout(30):
            await helper.wait()
        helper.close()

    in_guest(story, network=NetworkMode.USER)


def test_without_a_network_there_is_only_loopback() -> None:
    async def story(guest: Guest) -> None:
        assert (await guest.sh("ls /sys/class/net"))[1] == "lo\n"
        assert guest.launched.helpers == {}

    in_guest(story, network=NetworkMode.NONE)
