"""A cold microVM from the API request to the agent's answer, against bare QEMU with the same kernel and initrd."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bare_qemu import BareQemu
from common import Report, Yurt, interleave, need, options


def own(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", default="tiny")


def main() -> int:
    chosen = options(__doc__ or "", 12, own)
    need("qemu-system-x86_64", "qemu-img")
    with Yurt() as yurt, tempfile.TemporaryDirectory(prefix="yurt-bench-") as scratch:
        yurt.image(chosen.image)
        yurt.create("model", chosen.image, "microvm")
        yurt.wait("model", "agent")
        bare = BareQemu(yurt.call("GET", "/v1/instances/model")["pid"], Path(scratch))
        yurt.delete("model")

        def ours() -> float:
            begin = time.perf_counter()
            body = {"image": chosen.image, "name": "cold", "kind": "microvm"}
            yurt.call("POST", "/v1/instances", body, start="true", wait_s=0)
            yurt.wait("cold", "agent")
            took = time.perf_counter() - begin
            yurt.delete("cold")
            return took

        found = interleave({"yurt": ours, "bare QEMU": bare.boot}, chosen.rounds)
    report = Report(f"microVM of {chosen.image}, cold, to the agent's answer")
    report.add_cases(found)
    report.add("yurt / bare QEMU", found["yurt"].median / found["bare QEMU"].median, "x", 1.15)
    return report.show(as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
