"""The agent's partition tables against the host's: two implementations, one answer, for good tables and for spoilt ones."""

import ctypes
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import ROOT

from yurt.drivers.agent.client import AgentClient
from yurt.errors import Unsupported
from yurt.images.forms import partition_script
from yurt.storage import gpt

pytestmark = [pytest.mark.needs("cc", "sfdisk")]
MIB = 1 << 20
OLD = 300 * MIB


class Grown(ctypes.Structure):
    _fields_ = (
        ("head", ctypes.c_uint8 * gpt.HEAD_BYTES),
        ("tail", ctypes.c_uint8 * (33 * gpt.SECTOR)),
        ("tail_at", ctypes.c_uint64),
        ("start", ctypes.c_uint64),
        ("sectors", ctypes.c_uint64),
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    target = tmp_path_factory.mktemp("gpt") / "gpt.so"
    words = ["-Wall", "-Wextra", "-Werror", "-std=gnu11", "-D_GNU_SOURCE", "-shared", "-fPIC"]
    subprocess.run(["cc", *words, "-o", str(target), str(ROOT / "agent/gpt.c")], check=True)
    loaded = ctypes.CDLL(str(target))
    loaded.gpt_enlarge.restype = ctypes.c_bool
    loaded.gpt_enlarge.argtypes = (
        ctypes.c_char_p,
        ctypes.c_uint64,
        ctypes.c_uint32,
        ctypes.POINTER(Grown),
    )
    return loaded


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table that yurt writes on the disks of VMs."""
    disk = tmp_path_factory.mktemp("disk") / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(OLD)
    script = partition_script("sha256:" + "5" * 64, OLD).encode()
    subprocess.run(["sfdisk", "--quiet", str(disk)], input=script, check=True)
    return disk.read_bytes()[: gpt.HEAD_BYTES]


def enlarge(library: ctypes.CDLL, head: bytes, new_bytes: int, number: int = 2) -> Grown | None:
    grown = Grown()
    done = library.gpt_enlarge(head, new_bytes // gpt.SECTOR, number, ctypes.byref(grown))
    return grown if done else None


@pytest.mark.parametrize("new_bytes", [OLD + 512, 301 * MIB, 10 << 30, 3 << 40])
def test_it_writes_what_the_host_writes(library: ctypes.CDLL, head: bytes, new_bytes: int) -> None:
    grown = enlarge(library, head, new_bytes)
    assert grown is not None
    writes = {write.offset: write.data for write in gpt.enlarge(head, OLD, new_bytes)}
    assert bytes(grown.tail) == writes[grown.tail_at * gpt.SECTOR]
    ours = bytes(grown.head)
    assert ours[: gpt.SECTOR] == writes[0]
    assert ours[gpt.SECTOR : 2 * gpt.SECTOR] == writes[gpt.SECTOR]
    assert ours[2 * gpt.SECTOR :] == writes[2 * gpt.SECTOR]
    assert grown.start + grown.sectors <= new_bytes // gpt.SECTOR - 33


def test_a_disk_that_has_not_grown_and_a_partition_that_is_not_the_last_are_left_alone(
    library: ctypes.CDLL, head: bytes
) -> None:
    assert enlarge(library, head, OLD) is None
    assert enlarge(library, head, OLD - MIB) is None
    for number in (0, 1, 3, 128, 129, 2**32 - 1):
        assert enlarge(library, head, 2 * OLD, number) is None, number


def test_a_spoilt_table_is_left_alone(library: ctypes.CDLL, head: bytes) -> None:
    chance = random.Random(4)
    for _ in range(2000):
        at = chance.randrange(gpt.SECTOR, gpt.SECTOR + 92)
        at = at if chance.random() < 0.5 else chance.randrange(2 * gpt.SECTOR, gpt.HEAD_BYTES)
        spoilt = bytearray(head)
        spoilt[at] ^= 1 << chance.randrange(8)
        assert enlarge(library, bytes(spoilt), 2 * OLD) is None, at


def test_the_two_files_say_the_same_of_their_sizes() -> None:
    text = Path(ROOT / "agent/gpt.h").read_text()
    assert "#define GPT_HEAD (34 * GPT_SECTOR)" in text and gpt.HEAD_BYTES == 34 * gpt.SECTOR


def test_an_agent_that_is_no_machines_grows_nothing(agent: Callable[..., None]) -> None:
    """This host's vCPUs and disks are not a guest's."""

    async def test(client: AgentClient, rig: object) -> None:
        for wish in ({"cpus": 1}, {"memory_bytes": 1 << 30}, {"disk_bytes": 1 << 40}):
            with pytest.raises(Unsupported, match="only a machine"):
                await client.grow(**wish)

    agent(test)
