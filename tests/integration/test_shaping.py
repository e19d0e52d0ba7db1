"""Network rates hold with real packets: a guest's end of a cable on a bridge, in namespaces of the test's own."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from yurt.errors import Unsupported
from yurt.host.shaping import mirror_name, shape, unshape

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "tc", "iperf3", "nsenter")]
TOLERANCE = 0.15
MBIT = 10**6
DEVICE = "port1"  # the host's end of the first guest's cable


class Lab:
    """A host with a bridge and two guests on it, each a network namespace held by a process that sleeps."""

    def __init__(self) -> None:
        self.holders = [subprocess.Popen(("unshare", "--net", "sleep", "600")) for _ in range(3)]
        self.host, self.one, self.two = self.holders
        for holder in self.holders:
            self._wait_apart(holder.pid)
        self.run(self.host, "ip link add br0 type bridge")
        self.run(self.host, "ip link set br0 up")
        for number, guest in enumerate((self.one, self.two), 1):
            self.run(
                self.host,
                f"ip link add port{number} type veth peer name eth0 address 02:00:00:00:00:0{number}",
            )
            self.run(self.host, f"ip link set eth0 netns {guest.pid}")
            self.run(self.host, f"ip link set port{number} master br0 up")
            self.run(guest, f"ip addr add 10.77.0.{number}/24 dev eth0")
            self.run(guest, "ip link set eth0 up")

    @staticmethod
    def _wait_apart(pid: int) -> None:
        own = os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116 a namespace's file, followed
        for _ in range(500):
            if os.stat(f"/proc/{pid}/ns/net").st_ino != own:  # noqa: PTH116
                return
            subprocess.run(("sleep", "0.01"), check=True)
        raise AssertionError("no network namespace")

    def run(self, where: "subprocess.Popen[bytes]", command: str) -> str:
        words = ("nsenter", f"--net=/proc/{where.pid}/ns/net", "--", *command.split())
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def rates(self) -> tuple[float, float]:
        """Bits a second towards guest one and from it, both at once, over two seconds after the first half second."""
        words = ("nsenter", f"--net=/proc/{self.two.pid}/ns/net", "--", "iperf3", "-s", "-1", "--forceflush")
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            while "listening" not in server.stdout.readline():
                assert server.poll() is None
            report = self.run(self.one, "iperf3 -c 10.77.0.2 --bidir -t 2 -O 1 -J")
        finally:
            server.kill()
            server.communicate()
        found: Any = json.loads(report)["end"]
        out, back = found["sum_received"], found["sum_received_bidir_reverse"]
        return float(back["bits_per_second"]), float(out["bits_per_second"])

    def shape(self, into: int | None, out: int | None) -> None:
        asyncio.run(shape(DEVICE, into, out, netns_pid=self.host.pid))

    def close(self) -> None:
        for holder in self.holders:
            holder.kill()
            holder.wait()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        made.close()


def check_rates(lab: Lab, into: int | None, out: int) -> None:
    """No measurement is above a rate, and one of three is near it: a busy host may be slower, never faster."""
    for left in (2, 1, 0):
        found = lab.rates()
        assert into is None or found[0] <= (1 + TOLERANCE) * into, found
        assert found[1] <= (1 + TOLERANCE) * out, found
        least = 60 * MBIT if into is None else (1 - TOLERANCE) * into
        if found[0] >= least and found[1] >= (1 - TOLERANCE) * out:
            return
        assert left, found


def test_rates_hold_both_ways_and_change_while_packets_flow(lab: Lab) -> None:
    lab.shape(40 * MBIT, 10 * MBIT)
    check_rates(lab, 40 * MBIT, 10 * MBIT)
    lab.shape(8 * MBIT, 30 * MBIT)
    lab.shape(8 * MBIT, 30 * MBIT)  # saying it twice changes nothing
    check_rates(lab, 8 * MBIT, 30 * MBIT)
    # one direction is lifted, the other stays
    lab.shape(None, 30 * MBIT)
    check_rates(lab, None, 30 * MBIT)


def test_nothing_is_left_when_rates_are_lifted_or_the_device_goes(lab: Lab) -> None:
    lab.shape(40 * MBIT, 10 * MBIT)
    assert mirror_name(DEVICE) in lab.run(lab.host, "ip link")
    lab.shape(None, None)
    assert mirror_name(DEVICE) not in lab.run(lab.host, "ip link")
    shown = lab.run(lab.host, f"tc qdisc show dev {DEVICE}")
    assert "tbf" not in shown and "ingress" not in shown
    lab.shape(None, None)


def test_a_device_that_is_not_there_is_said_and_leaves_nothing(lab: Lab) -> None:
    with pytest.raises(Unsupported) as refused:
        asyncio.run(shape("nowhere", MBIT, MBIT, netns_pid=lab.host.pid))
    assert "nowhere" in refused.value.message
    assert mirror_name("nowhere") not in lab.run(lab.host, "ip link")
    asyncio.run(unshape("nowhere"))
