"""A volume as yurt sets it up against disks that a bare QEMU has by itself: raw, and qcow2 with QEMU's own defaults.

Both machines are the same microVM, kernel and initrd and run all the time; one at a time does direct I/O (bench/diskio.c).
Every round begins on a disk that was discarded, so first writes allocate. `--tune` measures other settings, too.
"""

import argparse
import asyncio
import io
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from bare_qemu import BareQemu
from common import ROOT, Failed, Report, Yurt, need, options, progress, run_quietly

sys.path.insert(0, str(ROOT / "src"))

from yurt.drivers.agent.client import AgentClient
from yurt.model.process import ExecRequest

SIZE, MEBIBYTES, OPERATIONS = 2 << 30, 128, 3000
OURS, RAW, QCOW2 = "yurt's volume", "bare, raw", "bare, qcow2 (defaults)"
PROMISE = 1.15  # of the time of all kinds of I/O together, against QEMU's own default of the same format
Times = dict[str, float]
# name -> options of qemu-img, of the format node, of the file node
DISKS: dict[str, tuple[str, dict[str, object], dict[str, object]]] = {
    RAW: ("", {"driver": "raw"}, {}),
    QCOW2: ("cluster_size=64k", {"driver": "qcow2"}, {}),
}
EXTENDED = "cluster_size=128k,extended_l2=on"
DIRECT: dict[str, object] = {"cache": {"direct": True}}
TUNING: dict[str, tuple[str, dict[str, object], dict[str, object]]] = {
    "qcow2, 64k, extended": ("cluster_size=64k,extended_l2=on", {"driver": "qcow2"}, {}),
    "qcow2, 128k, extended": (EXTENDED, {"driver": "qcow2"}, {}),
    "qcow2, 2M": ("cluster_size=2M", {"driver": "qcow2"}, {}),
    "128k, extended, detect-zeroes": (EXTENDED, {"driver": "qcow2", "detect-zeroes": "unmap"}, {}),
    "128k, extended, direct, native": (EXTENDED, {"driver": "qcow2", **DIRECT}, {**DIRECT, "aio": "native"}),
    "128k, extended, direct, threads": (EXTENDED, {"driver": "qcow2", **DIRECT}, DIRECT),
    "128k, extended, io_uring": (EXTENDED, {"driver": "qcow2"}, {"aio": "io_uring"}),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tune", action="store_true", help="measure other settings of QEMU, too")


def main() -> int:
    chosen = options(__doc__ or "", 7, add_options)
    need("cc", "qemu-img", "qemu-system-x86_64")
    with tempfile.TemporaryDirectory(prefix="yurt-bench-", dir="/var/tmp") as name, Yurt() as yurt:
        scratch = Path(name)
        program = scratch / "diskio"
        run_quietly(["cc", "-O1", "-static", "-o", str(program), str(ROOT / "bench/diskio.c")])
        disks = DISKS | TUNING if chosen.tune else DISKS
        times = asyncio.run(measured(yurt, scratch, program, disks, chosen.rounds))
    report = Report("a microVM's disk, against a bare QEMU's")
    # on a busy host the best round says most about the disk and least about the neighbours
    totals = {name: min(sum(each.values()) for each in found) for name, found in times.items()}
    for name, found in times.items():
        for kind in found[0]:
            report.add(f"{name}: {kind}, median", statistics.median(each[kind] for each in found) * 1e3, "ms")
        report.add(f"{name}: all of it, best round", totals[name] * 1e3, "ms")
    report.add("all of it, over a bare QEMU's qcow2", totals[OURS] / totals[QCOW2], "x", PROMISE)
    report.add("all of it, over a bare QEMU's raw file", totals[OURS] / totals[RAW], "x")
    for kind in times[OURS][0]:
        ours, theirs = (min(each[kind] for each in times[name]) for name in (OURS, QCOW2))
        report.add(f"{kind}, over a bare QEMU's qcow2", ours / theirs, "x")
    return report.show(as_json=chosen.json)


async def measured(
    yurt: Yurt,
    scratch: Path,
    program: Path,
    disks: dict[str, tuple[str, dict[str, object], dict[str, object]]],
    rounds: int,
) -> dict[str, list[Times]]:
    """The times of every disk in every round, in an order that turns."""
    yurt.image("tiny")
    if any(volume["name"] == "bench" for volume in yurt.call("GET", "/v1/volumes")):
        yurt.done(yurt.call("DELETE", "/v1/volumes/bench"))
    yurt.done(yurt.call("POST", "/v1/volumes", {"name": "bench", "size_bytes": SIZE}))
    yurt.create("bench-disk", "tiny", "microvm")
    yurt.wait("bench-disk", "agent")
    bare = BareQemu(yurt.call("GET", "/v1/instances/bench-disk")["pid"], scratch)
    yurt.delete("bench-disk")
    yurt.create("bench-disk", "tiny", "microvm", volumes=[{"volume": "bench"}])
    yurt.wait("bench-disk", "agent")
    place = scratch / "agent.sock"
    names = list(disks)
    for number, name in enumerate(names):
        bare.argv += disk_words(scratch, number, *disks[name])
    process = bare.start()
    # yurt's daemon holds the agent of its guest: the program goes in and runs over the API there
    put_by_api(yurt, program)
    try:
        while not place.exists():  # noqa: ASYNC110 QEMU tells nobody when it has made its socket
            await asyncio.sleep(0.05)
        guest = await AgentClient.connect(place)
        await guest.wait_ready()
        await guest.put_archive("/", packed(program))
        found: dict[str, list[Times]] = {name: [] for name in (OURS, *names)}
        cases = [OURS, *names]
        for turn in range(rounds + 1):
            for at in range(len(cases)):
                name = cases[(at + turn) % len(cases)]
                progress(f"{turn + 1}/{rounds + 1} {name}")
                serial = "bench" if name == OURS else f"bench{names.index(name)}"
                text = by_api(yurt, serial) if name == OURS else await by_agent(guest, serial)
                if turn > 0:
                    found[name].append(
                        {kind: float(took) for kind, took in map(str.split, text.splitlines())}
                    )
        progress("")
        await guest.close()
        return found
    finally:
        process.kill()
        process.wait()
        yurt.delete("bench-disk")
        yurt.done(yurt.call("DELETE", "/v1/volumes/bench", wait_s=60))


def disk_words(
    scratch: Path, number: int, made: str, form: dict[str, object], file: dict[str, object]
) -> list[str]:
    """One more disk of the bare machine."""
    path, driver, node = scratch / f"bench{number}", str(form["driver"]), f"bench{number}"
    made_with = ["-o", made] if made else []
    run_quietly(["qemu-img", "create", "-q", "-f", driver, *made_with, str(path), str(SIZE)])
    below = {"driver": "file", "filename": str(path), "discard": "unmap", **file}
    block = {**form, "node-name": node, "discard": "unmap", "file": below}
    device = {"driver": "virtio-blk-device", "drive": node, "serial": node}
    return ["-blockdev", json.dumps(block), "-device", json.dumps(device)]


def script(serial: str) -> list[str]:
    """The command that measures the disk of this serial number."""
    find = f'for d in /sys/block/vd*; do [ "$(cat $d/serial)" = {serial} ] && disk=${{d##*/}}; done'
    return ["/bin/sh", "-c", f"{find}; /diskio /dev/$disk {MEBIBYTES} {OPERATIONS}"]


def by_api(yurt: Yurt, serial: str) -> str:
    code, output = yurt.exec("bench-disk", *script(serial))
    if code != 0:
        raise Failed(f"diskio ended with {code}: {output!r}")
    return output.decode()


async def by_agent(guest: AgentClient, serial: str) -> str:
    session = await guest.exec(ExecRequest(argv=tuple(script(serial))))
    output = bytearray()
    while (item := await session.read()) is not None:
        output += item[1]
    code = await session.wait()
    await session.close()
    if code != 0:
        raise Failed(f"diskio ended with {code}: {output!r}")
    return output.decode()


def archive(program: Path) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as tar:
        tar.add(program, "diskio")
    return memory.getvalue()


async def packed(program: Path) -> AsyncIterator[bytes]:
    yield archive(program)


def put_by_api(yurt: Yurt, program: Path) -> None:
    subprocess.run(
        yurt.argv("cp", str(program), "bench-disk:/diskio"), env=yurt.environ, check=True, capture_output=True
    )


if __name__ == "__main__":
    sys.exit(main())
