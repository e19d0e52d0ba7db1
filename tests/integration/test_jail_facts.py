"""What /proc says of a running guest's processes: one test per fact, one shared guest per kind."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.jail_guest import NAMESPACES, SECRET, Process, Subject, started

from yurt.drivers.container.bundle import CAPABILITIES, INIT_CAPABILITIES, MASKED_PATHS, READONLY_PATHS
from yurt.drivers.qemu import jails
from yurt.drivers.qemu.limits import memory_limit
from yurt.host.cgroup import Group
from yurt.host.jailroot import system_libraries
from yurt.host.jailspec import STANDARD_DEVICES
from yurt.model.instance import Kind
from yurt.units import parse_size

pytestmark = [pytest.mark.slow, pytest.mark.root]
Fact = Callable[[Subject], None]
HOST = Process(os.getpid())
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@pytest.fixture(scope="module", params=[Kind.MICROVM, Kind.VM])
def machine(request: pytest.FixtureRequest) -> Iterator[Subject]:
    with started(request.param) as subject:
        yield subject


@pytest.fixture(scope="module")
def container() -> Iterator[Subject]:
    with started(Kind.CONTAINER) as subject:
        yield subject


# --- both of a machine's processes: QEMU and its network helper ------------------------------------------------


def user_is_its_own(subject: Subject, process: Process) -> None:
    assert process.status("Uid").split() == [str(subject.uid)] * 4
    assert subject.uid != os.getuid()


def group_is_its_own(subject: Subject, process: Process) -> None:
    assert process.status("Gid").split() == [str(subject.test.attachments.gid)] * 4


def no_other_groups(subject: Subject, process: Process) -> None:
    assert process.status("Groups") == ""


def no_capability(name: str) -> Callable[[Subject, Process], None]:
    def fact(subject: Subject, process: Process) -> None:
        assert int(process.status(name), 16) == 0

    return fact


def it_cannot_rise(subject: Subject, process: Process) -> None:
    assert process.status("NoNewPrivs") == "1"


def system_calls_are_filtered(subject: Subject, process: Process) -> None:
    assert process.status("Seccomp") == "2"


def two_filters_one_of_them_outer(subject: Subject, process: Process) -> None:
    assert process.status("Seccomp_filters") == "2"


def every_thread_is_confined_alike(subject: Subject, process: Process) -> None:
    for thread in process.threads():
        assert thread.status("Uid").split() == [str(subject.uid)] * 4
        assert (thread.status("Seccomp"), thread.status("NoNewPrivs")) == ("2", "1")
        assert [int(thread.status(name), 16) for name in SETS] == [0] * 5


def own_namespace(name: str) -> Callable[[Subject, Process], None]:
    def fact(subject: Subject, process: Process) -> None:
        assert process.namespace(name) != HOST.namespace(name)

    return fact


def first_of_its_pid_namespace(subject: Subject, process: Process) -> None:
    assert process.status("NSpid").split()[-1] == "1"


def its_parent_is_whoever_started_it(subject: Subject, process: Process) -> None:
    assert int(process.status("PPid")) == os.getpid()


def its_root_is_private(subject: Subject, process: Process) -> None:
    root = os.stat(f"/proc/{process.pid}/root/.")  # noqa: PTH116 a magic link
    assert (root.st_dev, root.st_ino) != (os.stat("/").st_dev, os.stat("/").st_ino)  # noqa: PTH116


def it_stands_in_its_root(subject: Subject, process: Process) -> None:
    assert os.readlink(f"/proc/{process.pid}/cwd") == "/"  # noqa: PTH115


def the_root_is_read_only_memory(subject: Subject, process: Process) -> None:
    assert {"ro", "nosuid"} <= set(process.mounts()["/"])
    (row,) = [line for line in process.read("mountinfo").splitlines() if line.split()[4] == "/"]
    assert " - tmpfs " in row


def no_mount_has_devices_or_setuid(subject: Subject, process: Process) -> None:
    for place, options in process.mounts().items():
        assert "nosuid" in options, place
        assert "nodev" in options or place == "/", place


def no_process_file_system(subject: Subject, process: Process) -> None:
    assert not {"proc", "sys"} & set(process.root())
    assert not re.search(r" - (proc|sysfs|cgroup2?|devtmpfs|securityfs) ", process.read("mountinfo"))


def its_devices_are_the_harmless_ones(subject: Subject, process: Process) -> None:
    assert process.root("dev") == sorted(STANDARD_DEVICES)


def its_devices_are_for_it_alone(subject: Subject, process: Process) -> None:
    for name in STANDARD_DEVICES:
        node = Path(f"/proc/{process.pid}/root/dev/{name}").stat()
        assert (node.st_uid, node.st_mode & 0o777) == (subject.uid, 0o600)


def nothing_in_its_root_has_setuid(subject: Subject, process: Process) -> None:
    for name in process.root("usr/bin") + process.root("bin"):
        for place in ("usr/bin", "bin"):
            path = Path(f"/proc/{process.pid}/root/{place}/{name}")
            if path.exists():
                assert path.stat().st_mode & 0o6000 == 0


def its_environment_is_empty(subject: Subject, process: Process) -> None:
    assert process.read("environ") == ""


def its_command_line_holds_no_secret(subject: Subject, process: Process) -> None:
    assert SECRET not in process.read("cmdline")


def its_command_line_names_nothing_of_the_host(subject: Subject, process: Process) -> None:
    words = process.read("cmdline")
    for path in (subject.test.run_dir, subject.test.attachments.state_dir):
        assert str(path) not in words


def it_leaves_no_core(subject: Subject, process: Process) -> None:
    assert process.limit("Max core file size") == ("0", "0")


def it_locks_no_memory(subject: Subject, process: Process) -> None:
    assert process.limit("Max locked memory") == ("0", "0")


def it_has_no_message_queues(subject: Subject, process: Process) -> None:
    assert process.limit("Max msgqueue size") == ("0", "0")


def it_is_in_its_control_group(subject: Subject, process: Process) -> None:
    group = Group(subject.test.facts.cgroups, subject.test.attachments.cgroup)
    assert process.pid in group.processes()
    for row in process.read("cgroup").splitlines():
        number, controllers, path = row.split(":", 2)
        assert path.endswith(subject.test.attachments.cgroup) or (number, controllers) == ("0", ""), row


def it_has_a_session_of_its_own(subject: Subject, process: Process) -> None:
    fields = process.read("stat").rpartition(")")[2].split()
    assert (int(fields[2]), int(fields[3]), int(fields[4])) == (
        process.pid,
        process.pid,
        0,
    )  # and no terminal


def its_personality_is_plain(subject: Subject, process: Process) -> None:
    assert int(process.read("personality"), 16) == 0


def its_standard_output_is_bounded_memory(subject: Subject, process: Process) -> None:
    held = process.descriptors()
    assert held[0] == "/dev/null"
    assert held[1] == held[2] == "/memfd:yurt-machine-log (deleted)"


def the_host_sees_none_of_its_mounts(subject: Subject, process: Process) -> None:
    assert jails.KERNEL not in HOST.read("mountinfo")


BOTH: tuple[Callable[[Subject, Process], None], ...] = (
    user_is_its_own,
    group_is_its_own,
    no_other_groups,
    it_cannot_rise,
    system_calls_are_filtered,
    two_filters_one_of_them_outer,
    every_thread_is_confined_alike,
    first_of_its_pid_namespace,
    its_parent_is_whoever_started_it,
    its_root_is_private,
    it_stands_in_its_root,
    the_root_is_read_only_memory,
    no_mount_has_devices_or_setuid,
    no_process_file_system,
    its_devices_are_the_harmless_ones,
    its_devices_are_for_it_alone,
    nothing_in_its_root_has_setuid,
    its_environment_is_empty,
    its_command_line_holds_no_secret,
    its_command_line_names_nothing_of_the_host,
    it_leaves_no_core,
    it_locks_no_memory,
    it_has_no_message_queues,
    it_is_in_its_control_group,
    it_has_a_session_of_its_own,
    its_personality_is_plain,
    its_standard_output_is_bounded_memory,
    the_host_sees_none_of_its_mounts,
)
NAMED = {fact.__name__: fact for fact in BOTH}
NAMED |= {f"no_capability_in_{name}": no_capability(name) for name in SETS}
NAMED |= {f"own_{name}_namespace": own_namespace(name) for name in NAMESPACES if name != "net"}


@pytest.mark.parametrize("fact", NAMED)
def test_qemu(machine: Subject, fact: str) -> None:
    NAMED[fact](machine, machine.process)


@pytest.mark.parametrize("fact", NAMED)
def test_network_helper(machine: Subject, fact: str) -> None:
    NAMED[fact](machine, machine.helper)


# --- QEMU alone --------------------------------------------------------------------------------------------------


def qemu_has_its_own_network(subject: Subject) -> None:
    own_namespace("net")(subject, subject.process)


def qemu_has_no_interface(subject: Subject) -> None:
    rows = [line.partition(":")[0].strip() for line in subject.process.read("net/dev").splitlines()[2:]]
    assert rows == ["lo"]


def qemu_listens_nowhere(subject: Subject) -> None:
    for name in ("tcp", "tcp6", "udp", "udp6", "raw"):
        assert len(subject.process.read(f"net/{name}").splitlines()) == 1, name


def qemu_has_the_mounts_of_its_jail(subject: Subject) -> None:
    own = {jails.KERNEL, jails.INITRD} if subject.kind is Kind.MICROVM else set()
    libraries = {bind.target for bind in system_libraries()[0]}
    firmware = {path for path in jails.FIRMWARE if Path(path).exists()}
    expected = {"/", "/bin/sh", subject.launched.argv[0], *libraries, *firmware, *own}
    assert set(subject.process.mounts()) == expected


def qemu_may_write_to_no_mount(subject: Subject) -> None:
    assert all("ro" in options for options in subject.process.mounts().values())


def qemus_root_holds_these_names(subject: Subject) -> None:
    plain = ["bin", "dev", "etc", "lib", "lib64", "usr"]
    own = ["boot"] if subject.kind is Kind.MICROVM else []
    assert subject.process.root() == sorted(plain + own)


def qemus_programs_are_itself_and_the_gate(subject: Subject) -> None:
    assert subject.process.root("usr/bin") == [Path(subject.launched.argv[0]).name]
    assert subject.process.root("bin") == ["sh"]


def qemus_files_are_its_disks(subject: Subject) -> None:
    disk = subject.test.attachments.disk
    assert disk is not None
    allowed = {str(disk.path), str(disk.base), "/dev/null", "/memfd:yurt-machine-log (deleted)"}
    files = {what for what in subject.process.descriptors().values() if what.startswith("/")}
    assert files <= allowed


def qemus_other_descriptors_are_these(subject: Subject) -> None:
    held = [what for what in subject.process.descriptors().values() if not what.startswith("/")]
    sockets = [what for what in held if what.startswith("socket:")]
    pipes = [what for what in held if what.startswith("pipe:")]
    assert len(sockets) <= 5  # monitor, agent, console, network; and a monitor's connection
    assert len(pipes) == 1  # the helper's lifeline
    rest = set(held) - set(sockets) - set(pipes)
    assert rest <= {"anon_inode:[eventpoll]", "anon_inode:[eventfd]", "anon_inode:[signalfd]"}


def qemus_base_is_open_for_reading_only(subject: Subject) -> None:
    disk = subject.test.attachments.disk
    assert disk is not None
    for number, what in subject.process.descriptors().items():
        if what == str(disk.base):
            flags = int(re.findall(r"^flags:\s*(\d+)$", subject.process.read(f"fdinfo/{number}"), re.M)[0], 8)
            assert flags & os.O_ACCMODE == os.O_RDONLY


def qemus_limits_are_these(subject: Subject) -> None:
    assert subject.process.limit("Max open files") == ("1024", "1024")
    assert subject.process.limit("Max processes") == ("512", "512")


def qemus_memory_is_limited(subject: Subject) -> None:
    limit = memory_limit(subject.test.instance.spec, "tcg").memory_bytes
    group = Group(subject.test.facts.cgroups, subject.test.attachments.cgroup)
    assert limit is not None
    assert group.usage().memory_limit_bytes == limit // 4096 * 4096


def qemu_denies_itself_what_it_can(subject: Subject) -> None:
    words = subject.process.read("cmdline").split("\0")
    assert words[words.index("-sandbox") + 1] == (
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
    )


def qemu_opens_nothing_by_a_users_word(subject: Subject) -> None:
    words = subject.process.read("cmdline").split("\0")
    assert not [word for word in words if "user" in word and "netdev" in word]
    assert "/proc/" not in " ".join(words)


ALONE: tuple[Fact, ...] = (
    qemu_has_its_own_network,
    qemu_has_no_interface,
    qemu_listens_nowhere,
    qemu_has_the_mounts_of_its_jail,
    qemu_may_write_to_no_mount,
    qemus_root_holds_these_names,
    qemus_programs_are_itself_and_the_gate,
    qemus_files_are_its_disks,
    qemus_other_descriptors_are_these,
    qemus_base_is_open_for_reading_only,
    qemus_limits_are_these,
    qemus_memory_is_limited,
    qemu_denies_itself_what_it_can,
    qemu_opens_nothing_by_a_users_word,
)


@pytest.mark.parametrize("fact", ALONE, ids=lambda fact: fact.__name__)
def test_qemu_alone(machine: Subject, fact: Fact) -> None:
    fact(machine)


# --- the helper alone --------------------------------------------------------------------------------------------


def helper_has_the_hosts_network(subject: Subject) -> None:
    assert subject.helper.namespace("net") == HOST.namespace("net")


def helper_has_the_mounts_of_its_jail(subject: Subject) -> None:
    libraries = {bind.target for bind in system_libraries()[0]}
    resolver = {"/etc/resolv.conf"} if jails.RESOLVER.exists() else set()
    expected = {"/", "/bin/sh", "/usr/bin/slirp4netns", jails.SOCKETS, *libraries, *resolver}
    assert set(subject.helper.mounts()) == expected


def helper_may_write_to_nothing_that_is_left(subject: Subject) -> None:
    writable = [place for place, options in subject.helper.mounts().items() if "rw" in options]
    assert writable == [jails.SOCKETS]
    assert not (subject.test.run_dir / "usernet").exists()


def helper_refuses_the_hosts_loopback(subject: Subject) -> None:
    assert "--disable-host-loopback" in subject.helper.read("cmdline").split("\0")


def helper_holds_two_sockets_and_its_lifeline(subject: Subject) -> None:
    held = sorted(
        what.partition(":")[0] for number, what in subject.helper.descriptors().items() if number > 2
    )
    assert held == ["pipe", "socket", "socket"]


HELPER: tuple[Fact, ...] = (
    helper_has_the_hosts_network,
    helper_has_the_mounts_of_its_jail,
    helper_may_write_to_nothing_that_is_left,
    helper_refuses_the_hosts_loopback,
    helper_holds_two_sockets_and_its_lifeline,
)


@pytest.mark.parametrize("fact", HELPER, ids=lambda fact: fact.__name__)
def test_helper_alone(machine: Subject, fact: Fact) -> None:
    fact(machine)


# --- a container's first process -----------------------------------------------------------------------------------
BITS = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_FSETID": 4,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_RAW": 13,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_BOOT": 22,
    "CAP_AUDIT_WRITE": 29,
    "CAP_SETFCAP": 31,
}


def _expected(subject: Subject) -> int:
    names = {*CAPABILITIES, *(INIT_CAPABILITIES if subject.test.instance.spec.init == "image" else ())}
    return sum(1 << BITS[name] for name in names)


def capabilities_in(name: str) -> Fact:
    def fact(subject: Subject) -> None:
        assert int(subject.process.status(name), 16) == _expected(subject)

    return fact


def no_capabilities_in(name: str) -> Fact:
    def fact(subject: Subject) -> None:
        assert int(subject.process.status(name), 16) == 0

    return fact


def container_namespace(name: str) -> Fact:
    def fact(subject: Subject) -> None:
        assert subject.process.namespace(name) != HOST.namespace(name)

    return fact


def root_is_an_unprivileged_user_outside(subject: Subject) -> None:
    base = subject.test.attachments.host_ids[0]
    assert subject.process.status("Uid").split() == [str(base)] * 4
    assert subject.process.status("Gid").split() == [str(base)] * 4


def users_map_to_its_own_range(subject: Subject) -> None:
    wanted = ["0", *map(str, subject.test.attachments.host_ids)]
    assert subject.process.read("uid_map").split() == wanted


def groups_map_to_its_own_range(subject: Subject) -> None:
    wanted = ["0", *map(str, subject.test.attachments.host_ids)]
    assert subject.process.read("gid_map").split() == wanted


def container_has_no_other_groups(subject: Subject) -> None:
    assert subject.process.status("Groups") == ""


def container_is_filtered(subject: Subject) -> None:
    assert (subject.process.status("Seccomp"), subject.process.status("Seccomp_filters")) == ("2", "1")


def container_is_first_of_its_pids(subject: Subject) -> None:
    assert subject.process.status("NSpid").split()[-1] == "1"


def containers_root_is_its_own(subject: Subject) -> None:
    root = os.stat(f"/proc/{subject.process.pid}/root/.")  # noqa: PTH116
    assert (root.st_dev, root.st_ino) != (os.stat("/").st_dev, os.stat("/").st_ino)  # noqa: PTH116


def container_mounts_have_no_devices(subject: Subject) -> None:
    nodes = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}
    # the runtime binds the usual nodes one by one, and parts of /proc over themselves
    other = {*nodes, "/dev", "/dev/pts", *MASKED_PATHS, *READONLY_PATHS}
    mounts = subject.process.mounts()
    assert [place for place in mounts if "nodev" not in mounts[place] and place not in other] == []


def masked_paths_are_masked(subject: Subject) -> None:
    mounts = subject.process.mounts()
    for path in MASKED_PATHS:
        if Path(path).exists():
            assert path in mounts, path


def readonly_paths_are_read_only(subject: Subject) -> None:
    mounts = subject.process.mounts()
    for path in READONLY_PATHS:
        if Path(path).exists():
            assert "ro" in mounts[path], path


def system_files_are_read_only(subject: Subject) -> None:
    mounts = subject.process.mounts()
    assert "ro" in mounts["/sys"]
    rows = [line.split() for line in subject.process.read("mountinfo").splitlines()]
    groups = [row for row in rows if row[row.index("-") + 1] in ("cgroup", "cgroup2")]
    assert groups and all("ro" in row[5].split(",") for row in groups)


def container_sees_nothing_of_the_hosts_files(subject: Subject) -> None:
    rows = [line.split() for line in subject.process.read("mountinfo").splitlines()]
    binds = {row[4] for row in rows if row[row.index("-") + 1] in ("ext4", "xfs", "btrfs") and row[4] != "/"}
    assert binds == {"/dev/.yurt/agent"}


def containers_environment_is_not_the_hosts(subject: Subject) -> None:
    words = subject.process.read("environ").split("\0")
    assert {word.partition("=")[0] for word in words if word} <= {"PATH", "container", "HOME"}


def containers_command_line_holds_no_secret(subject: Subject) -> None:
    assert SECRET not in subject.process.read("cmdline") + subject.process.read("environ")


def container_leaves_no_core(subject: Subject) -> None:
    assert subject.process.limit("Max core file size") == ("0", "0")


def container_has_a_limit_of_files(subject: Subject) -> None:
    soft, hard = subject.process.limit("Max open files")
    assert int(soft) <= 1024 and int(hard) <= 1 << 20


def container_is_in_its_group(subject: Subject) -> None:
    group = Group(subject.test.facts.cgroups, f"yurt/{subject.test.run_dir.name}")
    assert subject.process.pid in group.processes()


def containers_memory_is_limited(subject: Subject) -> None:
    group = Group(subject.test.facts.cgroups, f"yurt/{subject.test.run_dir.name}")
    assert group.usage().memory_limit_bytes == parse_size("256M")


def containers_processes_are_limited(subject: Subject) -> None:
    group = Group(subject.test.facts.cgroups, f"yurt/{subject.test.run_dir.name}")
    directory = group.directories.get("pids") or group.directories[""]
    assert int((directory / "pids.max").read_text()) == 4096


def container_has_no_terminal(subject: Subject) -> None:
    assert int(subject.process.read("stat").rpartition(")")[2].split()[4]) == 0


def container_holds_no_file_of_the_host(subject: Subject) -> None:
    held = subject.process.descriptors().values()
    assert not [what for what in held if what.startswith("/") and not what.startswith(("/dev/", "/proc/"))]


def container_has_loopback_and_one_tap(subject: Subject) -> None:
    rows = [line.partition(":")[0].strip() for line in subject.process.read("net/dev").splitlines()[2:]]
    assert sorted(rows) == ["lo", "tap0"]


CONTAINER: tuple[Fact, ...] = (
    root_is_an_unprivileged_user_outside,
    users_map_to_its_own_range,
    groups_map_to_its_own_range,
    container_has_no_other_groups,
    container_is_filtered,
    container_is_first_of_its_pids,
    containers_root_is_its_own,
    container_mounts_have_no_devices,
    masked_paths_are_masked,
    readonly_paths_are_read_only,
    system_files_are_read_only,
    container_sees_nothing_of_the_hosts_files,
    containers_environment_is_not_the_hosts,
    containers_command_line_holds_no_secret,
    container_leaves_no_core,
    container_has_a_limit_of_files,
    container_is_in_its_group,
    containers_memory_is_limited,
    containers_processes_are_limited,
    container_has_no_terminal,
    container_holds_no_file_of_the_host,
    container_has_loopback_and_one_tap,
)
OF_CONTAINERS: dict[str, Fact] = {fact.__name__: fact for fact in CONTAINER}
OF_CONTAINERS |= {f"capabilities_in_{name}": capabilities_in(name) for name in ("CapPrm", "CapEff", "CapBnd")}
OF_CONTAINERS |= {f"no_capability_in_{name}": no_capabilities_in(name) for name in ("CapInh", "CapAmb")}
OF_CONTAINERS |= {f"own_{name}_namespace": container_namespace(name) for name in (*NAMESPACES, "user")}


@pytest.mark.parametrize("fact", OF_CONTAINERS)
@pytest.mark.needs("crun", "busybox")
def test_container(container: Subject, fact: str) -> None:
    OF_CONTAINERS[fact](container)
