"""`exec true` in a running microVM and container, at the API, over the guest's own fork and exec."""

import sys
from collections.abc import Callable

from common import Failed, Report, Yurt, interleave, options

KINDS = ("microvm", "container")
FORKS = 200
# the guest's clock has hundredths of a second; so many forks make one of them 0.05 ms
SCRIPT = (
    f"read a x < /proc/uptime; i=0; while [ $i -lt {FORKS} ]; do /bin/true; i=$((i+1)); done; "
    "read b x < /proc/uptime; echo $a $b"
)


def main() -> int:
    chosen = options(__doc__ or "", 60)
    with Yurt() as yurt:
        yurt.image("tiny")
        for kind in KINDS:
            yurt.create(f"bench-{kind}", "tiny", kind)
            yurt.wait(f"bench-{kind}", "agent")

        def api(kind: str) -> Callable[[], None]:
            def once() -> None:
                code, _ = yurt.exec(f"bench-{kind}", "/bin/true")
                if code != 0:
                    raise Failed(f"true ended with {code}")

            return once

        found = interleave({kind: api(kind) for kind in KINDS}, chosen.rounds, warm=3)
        inside = interleave({kind: lambda kind=kind: forks(yurt, kind) for kind in KINDS}, 5)  # type: ignore[misc]
    report = Report("exec true in a running guest, at the API")
    for kind in KINDS:
        report.add(f"{kind}: exec at the API, median of {chosen.rounds}", found[kind].median * 1e3, "ms")
        report.add(f"{kind}: exec at the API, 95th percentile", found[kind].p95 * 1e3, "ms")
        report.add(f"{kind}: the guest's own fork and exec", inside[kind].median * 1e3, "ms")
        report.add(f"{kind}: difference", (found[kind].median - inside[kind].median) * 1e3, "ms", 15)
    return report.show(as_json=chosen.json)


def forks(yurt: Yurt, kind: str) -> float:
    """Seconds of one fork and exec inside the guest, by its own clock."""
    code, output = yurt.exec(f"bench-{kind}", "/bin/sh", "-c", SCRIPT)
    if code != 0:
        raise Failed(f"the guest's loop ended with {code}: {output!r}")
    begin, end = output.split()
    return (float(end) - float(begin)) / FORKS


if __name__ == "__main__":
    sys.exit(main())
