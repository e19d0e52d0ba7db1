"""Defaults and refusals of one wish: pure, so every rule is a line in a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yurt.engine.resolve import DEFAULT_DISK, resolve
from yurt.errors import Exhausted, Invalid, YurtError
from yurt.model.host import CgroupLayout, HostFacts
from yurt.model.image import Image, ImageConfig
from yurt.model.instance import GIB, MIB, Init, InstanceSpec, Kind
from yurt.model.policy import PolicyWish, RestartPolicy, TtlAction

FACTS = HostFacts(
    hostname="h",
    architecture="x86_64",
    kernel="6.1",
    boot_id="b",
    cpus=2,
    memory_bytes=8 * GIB,
    root=True,
    cgroups=CgroupLayout(version=2, hybrid=False, root="/sys/fs/cgroup", controllers=(), own={}),
    tools={},
    qemu_version="7.2.0",
    tsc_khz=1,
    user_namespaces=True,
    overlay=True,
    distribution="Debian",
)


def image(init: str = "/sbin/init") -> Image:
    return Image(
        reference="tiny:latest",
        digest="sha256:0",
        size_bytes=1,
        created_at=0,
        config=ImageConfig(init=init, env=("PATH=/bin", "A=image")),
    )


def test_each_kind_has_its_defaults() -> None:
    micro = resolve(InstanceSpec(image="tiny"), image(), FACTS)
    assert (micro.cpus, micro.memory_bytes, micro.disk_bytes) == (1, 512 * MIB, DEFAULT_DISK)
    container = resolve(InstanceSpec(image="tiny", kind=Kind.CONTAINER), image(), FACTS)
    assert (container.cpus, container.memory_bytes, container.disk_bytes) == (2, 8 * GIB, 0)


def test_the_wish_beats_the_image() -> None:
    resolved = resolve(
        InstanceSpec(image="tiny", env={"A": "wish"}, workdir="/srv", user="7"), image(), FACTS
    )
    assert resolved.env == {"PATH": "/bin", "A": "wish"}
    assert (resolved.workdir, resolved.user) == ("/srv", "7")


@pytest.mark.parametrize(
    ("spec", "init"),
    [
        (InstanceSpec(image="tiny"), Init.IMAGE),
        (InstanceSpec(image="tiny", command=("true",)), Init.IMAGE),
        (InstanceSpec(image="tiny", command=("true",), ephemeral=True), Init.COMMAND),
        (InstanceSpec(image="tiny", command=("true",), ephemeral=True, init=Init.IMAGE), Init.IMAGE),
        (InstanceSpec(image="tiny", command=("true",), init=Init.COMMAND), Init.COMMAND),
        (InstanceSpec(image="tiny", command=("true",), ephemeral=True, kind=Kind.VM), Init.IMAGE),
    ],
)
def test_what_runs_first(spec: InstanceSpec, init: Init) -> None:
    assert resolve(spec, image(), FACTS).init is init


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        (InstanceSpec(image="tiny", memory_bytes=32 * MIB), Invalid),
        (InstanceSpec(image="tiny", memory_bytes=64 * GIB), Exhausted),
        (
            InstanceSpec(image="tiny", ephemeral=True, policy=PolicyWish(restart=RestartPolicy.ALWAYS)),
            Invalid,
        ),
        (InstanceSpec(image="tiny", ephemeral=True, policy=PolicyWish(autostart=True)), Invalid),
        (InstanceSpec(image="tiny", ephemeral=True, policy=PolicyWish(protect=True)), Invalid),
        (InstanceSpec(image="tiny", policy=PolicyWish(ttl_action=TtlAction.DELETE)), Invalid),
        (
            InstanceSpec(image="tiny", policy=PolicyWish(ttl_s=1, ttl_action=TtlAction.DELETE, protect=True)),
            Invalid,
        ),
        (InstanceSpec(image="tiny", cpus=3, kind=Kind.CONTAINER), Exhausted),
        (InstanceSpec(image="tiny", disk_bytes=GIB), Invalid),
        (InstanceSpec(image="tiny", disk_bytes=DEFAULT_DISK + 1), Invalid),
        (InstanceSpec(image="tiny", env={"A=B": "c"}), Invalid),
        (InstanceSpec(image="tiny", env={"A": "a\0b"}), Invalid),
        (InstanceSpec(image="tiny", workdir="srv"), Invalid),
        (InstanceSpec(image="tiny", command=("a\0",)), Invalid),
        (InstanceSpec(image="tiny", labels={"Ä": "b"}), Invalid),
        (InstanceSpec(image="tiny", kind=Kind.VM, init=Init.COMMAND), Invalid),
    ],
)
def test_refusals_say_what_to_do(spec: InstanceSpec, error: type[YurtError]) -> None:
    with pytest.raises(error):
        resolve(spec, image(), FACTS)


def test_an_image_without_init_needs_a_command() -> None:
    with pytest.raises(Invalid):
        resolve(InstanceSpec(image="tiny"), image(init=""), FACTS)
    assert resolve(InstanceSpec(image="tiny", command=("x",)), image(init=""), FACTS).init is Init.COMMAND
    with pytest.raises(Invalid):
        resolve(InstanceSpec(image="tiny", kind=Kind.VM), image(init=""), FACTS)


@given(
    st.builds(
        InstanceSpec,
        image=st.just("tiny"),
        kind=st.sampled_from(Kind),
        cpus=st.none() | st.integers(1, 256),
        memory_bytes=st.none() | st.integers(32 * MIB, 1 << 44),
        disk_bytes=st.none() | st.integers(16 * MIB, 1 << 46),
        init=st.sampled_from(Init),
        command=st.lists(st.text(), max_size=3).map(tuple),
        ephemeral=st.booleans(),
    )
)
def test_every_wish_is_resolved_or_refused_with_a_type(spec: InstanceSpec) -> None:
    try:
        resolved = resolve(spec, image(), FACTS)
    except YurtError:
        return
    assert resolved.cpus >= 1
    assert resolved.memory_bytes <= FACTS.memory_bytes
    assert resolved.init is not Init.COMMAND or resolved.command
