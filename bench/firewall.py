"""The firewall: what one guest's change costs beside 10 and beside 5,000 others, and what packets pay for it.

All in network namespaces of its own. Every tenth port has rules of its own, the measured one too.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from common import ROOT, Report, figures, interleave, need, options

sys.path.insert(0, str(ROOT / "src"))

from msgspec.structs import replace

from yurt.model.network import Action, Direction, FirewallRule, Protocol, PublishedPort
from yurt.network import firewall
from yurt.network.firewall import NetworkRules, PortBinding

FEW, MANY = 10, 5000
PROMISE_RATIO, PROMISE_THROUGHPUT = 2.0, 1.05
STREAM_S = 1
NAME = f"yb{os.getpid() % 10000}"
NETWORK = NetworkRules(
    bridge="yt0",
    ipv4="10.90.0.0/16",
    ipv6="fd00:90::/64",
    gateway4="10.90.255.254",
    gateway6="fd00:90::ffff",
    nat=True,
    isolated=False,
)
RULES = (
    FirewallRule(direction=Direction.IN, action=Action.ALLOW, protocol=Protocol.TCP, ports="22,80,443,5201"),
    FirewallRule(direction=Direction.OUT, action=Action.DENY),
    FirewallRule(direction=Direction.OUT, action=Action.ALLOW, peer="10.0.0.0/8", ports="443,5201"),
    FirewallRule(direction=Direction.OUT, action=Action.ALLOW, peer="example.org", ports="443"),
)


def port(number: int, *, ruled: bool) -> PortBinding:
    return PortBinding(
        interface=f"yt{number}",
        bridge="yt0",
        instance_id=f"{number:012x}",
        mac=f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}",
        ipv4=f"10.90.{number >> 8}.{number & 255}",
        ipv6=f"fd00:90::{number:x}",
        rules=RULES if ruled else (),
        publish=(PublishedPort(host_port=20000 + number, guest_port=80),),
    )


def run(*argv: str, text: str | None = None) -> str:
    return subprocess.run(argv, input=text, capture_output=True, text=True, check=True).stdout


def load(namespace: str, text: str) -> None:
    run("ip", "netns", "exec", namespace, "nft", "-f", "-", text=text)


@contextmanager
def namespaces(*names: str) -> Iterator[None]:
    try:
        for name in names:
            run("ip", "netns", "add", name)
        yield
    finally:
        for name in names:
            subprocess.run(("ip", "netns", "delete", name), capture_output=True, check=False)


def changes(rounds: int, report: Report) -> None:
    few, many = f"{NAME}few", f"{NAME}many"
    with namespaces(few, many):
        for name, count in ((few, FEW), (many, MANY)):
            load(
                name,
                firewall.whole("bench", [NETWORK], [port(n, ruled=n % 10 == 0) for n in range(2, count + 2)]),
            )
        one = port(9000, ruled=True)
        other = replace(one, rules=RULES[:2])

        def case(namespace: str) -> float:
            begin = time.perf_counter()
            load(namespace, firewall.add_port("bench", one))
            load(namespace, firewall.change_port("bench", one, other))
            load(namespace, firewall.remove_port("bench", other))
            return (time.perf_counter() - begin) / 3

        found = interleave({f"beside {FEW}": lambda: case(few), f"beside {MANY}": lambda: case(many)}, rounds)
    report.add_cases(found)
    ratio = found[f"beside {MANY}"].median / found[f"beside {FEW}"].median
    report.add(f"one port's rules beside {MANY} others / beside {FEW}", ratio, "x", PROMISE_RATIO)


def stream(client: str, target: str) -> float:
    """Bits a second from one guest to the other."""
    words = ("iperf3", "-c", target, "-t", str(STREAM_S), "-J")
    return float(
        json.loads(run("ip", "netns", "exec", client, *words))["end"]["sum_received"]["bits_per_second"]
    )


def packets(rounds: int, report: Report) -> None:
    host, one, two = f"{NAME}host", f"{NAME}a", f"{NAME}b"
    plain = [port(number, ruled=False) for number in (2, 3)]
    ruled = [port(number, ruled=True) for number in (2, 3)]
    with namespaces(host, one, two):
        run("ip", "-n", host, "link", "add", "yt0", "type", "bridge")
        run("ip", "-n", host, "link", "set", "yt0", "up")
        for name in ("iptables", "ip6tables", "arptables"):
            run("ip", "netns", "exec", host, "sysctl", "-qw", f"net.bridge.bridge-nf-call-{name}=0")
        for namespace, each in ((one, plain[0]), (two, plain[1])):
            run(
                "ip",
                "-n",
                host,
                "link",
                "add",
                each.interface,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                namespace,
            )
            run("ip", "-n", namespace, "link", "set", "eth0", "address", each.mac, "up")
            run("ip", "-n", namespace, "addr", "add", f"{each.ipv4}/16", "dev", "eth0")
            run("ip", "-n", host, "link", "set", each.interface, "master", "yt0", "up")
        server = subprocess.Popen(("ip", "netns", "exec", two, "iperf3", "-s"), stdout=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            speeds: dict[str, list[float]] = {"without": [], "with": [], "with rules": []}
            texts = {
                "without": firewall.gone("bench"),
                "with": firewall.whole("bench", [NETWORK], plain),
                "with rules": firewall.whole("bench", [NETWORK], ruled),
            }
            for _ in range(rounds):
                for name, text in texts.items():
                    load(host, text)
                    speeds[name].append(stream(one, plain[1].ipv4))
        finally:
            server.terminate()
            server.wait()
    medians = {name: figures(found).median for name, found in speeds.items()}
    for name, found in medians.items():
        report.add(f"guest to guest, {name}", found / 1e9, "Gbit/s")
    report.add(
        "TCP without the firewall / with it", medians["without"] / medians["with"], "x", PROMISE_THROUGHPUT
    )
    report.add(
        "TCP without the firewall / with rules for both", medians["without"] / medians["with rules"], "x"
    )


def main() -> int:
    chosen = options(__doc__ or "", 15)
    need("nft", "ip", "iperf3")
    if os.geteuid() != 0:
        sys.exit("this bench needs root")
    report = Report("The firewall: one guest's change, and its packets")
    changes(chosen.rounds, report)
    packets(max(3, chosen.rounds // 2), report)
    return report.show(as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
