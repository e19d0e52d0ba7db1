"""The container driver in the conformance suite: a busybox tree, started by the real OCI runtime."""

import functools
import os
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.conformance.drivers_base import (
    INSTANCE_ID,
    PARTS,
    DriverUnderTest,
    Factory,
    make_attachments,
    make_instance,
    make_spec,
)
from tests.conformance.drivers_fake import built_agent, host_facts

from yurt.drivers.agent.config import BootConfig, encode_config
from yurt.drivers.base import RootfsAttachment
from yurt.drivers.container.crun import CrunDriver
from yurt.errors import Invalid, Unsupported
from yurt.host import files
from yurt.host.cgroup import Group
from yurt.model.instance import Init, Kind

SLOT_IDS = (0x7FF00000, 65536)
DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp")


@functools.cache
def busybox_tree() -> Path:
    """A root file system of one busybox, made once per session and shared, as an image's is."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox")
    place = PARTS / "tree"
    PARTS.mkdir(mode=0o755, exist_ok=True)
    if place.is_dir():
        return place
    with files.temporary_sibling(place) as tree:
        for name in DIRECTORIES:
            (tree / name).mkdir(parents=True)
        (tree / "tmp").chmod(0o1777)
        shutil.copy(busybox, tree / "bin" / "busybox")
        for name in "sh cat chmod chown dd df echo hostname id ip kill ls mkdir mknod mount nc ps rm".split():
            (tree / "bin" / name).symlink_to("busybox")
        for name in "route sleep stat su sync touch true umount unshare wget yes tail head grep".split():
            (tree / "bin" / name).symlink_to("busybox")
        (tree / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\n")
        (tree / "etc" / "group").write_text("root:x:0:\nann:x:1000:\n")
    return place


def leftovers() -> list[str]:
    """Control groups and mounts of the suite's instance."""
    groups = Group(host_facts().cgroups, f"yurt/{INSTANCE_ID}").directories.values()
    mounted = Path("/proc/self/mountinfo").read_text()
    return [str(path) for path in groups if path.exists()] + [
        line for line in mounted.splitlines() if INSTANCE_ID in line
    ]


def boot_config(*command: str, **fields: object) -> bytes:
    """A container whose main process is `command`; without one it waits for its end."""
    words = command or ("/bin/sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")
    return encode_config(
        replace(BootConfig(mode="container", hostname="conformance", command=words), **fields)
    )


def crun(directory: Path) -> DriverUnderTest:
    """A container of one command."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    facts = host_facts()
    capabilities = CrunDriver(facts).capabilities(facts)
    if not capabilities.available:
        pytest.skip(f"needs containers: {capabilities.reason}")
    state = directory / "state" / INSTANCE_ID
    given = make_attachments(
        directory,
        rootfs=RootfsAttachment(lower=busybox_tree(), data=state / "data"),
        agent_binary=built_agent(),
        host_ids=SLOT_IDS,
        config=boot_config(),
    )
    spec = replace(make_spec(Kind.CONTAINER, disk_bytes=0), init=Init.COMMAND, command=("sh",))
    return DriverUnderTest(
        facts=facts,
        instance=make_instance(spec),
        attachments=given,
        new_driver=lambda: CrunDriver(facts),
        broken=replace(given, agent_binary=Path("/nonexistent/agent")),
        leftovers=leftovers,
        refused=[
            (replace(spec, kind=Kind.VM), Unsupported),
            (replace(spec, init=Init.IMAGE, init_path=""), Invalid),
        ],
    )


FACTORIES: dict[str, Factory] = {"crun": crun}
SLOW: set[str] = set()
