"""host/facts.py and host/tsc.py: parsing of captured texts, and the cache of what is costly."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from yurt.host import facts, tsc
from yurt.host.layout import Layout
from yurt.host.packages import Package, install_command, missing_packages, parse_packages

ROOT = Path(__file__).resolve().parents[2]
QEMU_72 = """QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)
Copyright (c) 2003-2022 Fabrice Bellard and the QEMU Project developers
"""
CPUINFO = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Processor @ 2.60GHz
cpu MHz\t\t: 2600.001
cache size\t: 16384 KB
processor\t: 1
cpu MHz\t\t: 1200.000
"""
FILESYSTEMS = "nodev\tsysfs\nnodev\ttmpfs\n\text4\nnodev\toverlay\n"


def test_version_of_qemu() -> None:
    assert facts.version_of_qemu(QEMU_72) == "7.2.22"
    assert facts.version_of_qemu("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)") == "10.0.2"
    assert facts.version_of_qemu("error while loading shared libraries") == ""


def test_memory_of_meminfo() -> None:
    assert facts.memory_of_meminfo("MemTotal:       24684084 kB\nMemFree:  1 kB\n") == 24684084 * 1024
    assert facts.memory_of_meminfo("") == 0


def test_distribution() -> None:
    assert facts.distribution_of('NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n') == (
        "Debian GNU/Linux 12 (bookworm)"
    )
    assert facts.distribution_of("PRETTY_NAME=Arch\n") == "Arch"
    assert facts.distribution_of("") == "unknown"


@pytest.mark.parametrize(
    ("sysctls", "root", "expected"),
    [
        ({"user/max_user_namespaces": "96365"}, False, True),
        ({"user/max_user_namespaces": "0"}, True, False),
        ({}, True, False),  # a kernel without them has no such setting
        ({"user/max_user_namespaces": "1", "kernel/unprivileged_userns_clone": "0"}, False, False),
        ({"user/max_user_namespaces": "1", "kernel/unprivileged_userns_clone": "0"}, True, True),
        (
            {"user/max_user_namespaces": "1", "kernel/apparmor_restrict_unprivileged_userns": "1"},
            False,
            False,
        ),
    ],
)
def test_user_namespaces(sysctls: dict[str, str], root: bool, expected: bool) -> None:
    assert facts.user_namespaces_of(sysctls, root=root) is expected


def test_overlay() -> None:
    assert facts.overlay_of(FILESYSTEMS, has_module=False)
    assert facts.overlay_of("", has_module=True)
    assert not facts.overlay_of("nodev\tfuse-overlayfs\n", has_module=False)


def test_find_tools(tmp_path: Path) -> None:
    program, plain = tmp_path / "tool", tmp_path / "plain"
    program.touch(0o755)
    plain.touch(0o644)
    found = facts.find_tools(
        ("tool", "plain", "absent", str(plain), "/nonexistent/x"), f"/nonexistent:{tmp_path}"
    )
    assert found == {"tool": str(program), str(plain): str(plain)}


def test_tsc_agreement() -> None:
    assert tsc.tsc_khz_of_cpuinfo(CPUINFO) == 2600001
    assert tsc.tsc_khz_of_cpuinfo("") == 0
    assert tsc.agreed_khz(2600000, 2599998) == 2600000  # the told rate does not jitter
    assert tsc.agreed_khz(1200000, 2599998) == 2599998  # a processor that is clocked down right now
    assert tsc.agreed_khz(2600000, 0) == 2600000  # nothing could be measured
    assert tsc.agreed_khz(0, 2599998) == 2599998


def test_costly_facts_are_kept_for_this_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second daemon of a boot asks neither QEMU nor the counter; a changed QEMU is asked again."""
    qemu = tmp_path / "qemu"
    qemu.write_text("#!/bin/sh\necho 'QEMU emulator version 7.2.1'\n")
    qemu.chmod(0o755)
    layout = Layout(tmp_path / "state", tmp_path / "run")
    layout.run.mkdir()
    asked = []

    def measure() -> int:
        asked.append("tsc")
        return 1_000_000

    monkeypatch.setattr(tsc, "find_tsc_khz", measure)
    tools = {"qemu-system-x86_64": str(qemu)}

    def remember() -> tuple[str, int]:
        known = asyncio.run(facts._remember(layout, tools))
        return known.qemu_version, known.tsc_khz

    assert remember() == ("7.2.1", 1_000_000)
    qemu_before = qemu.stat()
    monkeypatch.setattr(facts, "_qemu_version", lambda program: pytest.fail("asked again"))
    assert remember() == ("7.2.1", 1_000_000)
    assert asked == ["tsc"]
    monkeypatch.undo()
    monkeypatch.setattr(tsc, "find_tsc_khz", lambda: pytest.fail("measured again"))
    qemu.write_text("#!/bin/sh\necho 'QEMU emulator version 10.0.2'\n")
    assert qemu.stat().st_size != qemu_before.st_size
    assert remember() == ("10.0.2", 1_000_000)


def test_a_spoilt_cache_or_another_boot_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path / "state", tmp_path / "run")
    layout.run.mkdir()
    monkeypatch.setattr(tsc, "find_tsc_khz", lambda: 5)
    for content in (b"", b"{", b'{"tsc_khz": "x"}', b'{"boot_id": "another", "tsc_khz": 7}'):
        layout.facts_cache.write_bytes(content)
        assert asyncio.run(facts._remember(layout, {})).tsc_khz == 5
        assert msgspec.json.decode(layout.facts_cache.read_bytes())["tsc_khz"] == 5


def test_find_facts_on_this_host(tmp_path: Path) -> None:
    """Without a run directory nothing is written; what it says is what the kernel says."""
    layout = Layout(tmp_path / "state", tmp_path / "run")
    found = asyncio.run(facts.find_facts(layout))
    assert found.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert found.memory_bytes > 0
    assert found.cpus >= 1
    assert not layout.run.exists()


def test_package_list_is_in_form() -> None:
    """Each line names a package once per need, and only parts that exist."""
    for name in ("packages.txt", "packages-test.txt"):
        packages = parse_packages((ROOT / "tools" / name).read_text())
        assert packages
        assert len({package.need for package in packages}) == len(packages)
        known = {"setup", "image", "agent", "vm", "microvm", "container", "networks", "test", "bench"}
        assert all(set(package.parts) <= known for package in packages)


def test_missing_packages() -> None:
    a = Package(name="a", need="a", parts=("vm",), why="x")
    b = Package(name="b", need="/b", parts=("vm", "image"), why="x")
    assert missing_packages((a, b), {"a": "/usr/bin/a"}) == (b,)
    assert missing_packages((a, b), {}, "image") == (b,)
    assert missing_packages((a, b), {}, "vm", "image") == (a, b)
    assert install_command((b, a, b)) == "apt-get install --no-install-recommends a b"
    assert install_command(()) == ""
    with pytest.raises(ValueError, match="not enough values"):
        parse_packages("one two\n")
