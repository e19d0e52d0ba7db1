"""`yurt ls` with 20 instances, the whole process, against `python3 -c pass` and `podman ps`
with as many containers."""

import sys
import tempfile
from pathlib import Path

from common import Report, Yurt, interleave, need, options, podman_in, podman_run, run_quietly

INSTANCES = 20


def main() -> int:
    chosen = options(__doc__ or "", 40)
    need("podman")
    with (
        Yurt() as yurt,
        tempfile.TemporaryDirectory(prefix="yurt-bench-") as scratch,
        podman_in(Path(scratch)) as podman,
    ):
        yurt.image("tiny")
        rootfs = Path(scratch) / "rootfs"
        rootfs.mkdir()
        for number in range(INSTANCES):
            yurt.create(f"bench-{number}", "tiny", "container", start=False)
        for number in range(INSTANCES):
            run_quietly([*podman, "create", "--name", f"bench-{number}", *podman_run(rootfs), "/bin/true"])
        ps = [*podman[podman.index("podman") :], "ps", "--all"]  # listing needs no wrapper
        found = interleave(
            {
                "yurt ls": lambda: run_quietly(yurt.launcher("ls"), env=yurt.environ),
                "python3 -c pass": lambda: run_quietly(["/usr/bin/python3", "-c", "pass"]),
                "podman ps --all": lambda: run_quietly(ps),
            },
            chosen.rounds,
            warm=3,
        )
    report = Report(f"yurt ls with {INSTANCES} instances")
    report.add_cases(found)
    ours = found["yurt ls"].median
    report.add("yurt ls", ours * 1e3, "ms", 60)
    report.add("yurt ls / python3 -c pass", ours / found["python3 -c pass"].median, "x", 2.5)
    report.add("yurt ls / podman ps --all", ours / found["podman ps --all"].median, "x", 1.0)
    return report.show(as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
