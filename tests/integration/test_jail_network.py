"""A guest with a user-mode network: out to others, never to the host's loopback. And what the daemon lets programs inherit.

The host is a network namespace of the test's own, so that `others` can be a second one and nothing is opened outside.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.drivers_base import DriverUnderTest
from tests.conformance.drivers_qemu import boot_config, micro
from tests.integration.jail_guest import started

from yurt.drivers.agent.client import AgentClient
from yurt.host.netns import CLONE_NEWNET
from yurt.model.instance import Kind, NetworkMode

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.needs("ip")]
