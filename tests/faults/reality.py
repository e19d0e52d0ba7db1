"""Records against reality: everything on the host has an owner among the records, and every owner has what is its own."""

import json
import os
import sqlite3
import time
from typing import Any

from tests.faults.test_kill_daemon import ended
from tests.nethost import NetDaemon

from yurt.host.cgroup import Group, detect_layout
from yurt.host.shaping import mirror_name

RESERVED = ("addresses", "ports", "names", "slots")


def firewalled(daemon: NetDaemon) -> set[str]:
    """The interfaces that the firewall names anywhere in a set or map; rules that come with traffic do not count."""
    found: set[str] = set()
    for row in json.loads(daemon.on_host("nft", "--json", "list", "ruleset"))["nftables"]:
        for kind in ("set", "map"):
            flags = row.get(kind, {}).get("flags", [])
            if "dynamic" not in flags and "timeout" not in flags:
                found |= _interfaces(row.get(kind, {}).get("elem", []))
    return found


def _interfaces(value: Any) -> set[str]:  # Any: nft's own tree
    if isinstance(value, str):
        return {value} if value.startswith("yt") else set()
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*(_interfaces(part) for part in parts)) if parts else set()


def reserved(daemon: NetDaemon) -> dict[str, dict[str, str]]:
    """What the store reserves for instances, by kind of thing."""
    with sqlite3.connect(f"file:{daemon.state}/yurt.db?mode=ro", uri=True) as opened:
        rows = opened.execute("SELECT key, value FROM documents").fetchall()
    found: dict[str, dict[str, str]] = {area: {} for area in RESERVED}
    for key, value in rows:
        area, _, name = str(key).partition("/")
        if area in found:
            found[area][name] = bytes(value).decode()
    return found


def settled(daemon: NetDaemon) -> dict[str, dict[str, Any]]:
    """All instances by id, once nobody works on them any more."""
    deadline = time.monotonic() + 20
    while True:
        ended(daemon)
        found = {instance["id"]: instance for instance in daemon.json("ls")}
        if all(instance["operation"] is None for instance in found.values()):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def check_order(daemon: NetDaemon) -> dict[str, dict[str, Any]]:
    """Hold everything of this yurt against its records; returns the instances by name."""
    instances = settled(daemon)
    running = {key: one for key, one in instances.items() if one["phase"] == "running"}
    check_records(daemon, instances)
    check_network(daemon, running)
    check_files(daemon, instances, running)
    return {instance["name"]: instance for instance in instances.values()}


def check_records(daemon: NetDaemon, instances: dict[str, dict[str, Any]]) -> None:
    held = reserved(daemon)
    assert held["names"] == {one["name"]: key for key, one in instances.items()}
    assert set(held["slots"].values()) == set(instances)
    addresses = {
        f"{nic['network']}/{nic[kind]}": key
        for key, one in instances.items()
        for nic in one["spec"]["nics"]
        for kind in ("mac", "ipv4", "ipv6")
        if nic[kind]
    }
    assert held["addresses"] == addresses
    published = sorted(key for key, one in instances.items() for _ in one["spec"]["publish"])
    assert sorted(held["ports"].values()) == published
    for volume in daemon.json("volume", "ls"):
        users = [
            one["name"]
            for one in instances.values()
            if volume["name"] in [use["volume"] for use in one["spec"]["volumes"]]
        ]
        assert [volume["instance"]] == (users or [""]) and volume["operation"] is None, volume


def check_network(daemon: NetDaemon, running: dict[str, dict[str, Any]]) -> None:
    networks = {network["name"]: network for network in daemon.json("network", "ls")}
    bridges = {network["bridge"] for network in networks.values()}
    nics = [nic for one in running.values() for nic in one["spec"]["nics"]]
    devices, links = {nic["device"] for nic in nics}, daemon.links()
    shaped = {mirror_name(device) for device in devices}  # there where a rate from the guest is limited
    assert devices <= set(links) - bridges <= devices | shaped
    for nic in nics:
        assert links[nic["device"]]["master"] == networks[nic["network"]]["bridge"]
    named = firewalled(daemon)
    assert {name for name in named if name not in bridges} == devices
    assert named & bridges == set(links) & bridges
    if not set(links) & bridges:
        assert "yurt" not in daemon.on_host("nft", "list", "tables")
    servers = daemon.run / "networks"
    up = {path.name for path in servers.iterdir()} if servers.is_dir() else set()
    assert up == {name for name, network in networks.items() if network["bridge"] in links}
    for name in up:
        record = json.loads((servers / name / "dnsmasq.json").read_text())
        os.kill(record["pid"], 0)
        told = {path.name for path in (servers / name / "hosts").iterdir()}
        on_it = {key for key, one in running.items() if name in [n["network"] for n in one["spec"]["nics"]]}
        known = {one["id"] for one in daemon.json("ls")}
        assert on_it <= told <= known, name


def check_files(
    daemon: NetDaemon, instances: dict[str, dict[str, Any]], running: dict[str, dict[str, Any]]
) -> None:
    if (daemon.run / "instances").is_dir():
        assert {path.name for path in (daemon.run / "instances").iterdir()} == set(running)
    assert {path.name for path in (daemon.state / "instances").iterdir()} == set(instances)
    volumes = {volume["id"] for volume in daemon.json("volume", "ls")}
    made = daemon.state / "volumes"
    assert {path.name for path in made.iterdir()} == volumes if made.is_dir() else not volumes
    layout = detect_layout()
    for operation in daemon.json("operation", "ls"):
        key = operation["target_id"]
        if operation["verb"] == "create":
            there = [path for path in Group(layout, f"yurt/{key}").directories.values() if path.exists()]
            assert bool(there) == (key in running), key
