"""A container's `run --rm -- true`, at the API, against bare `crun run` and podman on the same root directory."""

import json
import sys
import tempfile
import time
from pathlib import Path

from common import (
    Failed,
    Report,
    Yurt,
    hybrid_wrapper,
    interleave,
    need,
    options,
    podman_in,
    podman_run,
    rootfs_of,
    run_quietly,
)


def bundle(directory: Path, rootfs: Path) -> None:
    """crun's own example bundle with our root and `true` as its program."""
    run_quietly(["crun", "spec"], cwd=directory)
    document = json.loads((directory / "config.json").read_text())
    document["root"] = {"path": str(rootfs), "readonly": True}
    document["process"].update(terminal=False, args=["/bin/true"], rlimits=[])
    (directory / "config.json").write_text(json.dumps(document))


def main() -> int:
    chosen = options(__doc__ or "", 25)
    need("crun", "podman")
    wrapper = hybrid_wrapper()
    with (
        Yurt() as yurt,
        tempfile.TemporaryDirectory(prefix="yurt-bench-") as scratch,
        podman_in(Path(scratch)) as podman,
    ):
        yurt.image("tiny")
        yurt.create("model", "tiny", "container")
        yurt.delete("model")
        rootfs = rootfs_of(yurt, "tiny")
        bundle(Path(scratch), rootfs)
        crun = [*wrapper, "crun", "--root", f"{scratch}/crun", "run", "--bundle", scratch, "bench"]
        gone: list[float] = []

        def ours(network: str) -> float:
            spec = {"image": "tiny", "name": "once", "kind": "container", "command": ["/bin/true"]}
            spec |= {"init": "command", "ephemeral": True, "attach": True, "network": network}  # type: ignore[dict-item]
            with yurt.events() as wait_for:
                begin = time.perf_counter()
                yurt.done(yurt.call("POST", "/v1/instances", spec, start="true", wait_s=30))
                code, _ = yurt.attach("once")
                took = time.perf_counter() - begin
                wait_for("instance.deleted", "once")
                if network == "none":
                    gone.append(time.perf_counter() - begin)
            if code != 0:
                raise Failed(f"true ended with {code}")
            return took

        cases = {
            "yurt": lambda: ours("none"),
            "yurt with a network": lambda: ours("user"),  # which the peers do not have
            "bare crun run": lambda: run_quietly(crun),
            "podman run": lambda: run_quietly([*podman, "run", "--rm", *podman_run(rootfs), "/bin/true"]),
        }
        found = interleave(cases, chosen.rounds, warm=2)
    report = Report("container run --rm -- true, at the API")
    report.add_cases(found)
    report.add("yurt, until it is deleted, median", sorted(gone)[len(gone) // 2] * 1e3, "ms")
    report.add("yurt / bare crun run", found["yurt"].median / found["bare crun run"].median, "x", 2.0)
    report.add(
        "podman run / yurt", found["podman run"].median / found["yurt"].median, "x", 4.0, at_least=True
    )
    networked = found["yurt with a network"].median
    report.add("yurt with a network / bare crun run", networked / found["bare crun run"].median, "x")
    report.add("podman run / yurt with a network", found["podman run"].median / networked, "x")
    return report.show(as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
