"""What a driver brings to the conformance suite. A module `drivers_NAME.py` beside this one joins by having FACTORIES.

`FACTORIES` maps a name to a function that is given an empty directory with a short path (made for one test, removed
after it) and returns a `DriverUnderTest`; it may call `pytest.skip` and say what is missing. What takes long it keeps
between calls by itself. Names in `SLOW` are those whose tests take more than a few seconds.
"""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from yurt.drivers.base import Attachments, Driver
from yurt.errors import YurtError
from yurt.model.host import HostFacts
from yurt.model.instance import AccelMode, Init, Instance, Kind, NetworkMode, Phase, ResolvedSpec
from yurt.model.names import InstanceId, Name

MIB = 1 << 20
# what takes long to make and the next run takes up again: agents, kernels, a tree (tools/leaks.py knows the name)
PARTS = Path("/var/tmp") / ("yurt-test-parts" if os.geteuid() == 0 else f"yurt-test-parts-{os.geteuid()}")
INSTANCE_ID = InstanceId(secrets.token_hex(6))  # two sessions on one host must not meet


@dataclass
class DriverUnderTest:
    """One driver with what it needs to start one guest.

    `new_driver` makes a driver object as a new daemon would. `broken` are attachments with which `start` must fail.
    `leftovers` lists what the driver has left on the host beyond the run directory; after `cleanup`: nothing.
    `has_agent`: the guest carries a yurt-agent that can be asked to shut down.
    """

    facts: HostFacts
    instance: Instance
    attachments: Attachments
    new_driver: Callable[[], Driver]
    broken: Attachments
    leftovers: Callable[[], list[str]] = list
    refused: list[tuple[ResolvedSpec, type[YurtError]]] = field(default_factory=list)
    has_agent: bool = True

    @property
    def run_dir(self) -> Path:
        return self.attachments.run_dir


Factory = Callable[[Path], DriverUnderTest]


def make_spec(kind: Kind, *, memory_bytes: int = 256 * MIB, disk_bytes: int = 64 * MIB) -> ResolvedSpec:
    """A small spec of that kind, without a network and without a command."""
    return ResolvedSpec(
        image="conformance:latest",
        image_digest="sha256:" + "0" * 64,
        kind=kind,
        cpus=1,
        memory_bytes=memory_bytes,
        disk_bytes=disk_bytes,
        env={},
        workdir="/",
        user="",
        labels={},
        command=(),
        init=Init.IMAGE,
        init_path="",
        systemd=False,
        stdin=False,
        tty=False,
        network=NetworkMode.NONE,
        accel=AccelMode.TCG,
        ephemeral=False,
    )


def make_instance(spec: ResolvedSpec) -> Instance:
    """The record of one instance, as the engine has it when it starts a guest."""
    return Instance(id=INSTANCE_ID, name=Name("conformance"), spec=spec, phase=Phase.STARTING)


def make_attachments(directory: Path, **fields: object) -> Attachments:
    """Attachments with run and state directories made below `directory`, and these fields besides."""
    run_dir, state_dir = directory / "run" / INSTANCE_ID, directory / "state" / INSTANCE_ID
    for path in (run_dir, state_dir):
        path.mkdir(parents=True, mode=0o711, exist_ok=True)
    plain = Attachments(
        run_dir=run_dir, state_dir=state_dir, uid=0x3DFFF000, gid=0x3DFFF000, cgroup=f"yurt/{INSTANCE_ID}"
    )
    return replace(plain, **fields)
