"""The commands that limit a device's network rates. `YURT_GOLDEN=write` rewrites the files: read the diff."""

import os
import shlex
from pathlib import Path

import pytest

from yurt.host.shaping import LEAST_BURST, bucket, mirror_name, shape_commands, unshape_commands

GOLDEN = Path(__file__).parent / "tc"
CASES = {
    "both": shape_commands("yt7-0", 100_000_000, 20_000_000),
    "leaving-only": shape_commands("yt7-0", 1_000_000_000, None),
    "arriving-only": shape_commands("yt7-0", None, 64_000),
    "none": shape_commands("yt7-0", None, None),
    "gone": unshape_commands("yt7-0"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_commands_are_as_written_down(name: str) -> None:
    text = "".join(
        ("- " if command.may_fail else "  ") + shlex.join(command.argv) + "\n" for command in CASES[name]
    )
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("YURT_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_no_golden_file_without_a_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


def test_names_of_mirrors_fit_and_differ() -> None:
    names = {mirror_name(f"a-very-long-device-{number}") for number in range(1000)}
    assert len(names) == 1000 and all(len(name) <= 15 for name in names)


def test_a_bucket_holds_the_largest_packet_and_a_hundredth_of_a_second() -> None:
    words = bucket("d", 1000).argv
    assert words[words.index("burst") + 1] == f"{LEAST_BURST}b"
    words = bucket("d", 10**10).argv
    assert words[words.index("burst") + 1] == "12500000b"
