"""An image's config: the OCI document we write, and what of any OCI config decides how a guest starts.

Source: OCI image format specification, "Image Configuration". Our own labels: `io.yurt.init` is the path of the
image's init, `io.yurt.systemd` says `true` when that is systemd. The manifest's annotation `io.yurt.recipe` names
the recipe an image was built from.
"""

from datetime import UTC, datetime

import msgspec

from yurt.errors import Internal
from yurt.images.blobs import BlobStore, Descriptor, Manifest
from yurt.images.recipes import Recipe
from yurt.model.image import Image, ImageConfig

INIT_LABEL, SYSTEMD_LABEL, RECIPE = "io.yurt.init", "io.yurt.systemd", "io.yurt.recipe"


class Execution(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """The `config` part: what to run and how. Unknown fields are ignored, null counts as empty."""

    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    working_dir: str | None = None
    user: str | None = None
    labels: dict[str, str] | None = None


class RootFs(msgspec.Struct, frozen=True, kw_only=True):
    """The digests of the unpacked layers, lowest first."""

    type: str = "layers"
    diff_ids: tuple[str, ...] = ()


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A whole config document."""

    architecture: str
    os: str
    created: str = ""
    config: Execution | None = None
    rootfs: RootFs


def document(name: str, recipe: Recipe, diff_id: str, moment: float) -> bytes:
    """The config document of an image built from a recipe at `moment` (epoch seconds)."""
    labels = {
        "org.opencontainers.image.title": name,
        "org.opencontainers.image.description": recipe.description,
        **({INIT_LABEL: recipe.init} if recipe.init else {}),
        **({SYSTEMD_LABEL: "true"} if recipe.systemd else {}),
    }
    execution = Execution(env=recipe.environment, cmd=recipe.command, working_dir="/", labels=labels)
    created = datetime.fromtimestamp(int(moment), UTC).isoformat().replace("+00:00", "Z")
    whole = Document(
        architecture="amd64",
        os="linux",
        created=created,
        config=execution,
        rootfs=RootFs(diff_ids=(diff_id,)),
    )
    return msgspec.json.encode(whole)


def imported_document(
    *, execution: Execution, init: str, systemd: bool, diff_id: str, moment: float
) -> bytes:
    """The config document of an image made from an archive. Of the archive's labels none is kept: ours decide things."""
    labels = {**({INIT_LABEL: init} if init else {}), **({SYSTEMD_LABEL: "true"} if systemd else {})}
    created = datetime.fromtimestamp(int(moment), UTC).isoformat().replace("+00:00", "Z")
    whole = Document(
        architecture="amd64",
        os="linux",
        created=created,
        config=msgspec.structs.replace(execution, labels=labels),
        rootfs=RootFs(diff_ids=(diff_id,)),
    )
    return msgspec.json.encode(whole)


def describe(store: BlobStore, reference: str, named: Descriptor) -> Image:
    """Read what the store knows about one named manifest. Blocking. Raises NotFound and Internal."""
    manifest = store.manifest(named.digest)
    found = _read(store, manifest)
    execution = found.config or Execution()
    labels = execution.labels or {}
    return Image(
        reference=reference,
        digest=named.digest,
        size_bytes=named.size + manifest.config.size + sum(layer.size for layer in manifest.layers),
        created_at=_moment(found.created),
        recipe=manifest.annotations.get(RECIPE, ""),
        config=ImageConfig(
            env=execution.env or (),
            entrypoint=execution.entrypoint or (),
            cmd=execution.cmd or (),
            workdir=execution.working_dir or "/",
            user=execution.user or "",
            init=labels.get(INIT_LABEL, ""),
            systemd=labels.get(SYSTEMD_LABEL) == "true",
            architecture=found.architecture,
        ),
    )


def diff_ids(store: BlobStore, manifest: Manifest) -> tuple[str, ...]:
    """The digests that this image's layers must unpack to, one per layer. Raises Internal when they do not match."""
    found = _read(store, manifest).rootfs.diff_ids
    if len(found) != len(manifest.layers):
        raise Internal(
            f"an image with {len(manifest.layers)} layers lists {len(found)} of them in its config"
        )
    return found


def _read(store: BlobStore, manifest: Manifest) -> Document:
    try:
        return msgspec.json.decode(store.read(manifest.config), type=Document)
    except msgspec.DecodeError as error:
        raise Internal(f"config {manifest.config.digest} cannot be read: {error}") from error


def _moment(created: str) -> float:
    try:
        return datetime.fromisoformat(created).timestamp()
    except ValueError:
        return 0.0
