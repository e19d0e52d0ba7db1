"""Word of memory pressure: the wait for POLLPRI, tried on a socket's urgent data, which is told in the same way."""

import asyncio
import os
import select
import socket
from pathlib import Path

import pytest

from yurt.host.pressure import open_trigger, pressure_events


def test_each_firing_is_heard_and_quiet_costs_nothing() -> None:
    async def story() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        sender = socket.create_connection(listener.getsockname())
        receiver, _ = listener.accept()
        async with pressure_events(os.dup(receiver.fileno())) as fired:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(fired.wait(), 0.05)
            for _ in range(2):
                sender.send(b"!", socket.MSG_OOB)
                await asyncio.wait_for(fired.wait(), 5)
                fired.clear()
                receiver.recv(1, socket.MSG_OOB)
                await asyncio.sleep(0)
                assert not fired.is_set()
        for each in (sender, receiver, listener):
            each.close()

    asyncio.run(story())


def test_a_kernel_without_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        open_trigger(tmp_path / "absent")


@pytest.mark.skipif(not os.access("/proc/pressure/memory", os.W_OK), reason="needs /proc/pressure/memory")
def test_this_kernel_takes_our_threshold_without_privileges() -> None:
    descriptor = open_trigger()
    poll = select.poll()
    poll.register(descriptor, select.POLLPRI)
    assert not [event for _, event in poll.poll(0) if event & select.POLLERR]
    os.close(descriptor)
