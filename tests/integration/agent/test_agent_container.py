"""The agent as PID 1 of a bare container: the console beside an init of its own, and the command as the main process."""

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from yurt.drivers.agent.client import AgentClient
from yurt.drivers.agent.config import BootConfig, encode_config
from yurt.model.process import ExecRequest

pytestmark = [pytest.mark.root, pytest.mark.needs("unshare", "/usr/bin/busybox")]
DEADLINE_S = 60
UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--net", "bash", "-c"]
APPLETS = "sh cat ls hostname ps echo sleep true tty id init mount seq"
ENTER = """
set -e
mount -t tmpfs dev "$1/dev"
mkdir "$1/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 pts "$1/dev/pts"
ln -s pts/ptmx "$1/dev/ptmx"
mknod "$1/dev/null" c 1 3
mount -t proc proc "$1/proc"
exec chroot "$1" /agent --container
"""
Test = Callable[[AgentClient, "subprocess.Popen[bytes]"], Awaitable[None]]


@pytest.fixture
def root(place: Path, agent_program: Path) -> Iterator[Path]:
    root = place / "root"
    for name in ("bin", "sbin", "etc", "dev", "proc", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", root / "bin" / "busybox")
    shutil.copy(agent_program, root / "agent")
    for applet in APPLETS.split():
        (root / "bin" / applet).symlink_to("busybox")
    (root / "sbin" / "init").symlink_to("../bin/busybox")
    (root / "etc" / "inittab").write_text("::sysinit:/bin/echo sysinit ran\nconsole::respawn:-/bin/sh\n")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\nann:x:1000:1000::/tmp:/bin/sh\n")
    (root / "etc" / "machine-id").touch()
    (root / "etc" / "resolv.conf").symlink_to("/etc/passwd")
    yield root


def in_container(root: Path, config: BootConfig, test: Test) -> None:
    path = root.parent / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(4)
        inner, outer = os.pipe()
        os.write(outer, encode_config(config))
        os.close(outer)
        script = f"exec 3<&{listener.fileno()} 4<&{inner}\n{ENTER}"
        process = subprocess.Popen(
            [*UNSHARE, script, "sh", str(root)],
            pass_fds=[listener.fileno(), inner],
            stdin=subprocess.DEVNULL,
        )
        os.close(inner)

    async def main() -> None:
        async with asyncio.timeout(DEADLINE_S):
            client = await AgentClient.connect(path)
            try:
                await client.wait_ready()
                await test(client, process)
            finally:
                await client.close()

    try:
        asyncio.run(main())
    finally:
        process.kill()
        process.wait()


async def output_of(client: AgentClient, *argv: str, user: str = "") -> str:
    session = await client.exec(ExecRequest(argv=argv, user=user))
    text = b""
    while (item := await session.read()) is not None:
        text += item[1]
    assert await session.wait() == 0, text
    await session.close()
    return text.decode()


def test_beside_an_init(root: Path) -> None:
    config = BootConfig(
        mode="container", hostname="box", init="/sbin/init", dns="10.0.2.3", machine_id="0123456789abcdef" * 2
    )

    async def test(client: AgentClient, process: "subprocess.Popen[bytes]") -> None:
        info = await client.wait_ready()
        assert (info.mode, info.has_console, info.has_main) == ("container", True, False)
        assert (await output_of(client, "hostname")).strip() == "box"
        assert (await output_of(client, "id", "-u", user="ann")).strip() == "1000"
        assert "@yurt-" in await output_of(client, "ps")
        console = await client.console()
        seen = b""
        await console.write(b"echo $((6*7))\n")
        while b"\n42\r\n" not in seen.replace(b"\r\r", b"\r"):
            part = await console.read()
            assert part, seen
            seen += part
        assert b"sysinit ran" in seen
        await console.close()
        again = await client.console()  # the scrollback is still there
        assert b"sysinit ran" in await again.read()
        await again.close()
        await client.shutdown("poweroff")
        await asyncio.to_thread(process.wait)

    in_container(root, config, test)
    assert (root / "etc" / "hostname").read_text() == "box\n"
    assert (root / "etc" / "hosts").read_text() == "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\tbox\n"
    assert (root / "etc" / "machine-id").read_text() == "0123456789abcdef" * 2 + "\n"
    assert not (root / "etc" / "resolv.conf").is_symlink()
    assert (root / "etc" / "resolv.conf").read_text() == "nameserver 10.0.2.3\n"
    assert (root / "etc" / "passwd").read_text().startswith("root:")
    assert not list((root / "etc").glob(".yurt*"))


@pytest.mark.parametrize("tty", [False, True])
def test_the_command_as_main_process(root: Path, tty: bool) -> None:
    command = ("sh", "-c", "echo up; read x; echo got $x; sleep 1000 & exit 9")
    config = BootConfig(mode="container", hostname="box", command=command, tty=tty, stdin=True)

    async def test(client: AgentClient, process: "subprocess.Popen[bytes]") -> None:
        session = await client.attach_main()
        await session.write(b"word\n")
        text = b""
        while (item := await session.read()) is not None:
            text += item[1]
        assert b"up" in text
        assert b"got word" in text
        assert await session.wait() == 9
        await session.close()
        assert await asyncio.to_thread(process.wait) == 9  # though the orphan still slept

    in_container(root, config, test)


def test_shutdown_ends_a_main_process_and_all_others(root: Path) -> None:
    command = "trap 'exit 3' TERM; echo up; while :; do sleep 1 & wait; done"
    config = BootConfig(mode="container", hostname="box", command=("sh", "-c", command))

    async def test(client: AgentClient, process: "subprocess.Popen[bytes]") -> None:
        session = await client.attach_main()
        assert await session.read() == (1, b"up\n")
        await client.shutdown("poweroff")
        assert await session.wait() == 3
        assert await asyncio.to_thread(process.wait) == 3

    in_container(root, config, test)


def test_an_init_that_is_not_there_ends_the_container(root: Path) -> None:
    (root / "sbin" / "init").unlink()
    path = root.parent / "config"
    path.write_bytes(encode_config(BootConfig(mode="container", hostname="box", init="/sbin/init")))
    with socket.socket(socket.AF_UNIX) as listener, path.open("rb") as config:
        listener.bind(str(root.parent / "agent.sock"))
        listener.listen(1)
        script = f"exec 3<&{listener.fileno()} 4<&{config.fileno()}\n{ENTER}"
        done = subprocess.run(
            [*UNSHARE, script, "sh", str(root)],
            pass_fds=[listener.fileno(), config.fileno()],
            stdin=subprocess.DEVNULL,
            timeout=DEADLINE_S,
            check=False,
        )
    assert done.returncode == 127
