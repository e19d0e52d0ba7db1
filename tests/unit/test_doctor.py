"""engine/doctor.py: each finding has the right weight, the reason, and a fix where there is one."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from yurt.engine import doctor
from yurt.engine.doctor import FAIL, OK, WARN, Readings
from yurt.host.layout import Layout
from yurt.host.packages import parse_packages
from yurt.model.host import Accelerator, CgroupLayout, Check, HostFacts

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = parse_packages((ROOT / "tools" / "packages.txt").read_text())
LAYOUT = Layout(Path("/s"), Path("/r"))
V2 = CgroupLayout(
    version=2, hybrid=False, root="/sys/fs/cgroup", controllers=("cpu", "memory", "pids", "io"), own={"": "/"}
)
FACTS = HostFacts(
    hostname="h",
    architecture="x86_64",
    kernel="6.1.0",
    boot_id="b",
    cpus=2,
    memory_bytes=8 << 30,
    root=True,
    cgroups=V2,
    tools={package.need: f"/usr/bin/{package.name}" for package in PACKAGES},
    qemu_version="7.2.22",
    tsc_khz=2600000,
    user_namespaces=True,
    overlay=True,
    distribution="Debian GNU/Linux 12 (bookworm)",
)
READINGS = Readings(
    free_bytes=50 << 30,
    available_bytes=6 << 30,
    clock=2e9,
    installed_at=1.9e9,
    tun=True,
    kvm=True,
    sources=True,
    kernels=(),
    socket_mode=0o600,
)
KVM = Accelerator(name="kvm", reason="a guest booted in 80 ms")


def judge(
    accelerator: Accelerator | None = KVM, readings: dict[str, Any] | None = None, **facts: Any
) -> dict[str, Check]:
    found = doctor.judge(
        msgspec.structs.replace(FACTS, **facts),
        LAYOUT,
        accelerator,
        PACKAGES,
        msgspec.structs.replace(READINGS, **(readings or {})),
    )
    return {check.name: check for check in found}


def without(*needs: str) -> dict[str, str]:
    return {need: path for need, path in FACTS.tools.items() if need not in needs}


def test_a_good_host_is_all_ok() -> None:
    found = judge()
    assert {check.status for check in found.values()} == {OK}
    assert not any(check.fix for check in found.values())


@pytest.mark.parametrize(
    ("facts", "readings", "name", "status", "words", "fix"),
    [
        ({"architecture": "aarch64"}, {}, "host", FAIL, "only x86_64", ""),
        ({"root": False}, {}, "host", FAIL, "refuses them", "run yurt as root"),
        ({"rootless": True, "ids": 65536}, {}, "host", OK, "65536 user ids", ""),
        ({"rootless": True, "ids": 1}, {}, "host", WARN, "1 user id", "--add-subuids"),
        (
            {"tools": without("crun")},
            {},
            "container",
            FAIL,
            "crun",
            "apt-get install --no-install-recommends crun",
        ),
        ({"tools": without("mcopy", "sfdisk")}, {}, "vm", FAIL, "mcopy", "fdisk mtools"),
        ({"tools": without("mcopy")}, {}, "microvm", OK, "", ""),
        ({"tools": without("gcc")}, {}, "agent", FAIL, "gcc", "install --no-install-recommends gcc"),
        ({"tools": without("qemu-system-x86_64")}, {}, "qemu", FAIL, "not installed", "qemu-system-x86"),
        ({"qemu_version": ""}, {}, "qemu", FAIL, "fails", "--reinstall"),
        ({"qemu_version": "6.2.0"}, {}, "qemu", FAIL, "needs 7.2", "qemu-system-x86"),
        ({"qemu_version": "10.0.2"}, {}, "qemu", OK, "10.0.2", ""),
        ({"tsc_khz": 0}, {}, "tsc", WARN, "rate unknown", ""),
        ({"user_namespaces": False}, {}, "user namespaces", FAIL, "forbidden", "max_user_namespaces"),
        ({"overlay": False}, {}, "overlayfs", FAIL, "not in this kernel", "modprobe overlay"),
        ({"tools": without("slirp4netns")}, {}, "network", WARN, "no helper", "slirp4netns"),
        ({}, {"tun": False}, "network", WARN, "/dev/net/tun", "modprobe tun"),
        ({}, {"sources": False}, "kernels", FAIL, "no source", "debian.sources"),
        ({}, {"sources": False, "kernels": ("6.1.0-56",)}, "kernels", OK, "6.1.0-56", ""),
        ({}, {"free_bytes": 1 << 30}, "space", WARN, "1G free", "yurt image prune"),
        ({}, {"available_bytes": 600 << 20}, "memory", WARN, "room for 1 guests", ""),
        ({}, {"clock": 1.0e9}, "clock", FAIL, "behind", "timedatectl"),
        ({}, {"socket_mode": None}, "daemon", OK, "starts it", ""),
        ({}, {"socket_mode": 0o666}, "daemon", FAIL, "0666", "chmod 0600"),
    ],
)
def test_each_finding(
    facts: dict[str, Any], readings: dict[str, Any], name: str, status: str, words: str, fix: str
) -> None:
    check = judge(readings=readings, **facts)[name]
    assert check.status == status, check
    assert words in check.detail
    assert fix in check.fix if fix else check.fix == ""


def test_cgroups() -> None:
    none = msgspec.structs.replace(V2, version=0, controllers=())
    assert judge(cgroups=none)["cgroups"].status == FAIL
    short = msgspec.structs.replace(V2, controllers=("memory",))
    assert judge(cgroups=short)["cgroups"].status == WARN
    assert "without cpu, pids" in judge(cgroups=short)["cgroups"].detail
    hybrid = msgspec.structs.replace(V2, version=1, hybrid=True)
    assert "hybrid" in judge(cgroups=hybrid)["cgroups"].detail


def test_the_accelerator_says_why() -> None:
    assert "80 ms" in judge()["accelerator"].detail
    slow = judge(Accelerator(name="tcg", reason="the guest printed nothing for 5 s"))["accelerator"]
    assert slow.status == WARN
    assert "the guest printed nothing for 5 s" in slow.detail
    assert "firmware" not in slow.detail
    absent = judge(Accelerator(name="tcg", reason="there is no /dev/kvm"), {"kvm": False})["accelerator"]
    assert "firmware" in absent.detail
    assert judge(None)["accelerator"].status == WARN
    assert "may hang" in judge(None, tsc_khz=0)["tsc"].detail
    assert "may hang" not in judge(tsc_khz=0)["tsc"].detail


def test_apt_sources_in_both_forms(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    assert not doctor._has_sources(tmp_path)
    (tmp_path / "sources.list").write_text("# deb nothing\n")
    assert not doctor._has_sources(tmp_path)
    (tmp_path / "sources.list.d" / "a.sources").write_text(
        "Types: deb\nURIs: mirror+file:/x\nSuites: bookworm\n"
    )
    assert doctor._has_sources(tmp_path)
    (tmp_path / "sources.list.d" / "a.sources").unlink()
    (tmp_path / "sources.list").write_text("deb [trusted=yes] file:/x ./\n")
    assert doctor._has_sources(tmp_path)


def test_reading_makes_nothing(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state", tmp_path / "run")
    found = asyncio.run(doctor.checks(FACTS, layout, None))
    assert {check.name for check in found} >= {"daemon", "space", "kernels"}
    assert list(tmp_path.iterdir()) == []
    layout.kernels.mkdir(parents=True)
    (layout.kernels / "6.1.0-9-cloud").mkdir()
    (layout.kernels / ".new").mkdir()
    assert doctor.read(layout).kernels == ("6.1.0-9-cloud",)
