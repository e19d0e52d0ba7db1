"""The image store: named images, and the forms that the three kinds need of them.

Images live in an OCI image layout (blobs.py). Forms are caches keyed by the digest of an image's manifest:
`rootfs/` for containers, `root.ext4` for microVMs, `disk-KEY.qcow2` for whole PCs. Each is made aside, written
through and renamed, under a lock of its image, so it is complete or absent however a build ends. What a killed
build left is taken away by the next one, or by `prune`.

Locks are always taken in this order: recipe, form, store.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Collection
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

import msgspec

from yurt.errors import Invalid, NotFound, YurtError
from yurt.host import proc
from yurt.host.data import data_path
from yurt.host.files import publish, remove_tree, sync_directory
from yurt.host.layout import Layout
from yurt.host.space import check_space, full_disk_told
from yurt.images import blobs, config, forms, prune, recipes, unpack
from yurt.images.forms import DEFAULT_DISK_BYTES
from yurt.images.kernel import Kernel, KernelStore
from yurt.images.locks import Locks
from yurt.images.outside import spool
from yurt.images.recipes import Recipe
from yurt.model.image import Image
from yurt.model.names import parse_name, parse_reference
from yurt.model.operation import Progress
from yurt.units import parse_size

log = logging.getLogger("yurt.images")
ROOTFS, ROOT_DISK, BOOT_DISK = "rootfs", "root", "disk"
STORE_LOCK = "store"
BUILD_PREFIX = ".build-"
WORK = ".work"


# inside the class, `list` and `prune` are methods
Images: TypeAlias = list[Image]
Names: TypeAlias = list[str]
Report: TypeAlias = prune.PruneReport


class ImageStore:
    """All images of one yurt. Safe to use from many tasks and from several processes at once."""

    def __init__(self, layout: Layout, *, recipes_folder: Path | None = None) -> None:
        self.blobs = blobs.BlobStore(layout.images)
        self.forms = layout.forms
        self._recipes = recipes_folder
        self._locks = Locks(layout.forms / ".locks")

    def recipes(self) -> Names:
        """The names of the recipes that ship."""
        return recipes.recipe_names(self._recipes_folder())

    def _recipes_folder(self) -> Path:
        return self._recipes or data_path("recipes")

    async def list(self) -> Images:
        """All named images that can be read, by name; `get` says what is wrong with the others."""
        return await asyncio.to_thread(self._list)

    def _list(self) -> Images:
        found = []
        for name, named in sorted(self.blobs.tagged().items()):
            try:
                found.append(config.describe(self.blobs, name, named))
            except YurtError as error:
                log.warning("image %s cannot be read: %s", name, error)
        return found

    async def get(self, reference: str) -> Image:
        """Return one image by name. Raises NotFound, with a hint that names the way to get it."""
        name = parse_reference(reference)
        found = await asyncio.to_thread(self.blobs.tagged)
        if name not in found:
            raise NotFound(kind="image", name=reference, hint=self._hint(name, sorted(found)))
        return await asyncio.to_thread(config.describe, self.blobs, name, found[name])

    def _hint(self, name: str, known: Names) -> str:
        short = name.removesuffix(":latest")
        if short in self.recipes():
            return f"build it with `yurt image build {short}`"
        similar = get_close_matches(
            short, [*self.recipes(), *(each.removesuffix(":latest") for each in known)], n=3
        )
        if similar:
            return "did you mean " + " or ".join(f"`{each}`" for each in dict.fromkeys(similar))
        return "see `yurt image ls`, or build one with `yurt image build tiny`"

    async def build(self, recipe: str, progress: Progress) -> Image:
        """Build an image from a recipe and name it after it; an image that had the name before loses it.

        One build of a recipe at a time; a second caller waits and then builds again. Raises NotFound, Denied,
        Exhausted, ToolFailed; nothing of a failed build is visible.
        """
        folder = self._recipes_folder()
        name = parse_name(recipe)
        wanted = await asyncio.to_thread(recipes.read_recipe, folder, name)
        await self._prepare()
        check_space(self.forms, {f"building `{recipe}`": parse_size(wanted.needed)})
        async with self._locks.held(f"recipe-{recipe}"):
            work = self.forms / f"{BUILD_PREFIX}{recipe}"
            await asyncio.to_thread(_fresh, work)
            try:
                with full_disk_told(self.forms, f"building `{recipe}`"):
                    tree = work / ROOTFS
                    await recipes.build_tree(wanted, folder / name / "files", tree, work, progress)
                    progress("packing the image", recipes.TREE_SHARE)
                    layer, diff_id = await unpack.pack(tree, work)
                    await _write_through(tree)
                    return await self._publish(recipe, wanted, tree, layer, diff_id)
            finally:
                await asyncio.to_thread(remove_tree, work)

    async def _publish(self, name: str, recipe: Recipe, tree: Path, layer: Path, diff_id: str) -> Image:
        document = config.document(name, recipe, diff_id, time.time())
        packed = await asyncio.to_thread(blobs.hash_file, layer)
        async with self._locks.held(STORE_LOCK):
            notes = {config.RECIPE: name}
            return await asyncio.to_thread(self._publish_held, name, document, tree, layer, packed, notes)

    async def adopt(self, reference: str, document: bytes, tree: Path, layer: Path) -> Image:
        """Make a tree and the layer packed of it an image of this name. Both lie below `forms` and move away from there."""
        await _write_through(tree)
        packed = await asyncio.to_thread(blobs.hash_file, layer)
        await self._prepare()
        async with self._locks.held(STORE_LOCK):
            return await asyncio.to_thread(self._publish_held, reference, document, tree, layer, packed, {})

    def _publish_held(
        self, name: str, document: bytes, tree: Path, layer: Path, packed: str, notes: dict[str, str]
    ) -> Image:
        reference = parse_reference(name)
        layers = (self.blobs.take(layer, packed, blobs.LAYER + "+zstd"),)
        settings = self.blobs.add(document, blobs.CONFIG)
        manifest = blobs.Manifest(config=settings, layers=layers, annotations=notes)
        named = self.blobs.add(msgspec.json.encode(manifest), blobs.MANIFEST)
        form = self._form_folder(named.digest) / ROOTFS
        if not form.exists():
            form.parent.mkdir(mode=0o711, exist_ok=True)
            tree.rename(form)
            sync_directory(form.parent)
            sync_directory(self.forms)
        self.blobs.tag(reference, named)
        return config.describe(self.blobs, reference, named)

    async def delete(self, reference: str) -> None:
        """Take an image's name away; its data goes with the next `prune` that finds nobody using it."""
        name = parse_reference(reference)
        async with self._locks.held(STORE_LOCK):
            found = await asyncio.to_thread(self.blobs.tagged)
            if name not in found:
                raise NotFound(kind="image", name=reference, hint=self._hint(name, sorted(found)))
            await asyncio.to_thread(self.blobs.untag, name)

    async def prune(self, *, dry_run: bool, used: Collection[str] = ()) -> prune.PruneReport:
        """Remove blobs and forms that no name and no path in `used` stands for, and what killed builds left.

        `used` holds paths of forms that instances lie over; an image with one used form is kept whole.
        What is being built right now is left alone.
        """
        await self._prepare()
        found = prune.Findings(self.blobs, self.forms, used)
        async with self._locks.held(STORE_LOCK), contextlib.AsyncExitStack() as stack:
            busy = []
            for folder in await asyncio.to_thread(found.form_folders):
                if not await stack.enter_async_context(self._locks.tried(prune.form_lock(folder.name))):
                    busy.append(folder.name)
            unneeded = await asyncio.to_thread(found.unneeded, busy)
            report = await asyncio.to_thread(prune.remove_all, unneeded, dry_run=dry_run)
        for lock, leftovers in await asyncio.to_thread(found.leftovers, BUILD_PREFIX, WORK):
            async with self._locks.tried(lock) as ours:
                if ours:
                    report += await asyncio.to_thread(prune.remove_all, leftovers, dry_run=dry_run)
        return report + await asyncio.to_thread(self._prune_uploads, dry_run=dry_run)

    def _prune_uploads(self, *, dry_run: bool) -> Report:
        """Remove what a killed daemon left of uploads."""
        return prune.remove_all(spool.abandoned(self.forms), dry_run=dry_run)

    async def new_spool(self) -> spool.Spool:
        """Room for an upload, on the file system of the forms. What killed daemons left goes first."""
        await self._prepare()
        await asyncio.to_thread(self._prune_uploads, dry_run=False)
        return await asyncio.to_thread(spool.Spool.new, self.forms)

    async def rootfs_dir(self, image: Image, progress: Progress) -> Path:
        """Return the image's directory tree, to be read only; unpacked from its layers when it is missing."""
        target = self._form_folder(image.digest) / ROOTFS
        if target.is_dir():
            return target
        async with self._form_lock(image):
            return await self._rootfs_held(image, progress)

    async def _rootfs_held(self, image: Image, progress: Progress) -> Path:
        target = self._form_folder(image.digest) / ROOTFS
        if target.is_dir():
            return target
        progress(f"unpacking image `{image.reference}`", None)
        manifest = await asyncio.to_thread(self.blobs.manifest, image.digest)
        diff_ids = await asyncio.to_thread(config.diff_ids, self.blobs, manifest)
        check_space(
            self.forms, {f"unpacking `{image.reference}`": 8 * sum(layer.size for layer in manifest.layers)}
        )
        async with self._work(image) as work:
            tree = work / ROOTFS
            tree.mkdir(mode=0o755)
            for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
                await asyncio.to_thread(self.blobs.verify, layer)
                await unpack.unpack_layer(self.blobs.path(layer.digest), layer, diff_id, tree)
            await _write_through(tree)
            await asyncio.to_thread(publish, tree, target)
        return target

    async def root_disk(
        self, image: Image, progress: Progress, *, size_bytes: int = DEFAULT_DISK_BYTES
    ) -> Path:
        """Return the image as a raw ext4 file system of `size_bytes` (virtual; it takes what the files take)."""
        target = self._form_folder(image.digest) / _sized(ROOT_DISK, size_bytes, "ext4")
        if target.is_file():
            return target
        async with self._form_lock(image):
            if not target.is_file():
                tree = await self._rootfs_held(image, progress)
                progress("making the microVM's disk", None)
                check_space(
                    self.forms, {"the microVM's disk": await asyncio.to_thread(prune.used_bytes, tree)}
                )
                async with self._work(image) as work:
                    built = work / target.name
                    await forms.make_root_disk(image.digest, tree, built, size_bytes)
                    await asyncio.to_thread(_put, built, target)
        return target

    async def boot_disk(
        self,
        image: Image,
        kernel: Kernel,
        kernels: KernelStore,
        agent: Path,
        boot_config: bytes,
        progress: Progress,
        *,
        size_bytes: int = DEFAULT_DISK_BYTES,
    ) -> Path:
        """Return the image as a qcow2 disk that a PC's firmware boots, with this kernel and the agent as a service.

        `boot_config` is what the initrd on it is told. Raises Invalid when the image has no init.
        """
        if not image.config.init:
            raise Invalid(f"image `{image.reference}` has no init, so it cannot boot as a vm")
        initrd = await kernels.initrd(kernel, agent, "full")
        parts = forms.BootParts(kernel=kernel, initrd=initrd, agent=agent, config=boot_config)
        key = await asyncio.to_thread(_boot_key, parts)
        target = self._form_folder(image.digest) / _sized(f"{BOOT_DISK}-{key}", size_bytes, "qcow2")
        async with self._form_lock(image):
            if target.is_file():
                os.utime(target)  # asked for last: `prune` keeps this one
            else:
                tree = await self._rootfs_held(image, progress)
                need = 3 * (await asyncio.to_thread(prune.used_bytes, tree) + (256 << 20))
                check_space(self.forms, {"the bootable disk": need})
                async with self._work(image) as work:
                    built = work / target.name
                    await forms.make_boot_disk(image.digest, tree, parts, work, built, size_bytes, progress)
                    await asyncio.to_thread(_put, built, target)
        return target

    def _form_folder(self, digest: str) -> Path:
        return self.forms / blobs.digest_hex(digest)

    def _form_lock(self, image: Image) -> contextlib.AbstractAsyncContextManager[None]:
        return self._locks.held(prune.form_lock(blobs.digest_hex(image.digest)))

    @contextlib.asynccontextmanager
    async def _work(self, image: Image) -> AsyncIterator[Path]:
        """An empty scratch directory beside the forms of one image, for whoever holds its lock."""
        work = self._form_folder(image.digest) / WORK
        await asyncio.to_thread(_fresh, work)
        try:
            with full_disk_told(self.forms, f"making a form of `{image.reference}`"):
                yield work
        finally:
            await asyncio.to_thread(remove_tree, work)

    async def _prepare(self) -> None:
        self.forms.mkdir(parents=True, mode=0o700, exist_ok=True)
        # images bring set-user-id programs of their own: no user of this host may reach them. Guests get descriptors
        # and mounts, so they need no way through here
        self.forms.chmod(0o700)
        async with self._locks.held(
            STORE_LOCK
        ):  # else an empty index could replace one that was just written
            await asyncio.to_thread(self.blobs.prepare)


def _fresh(work: Path) -> None:
    remove_tree(work)
    work.parent.mkdir(parents=True, mode=0o711, exist_ok=True)
    work.mkdir(mode=0o700)


def _sized(name: str, size_bytes: int, suffix: str) -> str:
    """The file name of a disk form; only a size other than the default shows in it."""
    return f"{name}.{suffix}" if size_bytes == DEFAULT_DISK_BYTES else f"{name}-{size_bytes}.{suffix}"


def _put(built: Path, target: Path) -> None:
    built.chmod(0o644)
    publish(built, target)


def _boot_key(parts: forms.BootParts) -> str:
    """Changes whenever a boot disk made of these parts would be another one."""
    hasher = hashlib.sha256(b"1\0" + parts.kernel.version.encode() + b"\0")
    hasher.update(hashlib.sha256(parts.agent.read_bytes()).digest() + hashlib.sha256(parts.config).digest())
    hasher.update(" ".join(forms.KERNEL_WORDS).encode() + parts.initrd.name.encode())
    return hasher.hexdigest()[:16]


async def _write_through(tree: Path) -> None:
    """Make a tree durable with one call for its whole file system, instead of one for each of its files."""
    await proc.run(["sync", "--file-system", str(tree)], timeout_s=1800)
