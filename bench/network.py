"""TCP and ping over our networks against the same without us, all in network namespaces that are gone afterwards.

Containers: our veth, bridge and firewall against a bare veth pair on a plain bridge, by iperf3 and ping. MicroVMs: our
tap, bridge, firewall and jail against bare QEMU of the same version, command line, kernel and initrd, with a tap on a plain
bridge; busybox inside the guests. All guests run at once and take turns; without KVM the guests themselves are the limit.
"""

import ctypes
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bare_qemu import BareQemu
from common import Case, Failed, Report, Yurt, interleave, need, options

NAME = f"yn{os.getpid() % 10000}"
OURS, PLAIN, ONE, TWO = f"{NAME}ours", f"{NAME}plain", f"{NAME}a", f"{NAME}b"
NETWORK = {"name": "bench", "ipv4": "10.199.0.0/24", "ipv6": "none", "mtu": 1500}
NICS = [{"network": NETWORK["name"]}]
GATEWAY, MTU = "10.199.0.1", "1500"
PROMISE = 1.05
STREAM_S, MICRO_MIB, MACHINE_PINGS, CONTAINER_PINGS = 1, 64, 400, 30000
SINK, SOURCE, SHELL = 5001, 5002, 6000
SERVE = (
    f"nc -ll -p {SINK} -e dd of=/dev/null bs=64k & "
    f"nc -ll -p {SOURCE} -e dd if=/dev/zero bs=64k count={MICRO_MIB * 16} & exec nc -ll -p {SHELL} -e sh"
)
LIBC = ctypes.CDLL(None, use_errno=True)


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(argv)}: {done.stderr}{done.stdout}")
    return done.stdout


def within(place: str) -> tuple[str, ...]:
    """What runs a program in a network namespace: one of ours by name, or a path."""
    return ("nsenter", f"--net={place if '/' in place else f'/run/netns/{place}'}", "--")


@contextmanager
def namespaces(*names: str) -> Iterator[None]:
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in names:
            subprocess.run(("ip", "netns", "delete", name), capture_output=True, check=False)


def ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def bridged_to_inet(*namespaces: str, on: bool) -> None:
    """Whether bridged packets pass the inet tables, too (br_netfilter, which Docker loads)."""
    for namespace in namespaces:
        words = [
            f"net.bridge.bridge-nf-call-{name}={on:d}" for name in ("iptables", "ip6tables", "arptables")
        ]
        run(*within(namespace), "sysctl", "-qw", *words)


def plain_bridge() -> None:
    run("ip", "-n", PLAIN, "link", "add", "br0", "mtu", MTU, "type", "bridge")
    run("ip", "-n", PLAIN, "addr", "add", f"{GATEWAY}/24", "dev", "br0")
    run("ip", "-n", PLAIN, "link", "set", "br0", "up")


# --- containers ----------------------------------------------------------------------------------------------------


def plain_guest(namespace: str, address: str) -> None:
    """A namespace at the end of a veth, which is all that a container is to a network."""
    peer = ("type", "veth", "peer", "name", "eth0", "mtu", MTU, "netns", namespace)
    run("ip", "-n", PLAIN, "link", "add", namespace, "mtu", MTU, *peer)
    run("ip", "-n", PLAIN, "link", "set", namespace, "master", "br0", "up")
    run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
    run("ip", "-n", namespace, "link", "set", "eth0", "up")


def stream(client: str, target: str) -> float:
    """Seconds for a gibibyte."""
    said = run(*within(client), "iperf3", "-c", target, "-t", str(STREAM_S), "-J")
    return float(8 * (1 << 30) / json.loads(said)["end"]["sum_received"]["bits_per_second"])


def round_trip(text: str) -> float:
    """The mean seconds of a round trip in what a ping says at its end. Raises Failed."""
    found = re.search(r"(?:rtt|round-trip) min/avg/max\S* = [\d.]+/([\d.]+)/", text)
    if found is None or " 0% packet loss" not in text:
        raise Failed(f"ping: {text}")
    return float(found[1]) / 1e3


def flood(client: str, target: str, count: int) -> float:
    """Seconds of a round trip, as the whole time of many without a pause: ping itself says whole microseconds."""
    said = run(*within(client), "ping", "-q", "-f", "-c", str(count), target)
    found = re.search(r" 0% packet loss, time (\d+)ms", said)
    if found is None:
        raise Failed(f"ping: {said}")
    return int(found[1]) / 1e3 / (count - 1)


def filtered(client: str, target: str) -> float:
    bridged_to_inet(OURS, on=True)
    try:
        return stream(client, target)
    finally:
        bridged_to_inet(OURS, on=False)


def containers(yurt: Yurt, rounds: int, report: Report) -> None:
    for name in ("one", "two"):
        yurt.create(name, "tiny", "container", init="command", command=["/bin/sleep", "100000"], nics=NICS)
    one, two = (yurt.call("GET", f"/v1/instances/{name}") for name in ("one", "two"))
    inner = {each["name"]: f"/proc/{each['pid']}/ns/net" for each in (one, two)}
    target = two["spec"]["nics"][0]["ipv4"]
    with namespaces(ONE, TWO), ExitStack() as stack:
        plain_guest(ONE, "10.199.0.2")
        plain_guest(TWO, "10.199.0.3")
        for place in (inner["two"], TWO):
            server = subprocess.Popen([*within(place), "iperf3", "-s"], stdout=subprocess.DEVNULL)
            stack.callback(ended, server)
        time.sleep(0.5)
        found = interleave(
            {
                "ours": lambda: stream(inner["one"], target),
                "veth": lambda: stream(ONE, "10.199.0.3"),
                "ours with br_netfilter": lambda: filtered(inner["one"], target),
                "ours, ping": lambda: flood(inner["one"], target, CONTAINER_PINGS),
                "veth, ping": lambda: flood(ONE, "10.199.0.3", CONTAINER_PINGS),
            },
            rounds,
        )
    for what in ("ours", "veth"):
        report.add(f"containers, {what}", 8 * 1.073741824 / found[what].median, "Gbit/s")
        report.add(f"containers, {what}, round trip", found[f"{what}, ping"].median * 1e6, "us")
    report.add("containers: TCP, ours / bare veth", found["ours"].median / found["veth"].median, "x", PROMISE)
    ratio = found["ours with br_netfilter"].median / found["veth"].median
    report.add("containers: TCP, ours with br_netfilter / bare veth", ratio, "x")
    ratio = found["ours, ping"].median / found["veth, ping"].median
    report.add("containers: round trip, ours / bare veth", ratio, "x", PROMISE)
    for name in ("one", "two"):
        yurt.delete(name)


# --- microVMs ------------------------------------------------------------------------------------------------------


def connected(namespace: str, address: str, port: int) -> socket.socket:
    """A connection out of a namespace. Tries for a minute, as guests boot."""
    made: list[socket.socket] = []

    def body() -> None:
        with Path(f"/run/netns/{namespace}").open() as file:
            if LIBC.setns(file.fileno(), 0x40000000) != 0:
                return
        for _ in range(120):
            try:
                made.append(socket.create_connection((address, port), timeout=60))
                return
            except OSError:
                time.sleep(0.5)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if not made:
        raise Failed(f"nobody listens on {address}:{port} in {namespace}")
    return made[0]


def drained(opened: socket.socket) -> bytes:
    """All that comes until the other end closes; only the last of it is kept."""
    last = b""
    while data := opened.recv(1 << 20):
        last = (last + data)[-4096:] if len(data) < 4096 else data[-4096:]
    return last


def told(namespace: str, address: str, script: str) -> str:
    """What a script says that a guest runs."""
    with connected(namespace, address, SHELL) as shell:
        shell.sendall(f"exec 2>&1; {script}; exit\n".encode())
        return drained(shell).decode()


def between(namespace: str, one: str, two: str) -> float:
    """Seconds for the transfer from one guest to the other."""
    begin = time.perf_counter()
    said = told(namespace, one, f"nc {two} {SINK} -e dd if=/dev/zero bs=64k count={MICRO_MIB * 16}")
    if "records out" not in said:
        raise Failed(f"dd: {said}")
    return time.perf_counter() - begin


def to_host(namespace: str, one: str) -> float:
    begin = time.perf_counter()
    with connected(namespace, one, SOURCE) as source:
        drained(source)
    return time.perf_counter() - begin


def from_host(namespace: str, one: str) -> float:
    begin = time.perf_counter()
    with connected(namespace, one, SINK) as sink:
        for _ in range(MICRO_MIB):
            sink.sendall(bytes(1 << 20))
        sink.shutdown(socket.SHUT_WR)
        drained(sink)
    return time.perf_counter() - begin


def cases(namespace: str, one: str, two: str) -> dict[str, Callable[[], float]]:
    ping = f"ping -q -A -c {MACHINE_PINGS} {two}"
    return {
        "guest to guest": lambda: between(namespace, one, two),
        "guest to host": lambda: to_host(namespace, one),
        "host to guest": lambda: from_host(namespace, one),
        "guest to guest, round trip": lambda: round_trip(told(namespace, one, ping)),
        "host to guest, round trip": lambda: flood(namespace, one, MACHINE_PINGS),
    }


def delete_network(yurt: Yurt) -> None:
    if any(each["name"] == NETWORK["name"] for each in yurt.call("GET", "/v1/networks")):
        yurt.call("DELETE", f"/v1/networks/{NETWORK['name']}")


def machines(yurt: Yurt, scratch: Path, rounds: int, report: Report) -> None:
    addresses = []
    with ExitStack() as stack:
        for name in ("one", "two"):
            yurt.create(name, "tiny", "microvm", init="command", command=["/bin/sh", "-c", SERVE], nics=NICS)
            yurt.wait(name, "agent")
            made = yurt.call("GET", f"/v1/instances/{name}")
            addresses.append(made["spec"]["nics"][0]["ipv4"])
            place = scratch / name
            place.mkdir()
            run("ip", "-n", PLAIN, "tuntap", "add", "dev", name, "mode", "tap", "vnet_hdr")
            run("ip", "-n", PLAIN, "link", "set", name, "mtu", MTU, "master", "br0", "up")
            stack.callback(ended, BareQemu(made["pid"], place, name).start(*within(PLAIN)))
        ours, bare = (cases(namespace, *addresses) for namespace in (OURS, PLAIN))
        for namespace in (OURS, PLAIN):
            for address in addresses:
                told(namespace, address, "true")
        both: dict[str, Case] = {
            f"{where}: {what}": case
            for where, each in (("yurt", ours), ("bare", bare))
            for what, case in each.items()
        }
        found = interleave(both, rounds)
    for what in ours:
        values = {where: found[f"{where}: {what}"].median for where in ("yurt", "bare")}
        for where, value in values.items():
            trip = "round trip" in what
            report.add(
                f"microVMs, {where}: {what}",
                value * 1e6 if trip else MICRO_MIB * 8 * 1.048576 / value,
                "us" if trip else "Mbit/s",
            )
        report.add(f"microVMs: {what}, yurt / bare QEMU", values["yurt"] / values["bare"], "x", PROMISE)
    for name in ("one", "two"):
        yurt.delete(name)


def main() -> int:
    chosen = options(__doc__ or "", 15)
    need("nft", "dnsmasq", "ip", "nsenter", "iperf3", "ping", "crun", "qemu-system-x86_64", "qemu-img")
    if os.geteuid() != 0:
        sys.exit("this bench needs root")
    report = Report("TCP and ping over managed networks")
    with Yurt() as yurt:
        yurt.image("tiny")  # there is no way to the package registries from the namespace
        yurt.create("model", "tiny", "microvm", start=False, network="none")
        yurt.delete("model")
    with (
        namespaces(OURS, PLAIN),
        Yurt(around=within(OURS)) as yurt,
        tempfile.TemporaryDirectory(prefix="yurt-bench-") as scratch,
    ):
        plain_bridge()
        bridged_to_inet(OURS, PLAIN, on=False)
        delete_network(yurt)  # what an earlier run left
        yurt.call("POST", "/v1/networks", NETWORK)
        containers(yurt, chosen.rounds, report)
        machines(yurt, Path(scratch), max(3, chosen.rounds // 2), report)
        delete_network(yurt)
    return report.show(as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
