"""Reads the documents of an unpacked OCI archive or docker-archive: which layers, and how a guest starts.

Every file is opened beneath the bundle's own directory, no link is followed, every document is small, and each field
that is used is checked for type and size. The standard library alone: it runs in a cell.
Sources: OCI image format specification; the layout that `docker save` writes.
"""

import json
import os
import re
import stat
from typing import Any

from yurt.beneath import inner_parts, open_beneath
from yurt.errors import Invalid, Unsupported
from yurt.model.names import printable

DOCUMENT_LIMIT = 4 << 20
MAX_LAYERS = 512
MAX_WORDS, MAX_WORD = 4096, 32 << 10
_HEX = r"[0-9a-f]{64}"
_PART = re.compile(
    rf"oci-layout|index\.json|manifest\.json|repositories|blobs(/sha256(/{_HEX})?)?"
    rf"|{_HEX}(/(layer\.tar|json|VERSION)?)?|{_HEX}\.(json|tar)|version"
)
_DIGEST = re.compile(rf"sha256:({_HEX})")
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
Json = dict[str, Any]  # documents from outside: every field is looked at before it is used


def is_part(name: str) -> bool:
    """Whether a bundle may hold a member of this name."""
    return bool(_PART.fullmatch(name))


def read_plan(root: int, architecture: str) -> "dict[str, object]":
    """`layers` (file, digest of that file or empty, digest of the unpacked layer), lowest first, and `config`.

    Raises Invalid, and Unsupported for an image of another machine.
    """
    if _exists(root, "index.json"):
        config, layers = _oci(root, architecture)
    elif _exists(root, "manifest.json"):
        config, layers = _docker(root)
    else:
        raise Invalid("the archive has neither `index.json` nor `manifest.json`")
    wanted = _MACHINES.get(architecture, architecture)
    built_for = _text(config, "architecture")
    if built_for and built_for != wanted:
        raise Unsupported(f"the image is for {printable(built_for)}, this host is {wanted}")
    if _text(config, "os") not in ("", "linux"):
        raise Unsupported(f"the image is for {printable(_text(config, 'os'))}, not for Linux")
    diff_ids = _texts(_object(config, "rootfs"), "diff_ids")
    if not layers or len(layers) > MAX_LAYERS or len(diff_ids) != len(layers):
        raise Invalid("the image has no layers, too many, or does not say what is in them")
    rows = []
    for (file, digest), diff_id in zip(layers, diff_ids, strict=True):
        if not _DIGEST.fullmatch(diff_id):
            raise Invalid("the image names a layer by something that is no digest")
        rows.append({"file": file, "digest": digest, "diff_id": diff_id})
    return {"layers": rows, "config": _execution(_object(config, "config"))}


def _oci(root: int, architecture: str) -> "tuple[Json, list[tuple[str, str]]]":
    document = _read(root, "index.json")
    for _ in range(4):
        manifests = document.get("manifests")
        if not isinstance(manifests, list):
            break
        chosen = _choose([each for each in manifests if isinstance(each, dict)], architecture)
        document = _read(root, _blob(chosen))
    layers = document.get("layers")
    if not isinstance(layers, list) or not all(isinstance(each, dict) for each in layers):
        raise Invalid("the image's manifest has no list of layers")
    config = _read(root, _blob(_object(document, "config")))
    return config, [(_blob(layer), _text(layer, "digest")) for layer in layers]


def _choose(manifests: "list[Json]", architecture: str) -> Json:
    """The manifest for this machine; the only one where just one is left."""
    wanted = _MACHINES.get(architecture, architecture)
    fitting = [each for each in manifests if _text(_object(each, "platform"), "architecture") == wanted]
    plain = [each for each in manifests if not _object(each, "platform")]
    found = fitting or plain
    if len(found) != 1:
        raise Invalid(
            f"the archive holds {len(manifests)} images, {len(found)} of them for {wanted}",
            hint="save one image into an archive of its own",
        )
    return found[0]


def _docker(root: int) -> "tuple[Json, list[tuple[str, str]]]":
    listed = _load(root, "manifest.json")
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], dict):
        raise Invalid(
            "the archive holds no image, or several", hint="save one image into an archive of its own"
        )
    entry = listed[0]
    config = _read(root, _member(_text(entry, "Config")))
    return config, [(_member(name), "") for name in _texts(entry, "Layers")]


def _member(name: str) -> str:
    parts = inner_parts(name)
    if not parts or name.startswith("/") or not is_part("/".join(parts)):
        raise Invalid(f"the archive's manifest names a file that it may not: `{printable(name)}`")
    return "/".join(parts)


def _blob(descriptor: Json) -> str:
    found = _DIGEST.fullmatch(_text(descriptor, "digest"))
    if found is None:
        raise Invalid("the image names a part by something that is no sha256 digest")
    return f"blobs/sha256/{found[1]}"


def _exists(root: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _read(root: int, name: str) -> Json:
    document = _load(root, name)
    if not isinstance(document, dict):
        raise Invalid(f"`{printable(name)}` in the archive is no JSON object")
    return document


def _load(root: int, name: str) -> object:
    try:
        descriptor = open_beneath(root, name, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise Invalid(f"the archive has no `{printable(name)}`, or it leads elsewhere") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Invalid(f"`{printable(name)}` in the archive is no file")
        data = file.read(DOCUMENT_LIMIT + 1)
    if len(data) > DOCUMENT_LIMIT:
        raise Invalid(f"`{printable(name)}` in the archive is too large for a document")
    try:
        return json.loads(data)
    except ValueError as error:
        raise Invalid(f"`{printable(name)}` in the archive is no JSON") from error


def _object(document: Json, key: str) -> Json:
    found = document.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Invalid(f"`{key}` in the archive's documents is no object")
    return found


def _text(document: Json, key: str) -> str:
    found = document.get(key)
    if found is None:
        return ""
    return _word(found, key)


def _texts(document: Json, key: str) -> "list[str]":
    found = document.get(key)
    if found is None:
        return []
    if not isinstance(found, list) or len(found) > MAX_WORDS:
        raise Invalid(f"`{key}` in the archive's documents is no list, or too long")
    return [_word(each, key) for each in found]


def _word(value: object, key: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_WORD or "\0" in value:
        raise Invalid(f"`{key}` in the archive's documents is no text, or too long")
    if key != "Cmd" and key != "Entrypoint" and key != "Env" and any(ord(letter) < 32 for letter in value):
        raise Invalid(f"`{key}` in the archive's documents holds control characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"`{key}` in the archive's documents is no valid text") from error
    return value


def _execution(config: Json) -> "dict[str, object]":
    env = _texts(config, "Env")
    for each in env:
        name, equals, _ = each.partition("=")
        if not equals or not name or not name.isprintable() or any(ord(c) < 32 and c != "\t" for c in each):
            raise Invalid("the image sets a variable that is malformed")
    workdir = _text(config, "WorkingDir")
    if workdir and (not workdir.startswith("/") or ".." in workdir.split("/") or len(workdir) > 4095):
        raise Invalid("the image's working directory is no absolute path")
    user = _text(config, "User")
    if len(user) > 255:
        raise Invalid("the image's user has too long a name")
    return {
        "env": env,
        "entrypoint": _texts(config, "Entrypoint"),
        "cmd": _texts(config, "Cmd"),
        "workdir": workdir,
        "user": user,
    }
