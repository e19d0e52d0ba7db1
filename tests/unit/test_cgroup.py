"""Control groups without any: layouts from texts, numbers from files, names that could lead out."""

from pathlib import Path

import pytest

from yurt.errors import Internal, NotFound, Unsupported
from yurt.host.cgroup import Group, Limits
from yurt.host.cgroup_layout import blkio_bytes, io_bytes, keyed, number, parse_layout
from yurt.host.cgroup_limits import cpu_quota_us
from yurt.model.host import CgroupLayout

HYBRID_MOUNTS = """\
23 1 254:0 / / rw,relatime - ext4 /dev/root rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
HYBRID_OWN = """\
9:name=systemd:/
4:memory:/jobs/a1
1:cpu,cpuacct:/
0::/
"""
UNIFIED_MOUNTS = "29 22 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
LEGACY_MOUNTS = "\n".join(HYBRID_MOUNTS.splitlines()[:5]) + "\n"


def test_hybrid_is_version_1_with_a_unified_mount_beside_it() -> None:
    layout = parse_layout(HYBRID_MOUNTS, HYBRID_OWN)
    assert (layout.version, layout.hybrid, layout.root) == (1, True, "/sys/fs/cgroup")
    assert layout.controllers == ("cpu", "cpuacct", "memory", "name=systemd")
    assert layout.mounts["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct"
    assert layout.own == {"cpu": "/", "cpuacct": "/", "memory": "/jobs/a1", "name=systemd": "/", "": "/"}


def test_version_1_alone() -> None:
    layout = parse_layout(LEGACY_MOUNTS, "4:memory:/\n1:cpu,cpuacct:/\n9:name=systemd:/x\n")
    assert (layout.version, layout.hybrid) == (1, False)
    assert "" not in layout.mounts


def test_version_2_under_a_systemd_service() -> None:
    layout = parse_layout(UNIFIED_MOUNTS, "0::/system.slice/yurt.service\n")
    assert (layout.version, layout.hybrid, layout.root) == (2, False, "/sys/fs/cgroup")
    assert layout.own == {"": "/system.slice/yurt.service"}


def test_a_hierarchy_with_only_names_is_version_2() -> None:
    mounts = UNIFIED_MOUNTS + "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    assert parse_layout(mounts, "0::/a\n1:name=systemd:/\n").version == 2


def test_a_mount_of_a_part_shows_paths_below_that_part() -> None:
    mounts = "35 31 0:32 /docker/c1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    assert parse_layout(mounts, "4:memory:/docker/c1/inner\n").own == {"memory": "/inner"}
    assert parse_layout(mounts, "4:memory:/docker/c1\n").own == {"memory": "/"}


def test_a_path_outside_our_namespace_becomes_its_root() -> None:
    assert parse_layout(UNIFIED_MOUNTS, "0::/../other\n").own == {"": "/"}


def test_spaces_in_mount_points_are_undone() -> None:
    mounts = "29 22 0:26 / /sys/fs/c\\040group rw - cgroup2 cgroup2 rw\n"
    assert parse_layout(mounts, "0::/\n").root == "/sys/fs/c group"


def test_no_control_groups_is_said() -> None:
    with pytest.raises(Unsupported):
        parse_layout("23 1 254:0 / / rw - ext4 /dev/root rw\n", "0::/\n")


@pytest.mark.parametrize("name", ["", "/", "a/..", "../x", "a//b", ".hidden", "a/b/", "a b", "a\nb"])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(Internal):
        Group(parse_layout(HYBRID_MOUNTS, HYBRID_OWN), name)


def test_the_directories_nest_below_our_own_in_each_hierarchy() -> None:
    group = Group(parse_layout(HYBRID_MOUNTS, HYBRID_OWN), "yurt/ab12")
    assert group.directories == {
        "cpu": Path("/sys/fs/cgroup/cpu,cpuacct/yurt/ab12"),
        "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct/yurt/ab12"),
        "memory": Path("/sys/fs/cgroup/memory/jobs/a1/yurt/ab12"),
        "name=systemd": Path("/sys/fs/cgroup/systemd/yurt/ab12"),
    }
    assert all(path.name == "tasks" for path in group.join_files)


def layout_below(root: Path, version: int) -> CgroupLayout:
    """A layout in an ordinary directory, where the kernel's files are plain files."""
    keys = ("",) if version == 2 else ("cpu", "memory", "pids", "freezer")
    mounts = {key: str(root / (key or "unified")) for key in keys}
    for path in mounts.values():
        Path(path).mkdir()
    return CgroupLayout(
        version=version,
        hybrid=False,
        root=str(root),
        controllers=keys if version == 1 else ("cpu", "memory", "pids"),
        own=dict.fromkeys(keys, "/"),
        mounts=mounts,
    )


def put(directory: Path, **texts: str) -> None:
    for name, text in texts.items():
        (directory / name.replace("__", ".")).write_text(text)


def test_version_1_limits_and_usage(tmp_path: Path) -> None:
    group = Group(layout_below(tmp_path, 1), "g")
    for directory in group.directories.values():
        directory.mkdir()
    memory, cpu = group.directories["memory"], group.directories["cpu"]
    put(memory, memory__limit_in_bytes="", memory__memsw__limit_in_bytes="", memory__usage_in_bytes="9000\n")
    put(memory, memory__stat="cache 1\ntotal_inactive_file 1000\n", memory__oom_control="oom_kill 3\n")
    put(cpu, cpu__cfs_period_us="", cpu__cfs_quota_us="")
    put(group.directories["pids"], pids__max="", pids__current="4\n")
    group.limit(Limits(cpus=1.5, memory_bytes=1 << 20, pids=7))
    assert (memory / "memory.limit_in_bytes").read_text() == "1048576"
    assert (memory / "memory.memsw.limit_in_bytes").read_text() == "1048576"
    assert (cpu / "cpu.cfs_quota_us").read_text() == "150000"
    usage = group.usage()
    assert (usage.memory_bytes, usage.memory_limit_bytes, usage.pids, usage.oom_kills) == (
        8000,
        1 << 20,
        4,
        3,
    )


def test_version_2_limits_and_usage(tmp_path: Path) -> None:
    group = Group(layout_below(tmp_path, 2), "g")
    directory = group.directories[""]
    directory.mkdir()
    put(directory, memory__max="", memory__swap__max="", cpu__max="", pids__max="", pids__current="2\n")
    put(
        directory, memory__current="5000\n", memory__stat="inactive_file 500\n", memory__events="oom_kill 1\n"
    )
    put(directory, cpu__stat="usage_usec 2500000\nuser_usec 1\n", cgroup__freeze="0\n")
    put(directory, io__stat="8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n")
    group.limit(Limits(cpus=0.5, memory_bytes=8192, pids=9))
    assert (directory / "cpu.max").read_text() == "50000 100000"
    assert (directory / "memory.swap.max").read_text() == "0"
    usage = group.usage()
    assert (usage.cpu_s, usage.memory_bytes, usage.read_bytes, usage.write_bytes) == (2.5, 4500, 11, 22)
    assert (usage.memory_limit_bytes, usage.pids, usage.oom_kills) == (8192, 2, 1)
    assert not group.frozen()
    group.freeze()
    assert group.frozen()
    group.thaw()
    assert not group.frozen()


def test_a_limit_that_the_host_cannot_give_is_refused(tmp_path: Path) -> None:
    group = Group(layout_below(tmp_path, 2), "g")
    group.directories[""].mkdir()
    with pytest.raises(Unsupported) as refused:
        group.limit(Limits(memory_bytes=4096))
    assert "memory.max" in refused.value.message and refused.value.hint


def test_what_does_not_exist_has_no_usage_and_is_removed_all_the_same(tmp_path: Path) -> None:
    group = Group(layout_below(tmp_path, 1), "parent/g")
    with pytest.raises(NotFound):
        group.usage()
    group.kill()
    group.remove()
    assert not group.frozen() and group.processes() == []


def test_removal_takes_nested_groups_and_empty_parents_but_no_neighbour(tmp_path: Path) -> None:
    layout = layout_below(tmp_path, 1)
    group, neighbour = Group(layout, "parent/g"), Group(layout, "parent/other")
    for directory in group.directories.values():
        (directory / "inner" / "most").mkdir(parents=True)
    neighbour.directories["memory"].mkdir()
    group.remove()
    assert not group.exists() and neighbour.exists()
    assert not (tmp_path / "cpu" / "parent").exists()
    neighbour.remove()
    assert list((tmp_path / "memory").iterdir()) == []


def test_numbers() -> None:
    assert cpu_quota_us(2) == 200_000 and cpu_quota_us(0.001) == 1000
    assert number("max\n") == 0 and number("") == 0 and number("12\n") == 12
    assert keyed("a 1\nb x\nc 2 3\n") == {"a": 1}
    assert blkio_bytes("8:0 Read 5\n8:0 Write 6\n8:0 Sync 9\n8:16 Read 1\nTotal 12\n") == (6, 6)
    assert io_bytes("") == (0, 0)
