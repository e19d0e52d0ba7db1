"""Containers with `--nesting`: namespaces, mounts and a container inside, and still nothing of the host."""

import pytest
from tests.integration.crun_guest import Guest, in_guest
from tests.integration.test_crun_isolation import DENIED

from yurt.drivers.container.bundle import AGENT_PATH
from yurt.model.instance import Privilege

pytestmark = [pytest.mark.root, pytest.mark.needs("crun", "busybox")]
# what a container's runtime does: its own namespaces of every kind, a root of its own, a /proc of its own
INSIDE = """
mkdir -p /inner/bin /inner/proc /inner/old && cp /bin/busybox /inner/bin/sh &&
unshare -U -r -m -p -i -u -n -f /bin/sh -c '
  mount -o bind /inner /inner && mount -t proc proc /inner/proc && mount -t tmpfs none /inner/old &&
  hostname inner && ip link set lo up && exec chroot /inner /bin/sh -c "echo pid \\$\\$"'
"""
# of all that is denied to every container, this lies within its own namespaces
OWN = {
    "a file system",
    "a bind mount",
    "unmounting",
    "a user namespace",
    "a mount namespace",
    "its own root's mount",
    "the address of a NIC",
    "the agent",
}


def test_a_container_runs_in_the_container() -> None:
    async def story(guest: Guest) -> None:
        assert await guest.sh(INSIDE) == (0, "pid 1\n")

    in_guest(story, privileges=(Privilege.NESTING,))


def test_without_the_flag_it_does_not() -> None:
    async def story(guest: Guest) -> None:
        assert (await guest.sh(INSIDE))[0] != 0

    in_guest(story)


def test_what_would_reach_the_host_is_denied_as_ever() -> None:
    async def story(guest: Guest) -> None:
        rest = {what: script for what, script in DENIED.items() if what not in OWN}
        allowed = [what for what, script in rest.items() if (await guest.sh(script))[0] == 0]
        assert allowed == []
        assert (await guest.sh(f"mount -o remount,rw {AGENT_PATH}; echo x > {AGENT_PATH}"))[0] != 0

    in_guest(story, privileges=(Privilege.NESTING,))
