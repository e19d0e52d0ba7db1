"""What crash tests share with the tests of real networks."""

from tests.integration.conftest import net_daemon

__all__ = ["net_daemon"]
