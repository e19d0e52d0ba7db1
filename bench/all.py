"""Run every bench and print one table, as Markdown for SPECIFICATION.md. The status is 1 when a promise was not kept."""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOT_BENCHES = {"all", "common", "bare_qemu"}


def main() -> int:
    wanted = sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NOT_BENCHES)
    broken = 0
    print("| bench | figure | value | promise | kept |\n|---|---|---|---|---|")
    for name in wanted:
        done = subprocess.run(
            [sys.executable, str(HERE / f"{name}.py"), "--json"], stdout=subprocess.PIPE, check=False
        )
        if not done.stdout.strip():
            print(f"| {name} | did not run | | | no |")
            broken = 1
            continue
        for row in json.loads(done.stdout)["rows"]:
            sign = ">=" if row["at_least"] else "<="
            promise = f"{sign} {row['limit']:g}" if row["limit"] is not None else ""
            kept = {True: "yes", False: "**no**", None: ""}[row["kept"]]
            print(
                f"| {name} | {row['what']} | {row['value']:.2f} {row['unit']} | {promise} | {kept} |",
                flush=True,
            )
        broken |= done.returncode
    return broken


if __name__ == "__main__":
    sys.exit(main())
