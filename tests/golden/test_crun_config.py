"""OCI runtime configs of containers. `YURT_GOLDEN=update` rewrites the files: read the diff."""

import json
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from yurt.drivers.base import Attachments
from yurt.drivers.container.bundle import BundleFacts, runtime_config, systemd_arguments
from yurt.model.host import CgroupLayout
from yurt.model.instance import AccelMode, Init, Kind, NetworkMode, Privilege, ResolvedSpec
from yurt.model.limits import Limits

GOLDEN = Path(__file__).parent / "crun"
COMMAND = ResolvedSpec(
    image="tiny:latest",
    image_digest="sha256:" + "0" * 64,
    kind=Kind.CONTAINER,
    cpus=2,
    memory_bytes=256 << 20,
    disk_bytes=0,
    env={},
    workdir="/",
    user="",
    labels={},
    command=("true",),
    init=Init.COMMAND,
    init_path="",
    systemd=False,
    stdin=False,
    tty=False,
    network=NetworkMode.USER,
    accel=AccelMode.AUTO,
    ephemeral=False,
)
BUSYBOX = replace(COMMAND, init=Init.IMAGE, init_path="/sbin/init")
LIMITED = replace(COMMAND, limits=Limits(open_files=500, processes=200))
SYSTEMD = replace(BUSYBOX, systemd=True)
GIVEN = Attachments(
    run_dir=Path("/run/yurt/instances/0123456789ab"),
    state_dir=Path("/var/lib/yurt/instances/0123456789ab"),
    uid=0x3D000001,
    gid=0x3D000001,
    agent_binary=Path("/var/lib/yurt/agents/yurt-agent-x86_64-0123"),
    host_ids=(0x40010000, 65536),
)
FACTS = BundleFacts(
    rootfs="/run/yurt/instances/0123456789ab/rootfs",
    userns="/proc/100/fd/20",
    architecture="x86_64",
    hybrid=False,
    open_files=20000,
)
CASES = {
    "command": (COMMAND, FACTS),
    "command-limits": (LIMITED, FACTS),
    "command-nesting": (replace(COMMAND, privileges=(Privilege.NESTING,)), FACTS),
    "busybox-init": (BUSYBOX, FACTS),
    "systemd": (SYSTEMD, FACTS),
    "systemd-hybrid": (SYSTEMD, replace(FACTS, hybrid=True)),
    "command-aarch64-few-files": (COMMAND, replace(FACTS, architecture="aarch64", open_files=512)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_config_is_as_written_down(name: str) -> None:
    spec, facts = CASES[name]
    text = json.dumps(runtime_config(spec, "web1", GIVEN, facts), indent=1) + "\n"
    path = GOLDEN / f"{name}.json"
    if os.environ.get("YURT_GOLDEN") == "update":
        path.write_text(text)
    assert text == path.read_text()


def test_no_golden_file_without_a_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


def test_systemd_is_told_which_control_groups_it_has() -> None:
    two = CgroupLayout(version=2, hybrid=False, root="/sys/fs/cgroup", controllers=("cpu",), own={"": "/"})
    one = replace(two, version=1, own={"cpu": "/"})
    assert systemd_arguments(two) == ()
    assert systemd_arguments(replace(one, hybrid=True)) == ("systemd.unified_cgroup_hierarchy=0",)
    assert "systemd.legacy_systemd_cgroup_controller=1" in systemd_arguments(one)
