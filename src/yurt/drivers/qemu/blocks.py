"""The words for block nodes, shared by the root disk and the volumes. Pure."""

import json

from yurt.model.image import DiskFormat


def json_option(flag: str, **document: object) -> list[str]:
    """One option in its JSON form. `_` in a name stands for `-`."""
    fields = {name.replace("_", "-"): value for name, value in document.items()}
    return [flag, json.dumps(fields, separators=(",", ":"))]


def descriptor_set_args(number: int, descriptor: int) -> list[str]:
    """Make an inherited descriptor openable as /dev/fdset/NUMBER."""
    return ["-add-fd", f"fd={descriptor},set={number}"]


def file_node(name: str, descriptor_set: int, *, read_only: bool) -> list[str]:
    """The protocol node of an image file."""
    return json_option(
        "-blockdev",
        driver="file",
        node_name=name,
        filename=f"/dev/fdset/{descriptor_set}",
        read_only=read_only,
        discard="unmap",
    )


def format_node(name: str, form: DiskFormat, backing: str | None, **options: object) -> list[str]:
    """The format node above `NAME-file`. What a qcow2 header says of a backing file is never followed."""
    chain = {"backing": backing} if form is DiskFormat.QCOW2 else {}
    return json_option("-blockdev", driver=str(form), node_name=name, file=f"{name}-file", **chain, **options)
