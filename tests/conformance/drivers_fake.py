"""The fake driver in the conformance suite."""

import asyncio
import functools
import os
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.conformance.drivers_base import (
    PARTS,
    DriverUnderTest,
    Factory,
    make_attachments,
    make_instance,
    make_spec,
)

from yurt.drivers.agent.build import agent_binary, find_compiler, source_dir
from yurt.drivers.fake import FakeDriver
from yurt.host.facts import find_facts
from yurt.host.layout import Layout
from yurt.model.host import HostFacts
from yurt.model.instance import Kind


@functools.cache
def built_agent() -> Path:
    """This host's agent, compiled once per version of its sources."""
    architecture = os.uname().machine
    if find_compiler(architecture) is None:
        pytest.skip("needs a C compiler")
    place = PARTS / "agents"
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    return asyncio.run(agent_binary(place, source_dir(), architecture))


@functools.cache
def host_facts() -> HostFacts:
    """This host's facts."""
    nowhere = Path("/nonexistent")
    return asyncio.run(find_facts(Layout(nowhere, nowhere)))


def fake(directory: Path) -> DriverUnderTest:
    """A guest that is an agent process of this host."""
    given = make_attachments(directory, agent_binary=built_agent())
    return DriverUnderTest(
        facts=host_facts(),
        instance=make_instance(make_spec(Kind.CONTAINER)),
        attachments=given,
        new_driver=FakeDriver,
        broken=replace(given, agent_binary=None),
    )


FACTORIES: dict[str, Factory] = {"fake": fake}
SLOW: set[str] = set()
