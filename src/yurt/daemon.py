"""yurtd: puts the parts together and serves the API. The composition root: it may import everything.

One daemon per layout, held by a lock file. It may end at any instruction: guests run on, and the next daemon
adopts them. `--ready-fd N` gets `ready` when the socket listens, or the JSON of the error that prevents it.
"""

import argparse
import asyncio
import contextlib
import getpass
import json
import logging
import os
import signal
import sys
from pathlib import Path

from yurt.api.server import ApiServer
from yurt.drivers.base import Driver
from yurt.drivers.container.crun import CrunDriver
from yurt.drivers.qemu.accel import probe
from yurt.drivers.qemu.full import FullDriver
from yurt.drivers.qemu.micro import MicroDriver
from yurt.engine.core import Core
from yurt.engine.engine import Engine
from yurt.engine.events import EventBus
from yurt.engine.reclaim import Reclaimer
from yurt.engine.reconcile import reconcile
from yurt.engine.records import Records
from yurt.errors import Unavailable, YurtError, to_document
from yurt.host.facts import find_facts
from yurt.host.files import lock_file
from yurt.host.layout import Layout, default_layout
from yurt.host.rootless import enter as enter_own_namespace
from yurt.host.settings import read_settings
from yurt.images.kernel import KernelStore
from yurt.images.store import ImageStore
from yurt.model.host import Accelerator, HostFacts
from yurt.model.instance import Kind
from yurt.state.sqlite import SqliteStore

log = logging.getLogger("yurt.daemon")
LOG_LIMIT = 4 << 20


def make_directories(layout: Layout) -> None:
    """Make the directories that must exist; instances' uids may pass through, not look around."""
    for path in (layout.state, layout.run, layout.instances_state, layout.instances_run):
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o711)
    if layout.forms.is_dir():
        layout.forms.chmod(
            0o700
        )  # images bring set-user-id programs; earlier versions let users of the host pass


def make_drivers(facts: HostFacts) -> dict[Kind, Driver]:
    """The driver of each kind on this host."""
    return {
        Kind.VM: FullDriver(facts),
        Kind.MICROVM: MicroDriver(facts),
        Kind.CONTAINER: CrunDriver(facts),
    }


async def make_engine(layout: Layout) -> tuple[Engine, SqliteStore]:
    """Open the state and bring records and guests together."""
    facts = await find_facts(layout)
    store = await SqliteStore.open(layout.database)
    records = Records(store)
    await records.load()

    async def verdict() -> Accelerator:
        qemu = facts.tools.get("qemu-system-x86_64", "")
        if not qemu:
            return Accelerator(name="tcg", reason="QEMU is not installed", probed=False)
        return await probe(qemu, layout.accel_verdict, facts.boot_id)

    core = Core(
        layout=layout,
        facts=facts,
        records=records,
        bus=EventBus(),
        drivers=make_drivers(facts),
        images=ImageStore(layout),
        kernels=KernelStore(layout),
        probe=verdict,
        settings=read_settings(layout.settings),
    )
    engine = Engine(core)
    await reconcile(core)
    engine.keeper.begin()
    return engine, store


def tell(ready_fd: int | None, message: bytes) -> None:
    """Answer whoever started us, once."""
    if ready_fd is not None:
        with contextlib.suppress(OSError):
            os.write(ready_fd, message)
            os.close(ready_fd)


async def serve(layout: Layout, ready_fd: int | None) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    engine, store = await make_engine(layout)
    server, reclaimer = ApiServer(engine, layout.socket), Reclaimer(engine.core)
    try:
        reclaimer.begin()
        await server.start()
        log.info("yurtd listens on %s", layout.socket)
        tell(ready_fd, b"ready")
        await stop.wait()
        log.info("yurtd stops; guests run on")
    finally:
        engine.core.bus.close()
        async with contextlib.AsyncExitStack() as ending:  # each part ends even where another fails to
            ending.push_async_callback(store.close)
            ending.push_async_callback(engine.core.close)
            ending.push_async_callback(engine.keeper.close)
            ending.push_async_callback(reclaimer.close)
            ending.push_async_callback(server.stop)


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon until it is told to stop. Returns the exit status; Unavailable's when another one serves already."""
    parser = argparse.ArgumentParser(prog="yurtd", description="the yurt daemon")
    parser.add_argument("--foreground", action="store_true", help="log to standard error")
    parser.add_argument("--debug", action="store_true", help="log every command that is run")
    parser.add_argument("--ready-fd", type=int, help="answer on this descriptor once the socket listens")
    options = parser.parse_args(arguments)
    enter_own_namespace([sys.executable, *sys.orig_argv[1:]], getpass.getuser())
    layout = default_layout()
    os.umask(0o022)
    make_directories(layout)
    lock = lock_file(layout.daemon_lock)
    if lock is None:
        print("yurtd: another yurtd serves this directory already", file=sys.stderr)
        return Unavailable.exit
    _set_up_log(
        layout, foreground=options.foreground, debug=options.debug or bool(os.environ.get("YURT_DEBUG"))
    )
    asyncio.set_event_loop_policy(_policy())
    try:
        asyncio.run(serve(layout, options.ready_fd))
    except YurtError as error:
        log.error("yurtd cannot run: %s%s", error.message, f" ({error.hint})" if error.hint else "")
        tell(options.ready_fd, json.dumps(to_document(error)).encode())
        return error.exit
    finally:
        os.close(lock)
    return 0


def _policy() -> asyncio.DefaultEventLoopPolicy:
    # children are awaited by pidfd: no thread per child, and no SIGCHLD handler
    policy = asyncio.DefaultEventLoopPolicy()
    policy.set_child_watcher(asyncio.PidfdChildWatcher())
    return policy


def _set_up_log(layout: Layout, *, foreground: bool, debug: bool) -> None:
    handler: logging.Handler
    if foreground:
        handler = logging.StreamHandler(sys.stderr)
    else:
        _trim(layout.daemon_log)
        handler = logging.FileHandler(layout.daemon_log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("yurt").setLevel(logging.DEBUG if debug else logging.INFO)
    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


def _trim(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_name(path.name + ".1"))


if __name__ == "__main__":
    sys.exit(main())
