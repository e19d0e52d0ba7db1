"""What the daemon uses while 20 guests run and nobody asks anything: processor, memory, wake-ups."""

import argparse
import os
import re
import sys
import time
from pathlib import Path

from common import Report, Yurt, options


def own(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--microvms", type=int, default=5, help="how many of the guests are microVMs")
    parser.add_argument("--guests", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wakeups(pid: int) -> int:
    """How often the threads of a process have gone to sleep by themselves."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(
        int(number)
        for text in texts
        for number in re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)
    )


def memory_bytes(pid: int) -> int:
    """Resident memory, shared pages included."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def main() -> int:
    chosen = options(__doc__ or "", 1, own)
    with Yurt() as yurt:
        assert yurt.process
        yurt.image("tiny")
        for number in range(chosen.guests):
            yurt.create(f"bench-{number}", "tiny", "microvm" if number < chosen.microvms else "container")
            yurt.wait(f"bench-{number}", "agent")
        pid = yurt.process.pid
        time.sleep(5)  # what starting has left to do is no idling
        cpu, woken, begin = cpu_seconds(pid), wakeups(pid), time.perf_counter()
        time.sleep(chosen.seconds)
        spent, woken, took = cpu_seconds(pid) - cpu, wakeups(pid) - woken, time.perf_counter() - begin
        resident = memory_bytes(pid)
    report = Report(
        f"yurtd, idle with {chosen.guests} guests ({chosen.microvms} microVMs), for {chosen.seconds:g} s"
    )
    report.add("processor", spent / took * 100, "%", 0.5)
    report.add("memory", resident / (1 << 20), "MiB", 80)
    report.add("wake-ups", woken / took, "/s")
    return report.show(as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
