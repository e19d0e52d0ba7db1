"""Managed networks with real packets: all three kinds, both families, names, the way out, and no way out.

One daemon, one microVM and one VM serve the whole file.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from tests.nethost import OUTSIDE4, OUTSIDE6, NetDaemon, second_yurt

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.needs("qemu-system-x86_64", "crun", "nft", "dnsmasq", "ip", "nsenter"),
]
GUESTS = ("box", "micro", "machine")


def until(holds: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
    """Wait for something that comes about by itself."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def host(net_daemon: NetDaemon) -> NetDaemon:
    """One guest of each kind on the network that nobody asked for, and one container on two more networks."""
    net_daemon.yurt("network", "create", "closed", "--isolated", "--mtu", "1400")
    net_daemon.yurt(
        "network", "create", "lab", "--ipv4", "10.200.1.0/24", "--ipv6", "none", "--domain", "lab.example"
    )
    for name, kind in zip(GUESTS, ("container", "microvm", "vm"), strict=True):
        more = ["--network", "default", "--network", "closed"] if kind == "microvm" else []
        net_daemon.yurt("run", "tiny", "--as", kind, "--name", name, "--detach", *more)
        net_daemon.yurt("wait", name, "--for", "agent")
    words = ["--network", "closed", "--network", "lab,ip=10.200.1.77,mac=02:AA:00:00:00:77"]
    net_daemon.yurt("run", "tiny", "--as", "container", "--name", "inner", "--detach", *words)
    return net_daemon


def nics(host: NetDaemon, name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = host.json("info", name)["spec"]["nics"]
    return found


@pytest.mark.parametrize("one", GUESTS)
def test_every_kind_reaches_every_kind_by_name(host: NetDaemon, one: str) -> None:
    for other in GUESTS:
        assert "1 packets received" in host.exec(one, "ping", "-4", "-c1", "-W5", other)
        assert "1 packets received" in host.exec(one, "ping", "-6", "-c1", "-W5", f"{other}.yurt")
        answer = host.exec(one, "nslookup", f"{other}.yurt")
        assert nics(host, other)[0]["ipv4"] in answer and nics(host, other)[0]["ipv6"] in answer
    for outside in (OUTSIDE4, OUTSIDE6):
        assert "1 packets received" in host.exec(one, "ping", "-c1", "-W5", outside)


def test_names_are_answered_for_the_host_too(host: NetDaemon) -> None:
    gateway = host.json("network", "info", "default")["gateway4"]
    assert nics(host, "micro")[0]["ipv4"] in host.on_host("busybox", "nslookup", "micro.yurt", gateway)
    answer = host.on_host("busybox", "nslookup", nics(host, "box")[0]["ipv4"], gateway)
    assert "box.yurt" in answer


def test_a_machine_gets_the_same_addresses_by_dhcp(host: NetDaemon) -> None:
    """What has no agent of ours finds its way by DHCP; an address for any other MAC there is none."""
    words = "udhcpc -f -q -n -t 5 -i eth0 -s /tmp/said -O mtu"
    script = (
        "printf '#!/bin/sh\\necho $1 $ip $mask $router $dns $mtu $domain\\n' >/tmp/said; chmod +x /tmp/said; "
        + words
    )
    said = host.exec("machine", "sh", "-c", script)
    gateway = host.json("network", "info", "default")["gateway4"]
    assert f"bound {nics(host, 'machine')[0]['ipv4']} 19 {gateway} {gateway} 1500 yurt" in said


def test_nics_have_their_places_names_and_sizes(host: NetDaemon) -> None:
    links = host.exec("micro", "ip", "link")
    for nic, mtu in zip(nics(host, "micro"), (1500, 1400), strict=True):
        block = links[links.index(f"eth{nic['index']}:") :]
        assert f"mtu {mtu}" in block.splitlines()[0] and nic["mac"] in block.splitlines()[1]
    inner = nics(host, "inner")
    assert (
        inner[1]["ipv4"] == "10.200.1.77"
        and inner[1]["mac"] == "02:aa:00:00:00:77"
        and inner[1]["ipv6"] == ""
    )
    assert "inet 10.200.1.77/24" in host.exec("inner", "ip", "addr", "show", "eth1")
    assert "default via 10.200.1.1 dev eth1" in host.exec("inner", "ip", "route")
    assert host.exec("inner", "cat", "/etc/resolv.conf") == "search lab.example\nnameserver 10.200.1.1\n"
    shown = host.yurt("ls").stdout.decode()
    assert nics(host, "box")[0]["ipv4"] in shown


def test_the_host_speaks_large_and_small(host: NetDaemon) -> None:
    """A packet as large as the network allows goes through whole, one byte more does not."""
    peer = nics(host, "inner")[0]["ipv4"]
    assert "1 packets received" in host.exec("micro", "ping", "-c1", "-W5", "-s", str(1400 - 28), peer)
    bridge = host.json("network", "info", "closed")["bridge"]
    assert host.links()[bridge]["mtu"] == 1400


def test_an_isolated_network_has_no_way_out_and_no_way_in(host: NetDaemon) -> None:
    host.yurt("run", "tiny", "--as", "container", "--name", "shut", "--network", "closed", "--detach")
    try:
        assert "default" not in host.exec("shut", "ip", "route")
        assert "1 packets received" in host.exec("shut", "ping", "-c1", "-W5", "inner")
        # its owner may be root there and know the gateway, but has not the right to make a route; a machine has
        gateway = host.json("network", "info", "closed")["gateway4"]
        route = f"ip route add {OUTSIDE4}/32 via {gateway} dev eth1 && ping -c1 -W2 {OUTSIDE4}"
        assert "0 packets received" in host.exec(
            "micro", "sh", "-c", f"{route}; ip route del {OUTSIDE4}/32", check=False
        )
        assert "1 packets received" in host.exec("micro", "ping", "-c1", "-W5", OUTSIDE4)
        own = nics(host, "shut")[0]["ipv4"]
        host.on_outside("ip", "route", "replace", f"{own}/32", "via", "198.51.100.1")
        assert "0 received" in host.on_outside("ping", "-c1", "-W1", own, check=False)
        # names of its own are answered, those of the world outside are not asked for
        assert "REFUSED" in host.exec("shut", "nslookup", "example.com", check=False)
    finally:
        host.yurt("delete", "--force", "shut")


def test_a_network_in_use_stays_and_says_who_uses_it(host: NetDaemon) -> None:
    refused = host.yurt("network", "delete", "closed", check=False)
    assert refused.returncode == 6 and b"inner, micro" in refused.stderr
    assert host.yurt("network", "create", "closed", check=False).returncode == 4
    taken = host.yurt("create", "tiny", "--network", "lab,ip=10.200.1.77", check=False)
    assert taken.returncode == 4 and b"10.200.1.77" in taken.stderr
    unknown = host.yurt("create", "tiny", "--network", "absent", check=False)
    assert unknown.returncode == 3
    assert host.yurt("network", "create", "lab2", "--ipv4", "10.200.1.128/25", check=False).returncode == 2


def test_an_address_is_an_instances_own_until_it_is_deleted(host: NetDaemon) -> None:
    host.yurt("run", "tiny", "--as", "container", "--name", "once", "--detach")
    first = nics(host, "once")[0]
    host.yurt("stop", "once")
    assert first["device"] not in host.links()
    host.yurt("run", "tiny", "--as", "container", "--name", "other", "--detach")
    host.yurt("start", "once")
    assert nics(host, "once")[0] == first
    host.yurt("rename", "once", "twice")
    assert first["ipv4"] in host.exec("other", "nslookup", "twice.yurt")
    assert "NXDOMAIN" in host.exec("other", "nslookup", "once.yurt", check=False)
    host.yurt("delete", "--force", "twice")
    assert "NXDOMAIN" in host.exec("other", "nslookup", "twice.yurt", check=False)
    host.yurt("delete", "--force", "other")


def server_pid(host: NetDaemon) -> int:
    pid: int = json.loads((host.run / "networks/default/dnsmasq.json").read_text())["pid"]
    return pid


def test_what_others_take_away_comes_back(host: NetDaemon) -> None:
    bridge = host.json("network", "info", "default")["bridge"]
    old = server_pid(host)
    os.kill(old, signal.SIGKILL)
    until(lambda: server_pid(host) != old, "another name server")
    until(lambda: "micro.yurt" in host.exec("box", "nslookup", "micro.yurt", check=False), "names again")
    host.on_host("nft", "flush", "ruleset")
    until(lambda: "masquerade" in host.on_host("nft", "list", "ruleset"), "the firewall again")
    assert "1 packets received" in host.exec("box", "ping", "-c1", "-W5", OUTSIDE4)
    host.on_host("ip", "link", "delete", bridge)
    until(lambda: bridge in host.links(), "the bridge again")
    until(
        lambda: "1 packets received" in host.exec("box", "ping", "-4", "-c1", "-W1", "micro", check=False),
        "guests reach each other again",
    )
    assert "1 packets received" in host.exec("micro", "ping", "-c1", "-W5", OUTSIDE6)


def test_a_new_daemon_takes_networks_over(host: NetDaemon) -> None:
    before, server = set(host.links()), server_pid(host)
    host.kill()
    host.on_host("ip", "link", "add", "foreign0", "type", "bridge")
    host.start()
    try:
        assert set(host.links()) == {*before, "foreign0"}
        assert server_pid(host) == server
        host.yurt("wait", "micro", "--for", "agent")
        assert "1 packets received" in host.exec("micro", "ping", "-c1", "-W5", "machine")
    finally:
        host.on_host("ip", "link", "delete", "foreign0")


def test_the_default_network_goes_and_comes(net_daemon: NetDaemon) -> None:
    """Last, as it takes all guests away: nothing of a network is left, and it comes again when it is needed."""
    net_daemon.yurt("delete", "--force", *[instance["name"] for instance in net_daemon.json("ls")])
    assert net_daemon.yurt("network", "delete", "default", "closed", "lab").returncode == 0
    assert net_daemon.links() == {} and net_daemon.json("network", "ls") == []
    assert not list((net_daemon.run / "networks").iterdir())
    net_daemon.yurt("run", "tiny", "--as", "container", "--rm", "--", "ping", "-c1", "-W5", OUTSIDE4)
    assert [network["name"] for network in net_daemon.json("network", "ls")] == ["default"]


def test_after_a_reboot_of_the_host_all_of_it_comes_again(net_daemon: NetDaemon) -> None:
    """Nothing that a reboot takes is missed: links, tables, servers and the run directory."""
    net_daemon.yurt("run", "tiny", "--as", "container", "--name", "lasting", "--detach")
    address = nics(net_daemon, "lasting")[0]
    net_daemon.yurt("stop", "lasting")
    server = server_pid(net_daemon)
    net_daemon.stop()
    os.kill(server, signal.SIGKILL)
    for link in net_daemon.links():
        net_daemon.on_host("ip", "link", "delete", link)
    net_daemon.on_host("nft", "flush", "ruleset")
    shutil.rmtree(net_daemon.run / "networks")
    net_daemon.start()
    assert net_daemon.links() == {}  # nobody needs any of it yet
    net_daemon.yurt("start", "lasting")
    assert nics(net_daemon, "lasting")[0] == address
    assert "1 packets received" in net_daemon.exec("lasting", "ping", "-c1", "-W5", OUTSIDE4)
    net_daemon.yurt("delete", "--force", "lasting")


def test_two_yurts_on_one_host_share_nothing(net_daemon: NetDaemon) -> None:
    net_daemon.yurt("run", "tiny", "--as", "container", "--name", "mine", "--detach")
    own, before = net_daemon.json("network", "info", "default"), set(net_daemon.links())
    with second_yurt(net_daemon) as other:
        other.yurt("run", "tiny", "--as", "container", "--name", "mine", "--detach")
        their = other.json("network", "info", "default")
        assert their["bridge"] != own["bridge"]
        assert not ip_network(their["ipv4"]).overlaps(ip_network(own["ipv4"]))
        assert their["ipv6"] != own["ipv6"]
        assert "1 packets received" in other.exec("mine", "ping", "-c1", "-W5", OUTSIDE4)
        assert "0 packets received" in other.exec("mine", "ping", "-c1", "-W1", own["gateway4"], check=False)
        other.yurt("delete", "--force", "mine")
        other.yurt("network", "delete", "default")
        assert set(net_daemon.links()) == before
    assert "1 packets received" in net_daemon.exec("mine", "ping", "-c1", "-W5", OUTSIDE4)
    net_daemon.yurt("delete", "--force", "mine")
