#!/usr/bin/env python3
"""List what yurt left on this host: processes, mounts, control groups, namespaces, links, loop devices, tables, files.

`make leaks` runs it after the tests; it prints one line per leftover and ends with status 1 when there is any. A daemon of
the host's own yurt (no YURT_HOME), and the guests it runs, are in use and no leftovers. `--write FILE` notes what is there,
`--baseline FILE` ignores what was noted, `--home PATH` shows only what belongs to yurts below that path.
It stands alone on purpose: it must work when the code under test does not.
"""

# ruff: noqa: PTH115, PTH208  (only names are wanted, and those of /proc vanish while one looks)
import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = re.compile(r"qemu-|crun|runc|slirp4netns|passt|pasta|yurt|\.yurt|virtiofsd|mmdebstrap")
OURS = re.compile(r"(?:^|[/\s,:=\"'@.])\.?yurt(?:d|-|/|\s|\.|$)|org\.yurt\.|/yt-[a-z0-9]")
UIDS = (
    range(0x3D000000, 0x3D000000 + (1 << 24)),
    range(0x40000000, 0x7FFF0000),
)  # of QEMU processes, of containers
DEFAULT_STATE, DEFAULT_RUN = Path("/var/lib/yurt"), Path("/run/yurt")
SCRATCH = re.compile(r"yt-|yurt-|yurt\.|\.yurt")
KEPT = ("yurt-test-cache", "yurt-test-parts", "yurt-bench")  # caches that the next run takes up again
IN_USE = "empty, and kept by a running daemon"


@dataclass(frozen=True)
class Leak:
    """One leftover. `what` names it, the same way each time; `evidence` is all text that tells whose it is."""

    kind: str
    what: str
    evidence: str = ""
    pid: int = 0

    def belongs_to(self, home: str) -> bool:
        return home in self.what or home in self.evidence


def read(path: Path | str) -> str:
    try:
        return Path(path).read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def links(pid: str) -> str:
    """Where a process's descriptors, root and directory lead."""
    found = []
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    except OSError:
        pass  # gone, or not for us to see
    for name in ("cwd", "root", "exe"):
        try:
            found.append(os.readlink(f"/proc/{pid}/{name}"))
        except OSError:
            continue
    return " ".join(found)


def processes() -> Iterator[Leak]:
    mine = {str(os.getpid()), str(os.getppid())}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        command = read(f"/proc/{pid}/cmdline")
        if pid in mine or not command:  # a kernel thread, a zombie, or gone
            continue
        status = read(f"/proc/{pid}/status")
        found = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)
        uid = int(found[1]) if found else 0
        groups = read(f"/proc/{pid}/cgroup")
        daemon = is_daemon(command)
        ours = daemon or "/yurt/" in groups or any(uid in uids for uids in UIDS)
        name = command.split()[0].rsplit("/", 1)[-1]
        evidence = ""
        if ours or PROGRAMS.match(name):
            evidence = f"{command} {groups} {links(pid)} {read(f'/proc/{pid}/environ')}"
            if ours:  # what is in a jail names its home nowhere else
                evidence += " " + read(f"/proc/{pid}/mountinfo")
            ours = ours or bool(OURS.search(f"{command} {groups} {links(pid)}"))
        if ours:
            start = read(f"/proc/{pid}/stat").rpartition(")")[2].split()[19:20]
            yield Leak("process", f"{pid} (started {''.join(start)}) {command[:160]}", evidence, int(pid))


def is_daemon(command: str) -> bool:
    words = command.split()
    return "yurt.daemon" in words or any(
        (word.endswith("/yurt/__main__.py") and words[at + 1 : at + 2] == ["daemon"])
        or word.rsplit("/", 1)[-1] == "yurtd"
        for at, word in enumerate(words[:6])
    )


def mounts() -> Iterator[Leak]:
    for line in read("/proc/self/mountinfo").splitlines():
        fields = line.split()
        tail = line.partition(" - ")[2]
        if OURS.search(fields[4]) or OURS.search(tail) or OURS.search(fields[3]):
            yield Leak("mount", fields[4], f"{fields[3]} {tail}")


def cgroups() -> Iterator[Leak]:
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        for name in [name for name in names if name == "yurt" or name.startswith("yurt-")]:
            inner = [entry.name for entry in os.scandir(f"{directory}/{name}") if entry.is_dir()]
            yield from (Leak("cgroup", f"{directory}/{name}/{child}") for child in sorted(inner))
            if not inner:
                yield Leak("cgroup", f"{directory}/{name}", IN_USE)
            names.remove(name)


def networks() -> Iterator[Leak]:
    for name in sorted(os.listdir("/sys/class/net")):
        made = (
            Path(f"/sys/class/net/{name}/tun_flags").exists()
            or Path(f"/sys/class/net/{name}/bridge").exists()
        )
        if re.match(r"yurt|yt", name) or (made and re.match(r"tap|br-?y|vnet", name)):
            yield Leak("link", name, read(f"/sys/class/net/{name}/ifalias"))
    for directory in (Path("/run/netns"), Path("/var/run/netns")):
        if directory.is_dir() and not directory.is_symlink():
            yield from (
                Leak("netns", str(entry))
                for entry in directory.iterdir()
                if SCRATCH.match(entry.name) or entry.name == "yurt"
            )
    try:
        done = subprocess.run(["nft", "-j", "list", "tables"], capture_output=True, check=False, timeout=20)
        tables = json.loads(done.stdout or b"{}").get("nftables", [])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        tables = []
    for table in (entry["table"] for entry in tables if "table" in entry):
        if "yurt" in table.get("name", ""):
            yield Leak("nft table", f"{table.get('family')} {table['name']}")


def loops() -> Iterator[Leak]:
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        backing = read(path)
        if OURS.search(backing):
            yield Leak("loop device", f"/dev/{path.parts[3]} on {backing}")


def scratch() -> Iterator[Leak]:
    for directory in ("/tmp", "/var/tmp", "/dev/shm", "/run"):
        for name in sorted(os.listdir(directory)) if Path(directory).is_dir() else []:
            if SCRATCH.match(name) and name not in KEPT:
                yield Leak("file", f"{directory}/{name}")
    for base in (DEFAULT_STATE, DEFAULT_RUN):
        if (base / "instances").is_dir():
            yield from (Leak("instance", str(entry)) for entry in sorted((base / "instances").iterdir()))


def in_use() -> tuple[set[int], set[str]]:
    """The processes and the instance ids of the host's own yurt, as long as its daemon lives."""
    pids: set[int] = set()
    for leak in processes():
        if (
            is_daemon(leak.evidence)
            and "YURT_HOME=" not in leak.evidence
            and str(DEFAULT_STATE) in leak.evidence
        ):
            pids.add(leak.pid)
    if not pids:
        return set(), set()
    ids = {
        entry.name
        for base in (DEFAULT_STATE, DEFAULT_RUN)
        if (base / "instances").is_dir()
        for entry in (base / "instances").iterdir()
    }
    for record in DEFAULT_RUN.glob("networks/*/dnsmasq.json"):
        try:
            pids.add(int(json.loads(record.read_bytes()).get("pid", 0)))
        except (OSError, ValueError):
            continue
    for instance in ids:
        try:
            launched = json.loads((DEFAULT_RUN / "instances" / instance / "launched.json").read_bytes())
        except (OSError, ValueError):
            continue
        pids.add(int(launched.get("pid", 0)))
        pids.update(int(helper[0]) for helper in launched.get("helpers", {}).values())
    return pids, ids


def find() -> list[Leak]:
    """Everything on this host that yurt made and that the host's own yurt does not use."""
    pids, ids = in_use()
    found = []
    for source in (processes, mounts, cgroups, networks, loops, scratch):
        for leak in source():
            if leak.pid in pids or (pids and leak.evidence == IN_USE):
                continue
            if pids and (leak.evidence == f"yurt {DEFAULT_STATE}" or leak.what.endswith(" yurt_main")):
                continue  # links and tables of the host's own networks
            if any(instance in leak.what or instance in leak.evidence for instance in ids):
                continue
            found.append(leak)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--baseline", type=Path, help="ignore what this file notes")
    parser.add_argument("--write", type=Path, help="note what is there, and succeed")
    parser.add_argument("--home", help="only what belongs to yurts below this path")
    options = parser.parse_args()
    found = find()
    if options.write:
        options.write.write_text(json.dumps(sorted({leak.what for leak in found}), indent=1) + "\n")
        return 0
    known = set(json.loads(options.baseline.read_text())) if options.baseline else set()
    found = [
        leak
        for leak in found
        if leak.what not in known and (not options.home or leak.belongs_to(options.home))
    ]
    for leak in found:
        print(f"{leak.kind:12} {leak.what}")
    print("no leftovers" if not found else f"{len(found)} leftovers", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
