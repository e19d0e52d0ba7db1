"""Reads what the kernel says about control groups: the layout of this process, and the counters' texts."""

from pathlib import Path

import msgspec

from yurt.errors import Unsupported
from yurt.host import layout as names
from yurt.host.cgroup_tree import base_of
from yurt.host.files import write_atomic
from yurt.model.host import CgroupLayout


def parse_layout(mountinfo: str, cgroup: str) -> CgroupLayout:
    """Work out the layout from the texts of /proc/self/mountinfo and /proc/self/cgroup. Pure.

    Raises Unsupported without any. Knows mounts that show only a part of their hierarchy (in a container).
    """
    paths: dict[str, str] = {}
    for line in cgroup.splitlines():
        _, names, path = line.split(":", 2)
        paths.update(dict.fromkeys(names.split(","), path))
    mounts: dict[str, str] = {}
    own: dict[str, str] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if tail[0] == "cgroup2":
            keys = [""]
        elif tail[0] == "cgroup":
            keys = [key for key in tail[2].split(",") if key in paths]
        else:
            continue
        point = fields[4].encode().decode("unicode_escape")
        for key in keys:
            if key in paths and key not in mounts:
                mounts[key], own[key] = point, _below(paths[key], fields[3])
    if not mounts:
        raise Unsupported("no control groups are mounted", hint="mount cgroup2 on /sys/fs/cgroup")
    first = sorted(key for key in mounts if key and not key.startswith("name="))
    if not first:
        return CgroupLayout(
            version=2,
            hybrid=False,
            root=mounts[""],
            controllers=(),
            own={"": own[""]},
            mounts={"": mounts[""]},
        )
    parents = {str(Path(mounts[key]).parent) for key in first}
    root = parents.pop() if len(parents) == 1 else "/sys/fs/cgroup"
    controllers = tuple(sorted(key for key in mounts if key))
    return CgroupLayout(
        version=1, hybrid="" in mounts, root=root, controllers=controllers, own=own, mounts=mounts
    )


def _below(path: str, mount_root: str) -> str:
    if mount_root != "/" and (path == mount_root or path.startswith(mount_root + "/")):
        path = path[len(mount_root) :]
    return path if path.startswith("/") and "/.." not in path else "/"


def detect_layout() -> CgroupLayout:
    """Read this process's layout. On version 2 `controllers` lists what the group above ours has to pass on."""
    layout = parse_layout(
        Path("/proc/self/mountinfo").read_text(errors="surrogateescape"),
        Path("/proc/self/cgroup").read_text(errors="surrogateescape"),
    )
    if layout.version == 1:
        return layout
    names = (base_of(layout) / "cgroup.controllers").read_text().split()
    return msgspec.structs.replace(layout, controllers=tuple(sorted(names)))


def keyed(text: str) -> dict[str, int]:
    """Read lines of `key number`."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def number(text: str) -> int:
    """Read a file of one number; `max` and nothing are 0."""
    word = text.strip()
    return int(word) if word.isdecimal() else 0


def blkio_bytes(text: str) -> tuple[int, int]:
    """Sum a version 1 blkio file over its devices: read, written."""
    total = {"Read": 0, "Write": 0}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in total:
            total[words[1]] += int(words[2])
    return total["Read"], total["Write"]


def io_bytes(text: str) -> tuple[int, int]:
    """Sum a version 2 io.stat over its devices: read, written."""
    pairs = [word.partition("=") for line in text.splitlines() for word in line.split()[1:]]
    read, written = (sum(int(v) for k, _, v in pairs if k == key) for key in ("rbytes", "wbytes"))
    return read, written


def remember_layout(run_dir: Path, layout: CgroupLayout) -> None:
    """Write down where a guest's control group is about to be made: a daemon from another session nests elsewhere."""
    write_atomic(run_dir / names.CGROUPS, msgspec.json.encode(layout), durable=False)


def remembered_layout(run_dir: Path, default: CgroupLayout) -> CgroupLayout:
    """Return the layout that was written down for a guest, or `default` (this daemon's own)."""
    try:
        return msgspec.json.decode((run_dir / names.CGROUPS).read_bytes(), type=CgroupLayout)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return default
