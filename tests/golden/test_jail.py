"""The jail's system call filter, line by line. `YURT_GOLDEN=write` rewrites."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from yurt.errors import Unsupported
from yurt.host import seccomp

GOLDEN = Path(__file__).parent / "jail"
UNIX, INTERNET = (seccomp.AF_UNIX,), (seccomp.AF_UNIX, seccomp.AF_INET)
CODES = {
    seccomp.LOAD: "load",
    seccomp.JUMP_EQUAL: "equal",
    seccomp.JUMP_GREATER: "greater",
    seccomp.JUMP_SET: "any bit of",
    seccomp.RETURN: "return",
}


def listing(architecture: str, families: tuple[int, ...]) -> str:
    lines = []
    for number, (code, yes, no, operand) in enumerate(seccomp.instructions(architecture, families)):
        jumps = f" ? {number + 1 + yes} : {number + 1 + no}" if CODES[code] not in ("load", "return") else ""
        lines.append(f"{number}: {CODES[code]} {operand:#x}{jumps}")
    return "\n".join(lines) + "\n"


CASES: dict[str, Callable[[], str]] = {
    "filter-x86_64-unix": lambda: listing("x86_64", UNIX),
    "filter-aarch64-internet": lambda: listing("aarch64", INTERNET),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_as_written_down(name: str) -> None:
    path, text = GOLDEN / f"{name}.txt", CASES[name]()
    if os.environ.get("YURT_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_no_golden_file_without_a_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


def run(program: list[seccomp.Instruction], number: int, *arguments: int, audit: int = 0xC000003E) -> int:
    """What the kernel would answer; a small machine for the five instructions that are used."""
    data = {0: number, 4: audit} | {16 + 8 * at: value & 0xFFFFFFFF for at, value in enumerate(arguments)}
    at = value = 0
    while True:
        code, yes, no, operand = program[at]
        if code == seccomp.RETURN:
            return operand
        if code == seccomp.LOAD:
            value, at = data.get(operand, 0), at + 1
            continue
        held = {
            seccomp.JUMP_EQUAL: value == operand,
            seccomp.JUMP_GREATER: value > operand,
            seccomp.JUMP_SET: bool(value & operand),
        }[code]
        at += 1 + (yes if held else no)


def errno(number: int) -> int:
    return seccomp.ERRNO | number


@pytest.mark.parametrize(
    ("number", "arguments", "answer"),
    [
        (0, (), seccomp.ALLOW),  # read
        (59, (), seccomp.ALLOW),  # execve
        (165, (), errno(seccomp.EPERM)),  # mount
        (435, (), errno(seccomp.ENOSYS)),  # clone3
        (425, (), errno(seccomp.ENOSYS)),  # io_uring_setup
        (56, (0x3D0F00,), seccomp.ALLOW),  # clone of a thread
        (56, (0x10000000,), errno(seccomp.EPERM)),  # clone with a user namespace
        (56, (0x80,), errno(seccomp.EPERM)),  # clone with a time namespace
        (41, (1, 1, 0), seccomp.ALLOW),
        (41, (2, 1, 0), errno(seccomp.EAFNOSUPPORT)),
        (
            41,
            (1 << 32 | 2, 1, 0),
            errno(seccomp.EAFNOSUPPORT),
        ),  # the kernel looks at the lower half, and so do we
        (16, (0, 0x5412), errno(seccomp.EPERM)),  # TIOCSTI
        (16, (0, 0x5413), seccomp.ALLOW),
        (1000, (), errno(seccomp.ENOSYS)),
        (0x40000000, (), seccomp.KILL),
    ],
)
def test_what_the_filter_answers(number: int, arguments: tuple[int, ...], answer: int) -> None:
    assert run(seccomp.instructions("x86_64", UNIX), number, *arguments) == answer


def test_another_abi_ends_the_program() -> None:
    assert run(seccomp.instructions("x86_64", UNIX), 0, audit=0x40000003) == seccomp.KILL


def test_a_machine_without_a_table_is_refused() -> None:
    with pytest.raises(Unsupported):
        seccomp.deny_filter("riscv64", UNIX)


def test_it_packs_to_eight_bytes_a_line() -> None:
    packed = seccomp.deny_filter("x86_64", UNIX)
    assert len(packed) == 8 * len(seccomp.instructions("x86_64", UNIX)) < 8 * 4096
