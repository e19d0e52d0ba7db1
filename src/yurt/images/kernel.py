"""The kernel store: the distribution's kernels by version, and the initrds built for them.

A kernel comes from the distribution's signed package through apt. One directory per version, complete or
absent: `vmlinuz` (as shipped), `vmlinux` (unpacked, for PVH), `lib/modules/VERSION` with its dependency
table, and `initrd-FLAVOUR-KEY.cpio`, where the key stands for everything that went into it.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from yurt.errors import Exhausted, Unavailable, YurtError
from yurt.host import proc
from yurt.host.files import remove_tree, sync_directory, write_atomic
from yurt.host.layout import Layout
from yurt.host.space import check_space, full_disk_told
from yurt.images import cpio, modules, vmlinux
from yurt.images.locks import Locks
from yurt.model.operation import Progress

PACKAGES = {"cloud": "linux-image-cloud-amd64", "generic": "linux-image-amd64"}
NEEDED_BYTES = {"cloud": 400 << 20, "generic": 1 << 30}
_VERSION = re.compile(r"^[0-9][A-Za-z0-9.+~-]{0,63}$")
_DEPENDS = re.compile(r"^Depends:.*?\b(linux-image-([0-9][A-Za-z0-9.+~-]*))", re.MULTILINE)
_INITRD_FORM = b"1"  # goes up when the same modules and agent would be laid out differently


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of the store. `vmlinux` is what a microVM boots, `vmlinuz` what a boot loader loads."""

    version: str
    directory: Path

    @property
    def vmlinux(self) -> Path:
        return self.directory / "vmlinux"

    @property
    def vmlinuz(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def modules_dir(self) -> Path:
        """`lib/modules/VERSION`, with `modules.dep` in it."""
        return self.directory / "lib" / "modules" / self.version


class KernelStore:
    """Finds kernels, fetches what is missing, builds initrds. Safe to use from many tasks and processes at once."""

    def __init__(self, layout: Layout) -> None:
        self.root = layout.kernels
        self._locks = Locks(self.root / ".locks")
        self._initrds: dict[
            tuple[Path, Path, str], Path
        ] = {}  # a start need not read agent and modules again

    async def cloud(self, progress: Progress) -> Kernel:
        """Return the newest kept cloud kernel (for microVMs), fetched first when there is none."""
        return await self._obtain("cloud", progress)

    async def generic(self, progress: Progress) -> Kernel:
        """Return the newest kept generic kernel (for whole PCs), fetched first when there is none."""
        return await self._obtain("generic", progress)

    def kept(self, flavour: str) -> list[Kernel]:
        """List the store's kernels of one flavour, newest first."""
        found = [path for path in self.root.glob("[0-9]*") if (path / "vmlinux").is_file()]
        found = [path for path in found if path.name.endswith("-cloud-amd64") == (flavour == "cloud")]
        return [
            Kernel(path.name, path) for path in sorted(found, key=lambda p: _sort_key(p.name), reverse=True)
        ]

    async def initrd(self, kernel: Kernel, agent_binary: Path, flavour: str) -> Path:
        """Return the initrd for this kernel and agent: `/init` is the agent, `/yurt/modules` what it loads, in order.

        `flavour` is `micro` or `full`. Built once per content; the file is complete or absent.
        Raises Unsupported when the kernel lacks a driver.
        """
        key = (kernel.directory, agent_binary, flavour)
        known = self._initrds.get(key)
        if known is None or not known.exists():
            known = self._initrds[key] = await asyncio.to_thread(self._initrd, kernel, agent_binary, flavour)
        return known

    def _initrd(self, kernel: Kernel, agent_binary: Path, flavour: str) -> Path:
        agent = agent_binary.read_bytes()
        order = modules.load_order(
            modules.FLAVOURS[flavour],
            (kernel.modules_dir / "modules.dep").read_text(),
            (kernel.modules_dir / "modules.builtin").read_text(),
        )
        key = hashlib.sha256(
            b"\0".join([_INITRD_FORM, agent, *(path.encode() for path in order)])
        ).hexdigest()[:16]
        target = kernel.directory / f"initrd-{flavour}-{key}.cpio"
        if not target.exists():
            files = [(path, (kernel.modules_dir / path).read_bytes()) for path in order]
            write_atomic(target, build_initrd(agent, files), mode=0o644)
        return target

    async def _obtain(self, flavour: str, progress: Progress) -> Kernel:
        if kept := self.kept(flavour):
            return kept[0]
        self.root.mkdir(parents=True, exist_ok=True)
        async with self._locks.held(flavour):
            if kept := self.kept(flavour):
                return kept[0]
            check_space(self.root, {f"the {flavour} kernel": NEEDED_BYTES[flavour]})
            work = self.root / f".{flavour}.fetch"
            await asyncio.to_thread(remove_tree, work)
            work.mkdir(mode=0o700)
            try:
                with full_disk_told(self.root, "fetching the guest kernel"):
                    progress("finding the guest kernel", None)
                    package = await _download(flavour, work, progress)
                    return await self._unpack(package, work, progress)
            finally:
                await asyncio.to_thread(remove_tree, work)

    async def _unpack(self, package: Path, work: Path, progress: Progress) -> Kernel:
        progress("unpacking the guest kernel", None)
        tree = work / "tree"
        await proc.run(["dpkg-deb", "--extract", str(package), str(tree)], timeout_s=300)
        (image,) = (tree / "boot").glob("vmlinuz-*")
        version = image.name.removeprefix("vmlinuz-")
        if not _VERSION.fullmatch(version):
            raise Unavailable(f"the kernel package holds a kernel with a strange name: {image.name!r}")
        done = work / "done"
        (done / "lib").mkdir(parents=True, mode=0o755)
        image.rename(done / "vmlinuz")
        source = tree / "usr" / "lib" if (tree / "usr" / "lib" / "modules").is_dir() else tree / "lib"
        (source / "modules").rename(done / "lib" / "modules")
        await proc.run(["depmod", "--basedir", str(done), version], timeout_s=300)
        await _unpack_vmlinux(done / "vmlinuz", done / "vmlinux", work)
        # written through before it becomes visible: one call for the whole file system the tree lies on
        await proc.run(["sync", "--file-system", str(done)], timeout_s=600)
        target = self.root / version
        await asyncio.to_thread(remove_tree, target)
        done.chmod(0o755)
        done.rename(target)
        sync_directory(self.root)
        return Kernel(version, target)


def build_initrd(agent: bytes, files: list[tuple[str, bytes]]) -> bytes:
    """Lay out an initrd: the agent as `/init`, modules in `/yurt/ko/`, their load order in `/yurt/modules`. Pure."""
    names = [f"ko/{path.rsplit('/', 1)[-1]}" for path, _ in files]
    members = [
        *(cpio.directory(name) for name in ("dev", "proc", "sys", "run", "root")),
        cpio.character_device("dev/console", 5, 1),
        cpio.character_device("dev/null", 1, 3, 0o666),
        cpio.regular("init", agent, 0o755),
        cpio.regular("yurt/modules", "".join(f"{name}\n" for name in names).encode()),
        *(cpio.regular(f"yurt/{name}", data) for name, (_, data) in zip(names, files, strict=True)),
    ]
    return cpio.archive(members)


def write_instance_initrd(base: Path, config: bytes, target: Path) -> None:
    """Write `base` with the instance's own config archive behind it, mode 0600; `target` is complete or absent.

    The shared part is cloned where the file system can, else copied inside the kernel. `target` lies in a run
    directory, so it need not survive a power cut.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    with base.open("rb") as source, temporary.open("xb") as out:
        os.fchmod(out.fileno(), 0o600)
        size = os.fstat(source.fileno()).st_size
        clone_or_copy(source.fileno(), out.fileno(), size)
        out.seek(size)
        out.write(bytes(-size % cpio.ALIGNMENT) + cpio.config_cpio(config))
    temporary.rename(target)


def clone_or_copy(source: int, target: int, size: int) -> None:
    """Fill `target` with the first `size` bytes of `source`: by reflink, else by a copy inside the kernel."""
    ficlone = 0x40049409
    with contextlib.suppress(OSError):
        fcntl.ioctl(target, ficlone, source)
        return
    done = 0
    while done < size:
        try:
            count = os.copy_file_range(source, target, size - done, done, done)
        except OSError:  # not between these two file systems
            os.lseek(target, done, os.SEEK_SET)
            count = os.sendfile(target, source, done, size - done)
        if count == 0:
            raise Exhausted("a file shrank while it was copied")
        done += count


async def _unpack_vmlinux(image: Path, target: Path, work: Path) -> None:
    name, payload = vmlinux.find_payload(await asyncio.to_thread(image.read_bytes))
    if program := vmlinux.unpack_program(name):
        packed = work / "payload"
        await asyncio.to_thread(packed.write_bytes, payload)
        names = [str(packed), str(target)] if name == "lz4" else [str(target), str(packed)]
        await proc.run([*program, *names], timeout_s=120)
        packed.unlink()
    else:
        await asyncio.to_thread(lambda: target.write_bytes(vmlinux.unpack(name, payload)))
    if not vmlinux.has_pvh_entry(await asyncio.to_thread(target.read_bytes)):
        raise Unavailable(
            "the distribution's kernel has no PVH entry", hint="a kernel built with CONFIG_PVH is needed"
        )


async def _download(flavour: str, work: Path, progress: Progress) -> Path:
    """Fetch the kernel package with the host's package lists, or with fresh lists of our own where those fail."""
    try:
        return await _apt_download(flavour, work, (), progress)
    except YurtError:
        progress("fetching package lists for the guest kernel", None)
    lists = work / "lists"
    (lists / "partial").mkdir(parents=True)
    own = (
        *("-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache::pkgcache={work}/pkgcache.bin"),
        *("-o", f"Dir::Cache::srcpkgcache={work}/srcpkgcache.bin"),
    )
    hint = "check the network and the sources in /etc/apt, then try again"
    try:
        await proc.run(["apt-get", *own, "-qq", "update"], timeout_s=600)
        return await _apt_download(flavour, work, own, progress)
    except YurtError as error:
        raise Unavailable(f"the guest kernel could not be fetched: {error.message}", hint=hint) from error


async def _apt_download(flavour: str, work: Path, options: tuple[str, ...], progress: Progress) -> Path:
    shown = await proc.run(
        ["apt-cache", *options, "--no-all-versions", "show", PACKAGES[flavour]], timeout_s=120
    )
    found = _DEPENDS.search(shown.stdout.decode(errors="replace"))
    if not found:
        raise Unavailable(f"package `{PACKAGES[flavour]}` names no kernel")
    progress(f"downloading the guest kernel {found[2]}", None)
    await proc.run(["apt-get", *options, "-qq", "download", found[1]], timeout_s=1800, cwd=work)
    packages = list(work.glob("linux-image-*.deb"))
    if len(packages) != 1:
        raise Unavailable(f"downloading `{found[1]}` left no package")
    return packages[0]


def _sort_key(version: str) -> tuple[tuple[int, str], ...]:
    return tuple(
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"[^0-9A-Za-z]+", version)
    )
