"""Instances created, started and deleted in a second, against a shell loop of the bare programs.

100 each, from eight clients at once; a machine counts as started when its monitor answers, a container when its first
program runs. The loop makes an overlay, starts QEMU and kills it at once, or lets crun create, start and delete: no
record, no jail, no network, one after the other, as scripts do.
"""

import argparse
import shlex
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bare_qemu import BareQemu
from common import (
    Report,
    Yurt,
    hybrid_wrapper,
    interleave,
    need,
    options,
    rootfs_of,
    run_quietly,
)
from container_run import bundle

CLIENTS = 8


def ours(yurt: Yurt, kind: str, count: int) -> float:
    """Seconds for `count` instances, from the first request to the end of the last deletion."""

    def some(numbers: range) -> None:
        client = Yurt(yurt.home)  # a connection of its own
        for number in numbers:
            name = f"many-{number}"
            client.create(name, "tiny", kind, network="none")
            client.delete(name)

    begin = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(some, [range(first, count, CLIENTS) for first in range(CLIENTS)]))
    return time.perf_counter() - begin


def crun_loop(scratch: Path, count: int) -> list[str]:
    """The loop of bare crun."""
    crun = shlex.join(["crun", "--root", f"{scratch}/crun"])
    each = (
        f"{crun} create --bundle {scratch} many-$i && {crun} start many-$i && {crun} delete --force many-$i"
    )
    return [*hybrid_wrapper(), "sh", "-ec", f"i=0; while [ $i -lt {count} ]; do {each}; i=$((i+1)); done"]


def qemu_loop(bare: BareQemu, scratch: Path, count: int) -> list[str]:
    """The loop of bare QEMU: started in the background, killed once its monitor's socket is there, and waited for."""
    size = bare.base.stat().st_size if bare.base else 1 << 30
    start = shlex.join([word.replace("server=off", "server=on,wait=off") for word in bare.argv])
    disk = f"rm -f {scratch}/*.sock; qemu-img create -q -f qcow2 {scratch}/disk.qcow2 {size}"
    end = f"until [ -S {scratch}/qmp.sock ]; do :; done; kill -KILL $!; wait $! || :"
    return ["sh", "-ec", f"i=0; while [ $i -lt {count} ]; do {disk}; {start} & {end}; i=$((i+1)); done"]


def main() -> int:
    def count(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--count", type=int, default=100, help="how many instances (default 100)")

    chosen = options(__doc__ or "", 2, count)
    need("crun", "qemu-img")
    with Yurt() as yurt, tempfile.TemporaryDirectory(prefix="yurt-bench-") as scratch:
        place = Path(scratch)
        yurt.image("tiny")
        yurt.create("model", "tiny", "container")
        bundle(place, rootfs_of(yurt, "tiny"))
        yurt.create("machine", "tiny", "microvm", network="none")
        bare = BareQemu(yurt.call("GET", "/v1/instances/machine")["pid"], place)
        for name in ("model", "machine"):
            yurt.delete(name)
        found = interleave(
            {
                "containers": lambda: ours(yurt, "container", chosen.count),
                "loop of crun": lambda: run_quietly(crun_loop(place, chosen.count)),
                "microVMs": lambda: ours(yurt, "microvm", chosen.count),
                "loop of QEMU": lambda: run_quietly(qemu_loop(bare, place, chosen.count)),
            },
            chosen.rounds,
            warm=0,
        )
    report = Report(f"{chosen.count} instances created, started and deleted")
    for name, figure in found.items():
        report.add(f"{name} in a second", chosen.count / figure.median, "1/s")
    for one, other in (("containers", "loop of crun"), ("microVMs", "loop of QEMU")):
        report.add(f"{one} / {other}, in a second", found[other].median / found[one].median, "x")
    return report.show(as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
