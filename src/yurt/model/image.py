"""Images as the store lists them, and the forms derived from them."""

from enum import StrEnum

import msgspec


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an OCI image config that decides how a guest starts."""

    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    workdir: str = "/"
    user: str = ""
    init: str = ""  # label io.yurt.init: path of the image's init, empty when it has none
    systemd: bool = False  # label io.yurt.systemd
    architecture: str = "amd64"


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One named image. `digest` is that of its manifest; sizes are bytes; times are epoch seconds."""

    reference: str
    digest: str
    size_bytes: int
    created_at: float
    config: ImageConfig
    recipe: str = ""
    source: str = ""


class DiskFormat(StrEnum):
    """Formats are always written down, never probed."""

    RAW = "raw"
    QCOW2 = "qcow2"
