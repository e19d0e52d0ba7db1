"""`yurt run debian` at a terminal, image cached, microVM, cold: from the command to the shell's prompt."""

import argparse
import os
import pty
import re
import select
import subprocess
import sys
import time

from common import Failed, Report, Yurt, interleave, options

PROMPT = re.compile(rb"[#$] $")
COLOURS = re.compile(rb"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07)")


def own(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", default="debian")
    parser.add_argument("--accel", default="tcg", choices=("tcg", "kvm", "auto"))


def main() -> int:
    chosen = options(__doc__ or "", 6, own)
    with Yurt() as yurt:
        yurt.image(chosen.image)
        argv = yurt.launcher("run", "--accel", chosen.accel, "--name", "prompt", chosen.image)

        def ours() -> float:
            took = to_prompt(argv, yurt.environ)
            yurt.delete("prompt")
            return took

        found = interleave({"yurt run": ours}, chosen.rounds)
    report = Report(f"second run {chosen.image}, microVM, cold, {chosen.accel}, to the prompt")
    report.add_cases(found)
    report.add("to the prompt", found["yurt run"].median, "s", 4.0)
    return report.show(as_json=chosen.json)


def to_prompt(argv: list[str], environ: dict[str, str]) -> float:
    """Seconds from the start of the command to a prompt on its terminal; then the shell is left."""
    parent, child = pty.openpty()
    begin = time.perf_counter()
    process = subprocess.Popen(
        argv,
        env={**environ, "TERM": "xterm"},
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    shown, took = b"", 0.0
    try:
        while select.select([parent], [], [], 120)[0]:
            try:
                data = os.read(parent, 65536)
            except OSError:  # the command has ended
                break
            shown += data
            if not took and PROMPT.search(COLOURS.sub(b"", shown)):
                took = time.perf_counter() - begin
                os.write(parent, b"exit\n")
        if not took:
            raise Failed(f"no prompt came: {shown[-2000:].decode(errors='replace')}")
        process.wait(60)
        return took
    finally:
        process.kill()
        process.wait()
        os.close(parent)


if __name__ == "__main__":
    sys.exit(main())
