"""The SDK's volumes: `client.volumes`."""

from collections.abc import Mapping
from typing import Literal

from yurt.client import volumerequests as requests
from yurt.client.calls import Calls, convert
from yurt.client.upload import send_file
from yurt.model.operation import Operation
from yurt.model.volume import VolumeInfo
from yurt.units import parse_size


def _bytes(size: int | str) -> int:
    return parse_size(size) if isinstance(size, str) else size


class Volumes:
    """The volumes of a daemon. Sizes are bytes or text such as `10G`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> "list[VolumeInfo]":
        """All volumes, by name."""
        return self._calls.get(requests.list_volumes(), list[VolumeInfo])

    def get(self, name: str) -> VolumeInfo:
        """One volume. Raises NotFound."""
        return self._calls.get(requests.get_volume(name), VolumeInfo)

    def create(
        self,
        name: str,
        *,
        size: int | str | None = None,
        form: Literal["block", "filesystem"] = "block",
        labels: Mapping[str, str] | None = None,
    ) -> VolumeInfo:
        """Make an empty volume. Raises Exists."""
        spec: dict[str, object] = {"name": name, "form": form, "labels": dict(labels or {})}
        if size is not None:
            spec["size_bytes"] = _bytes(size)
        self._calls.operate(requests.create_volume(spec))
        return self.get(name)

    def load(self, name: str, file: str, *, format: str) -> VolumeInfo:
        """Make a block volume of a local disk image of this format: raw, qcow2, vmdk, vhd, vhdx, vdi or parallels.

        Raises Exists, Invalid for an image that is damaged or asks for other files, Exhausted.
        """
        answer = send_file(self._calls.transport, requests.import_volume(name, format), file)
        self._calls.finish(convert(answer, Operation))
        return self.get(name)

    def attach(self, name: str, instance: str, *, path: str = "", read_only: bool = False) -> Operation:
        """Give a volume to an instance; the result's `pending` says what waits for its next start."""
        return self._calls.operate(requests.attach_volume(name, instance, path=path, read_only=read_only))

    def detach(self, name: str) -> None:
        """Take a volume from the instance that has it. Raises WrongState, Busy."""
        self._calls.operate(requests.detach_volume(name))

    def resize(self, name: str, size: int | str) -> Operation:
        """Let a volume grow; the result's `pending` says what waits for a start."""
        return self._calls.operate(requests.resize_volume(name, _bytes(size)))

    def delete(self, name: str) -> None:
        """Delete a volume that no instance has. Raises WrongState."""
        self._calls.operate(requests.delete_volume(name))
