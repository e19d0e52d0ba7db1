"""What only tests with real guests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.nethost import NetDaemon, net_daemon_in


@pytest.fixture(scope="module")
def net_daemon(image_cache: Path) -> Iterator[NetDaemon]:
    """A daemon with managed networks, alone in a network namespace with one neighbour outside; one for a module."""
    with net_daemon_in(image_cache) as daemon:
        yield daemon
