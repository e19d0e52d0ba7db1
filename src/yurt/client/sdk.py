"""The Python SDK: `yurt.connect()` gives a Client, its instances do the rest. Synchronous and typed.

A Client is for one thread at a time; make one per thread. Errors are those of `yurt.errors`. What an instance *is* comes
as the frozen records of `yurt.model`; an `Instance` here is a handle that acts.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Self

import msgspec

from yurt.client import operations, requests, upload
from yurt.client.calls import Calls, Progress, convert
from yurt.client.events import stream
from yurt.client.instance import Instance
from yurt.client.limits import limits_document
from yurt.client.networks import Networks
from yurt.client.process import ExecResult, Process
from yurt.client.profiles import Profiles
from yurt.client.transport import Transport
from yurt.client.volumes import Volumes
from yurt.model.host import Check
from yurt.model.image import Image
from yurt.model.instance import Instance as Record
from yurt.model.instance import Usage
from yurt.model.operation import Event, Operation
from yurt.units import parse_size

Kind = Literal["microvm", "container", "vm"]
AGENT_WAIT_S = 300.0


def connect(socket: "str | os.PathLike[str] | None" = None, *, start: "bool | None" = None) -> "Client":
    """Connect to the daemon of this user; starts it when nobody listens.

    `socket`: another daemon's socket. `start`: whether to start one (default: only without `socket` and YURT_SOCKET).
    """
    return Client(Transport(None if socket is None else os.fspath(socket), start=start))


def make_spec(image: str, command: Sequence[str], options: Mapping[str, object]) -> dict[str, object]:
    """The wish behind `create` and `run`, without what was not given; `memory` and `disk` may be text such as `512M`."""
    spec: dict[str, object] = {"image": image, "command": list(command)}
    for key, value in options.items():
        if key == "limits" and isinstance(value, Mapping):
            spec[key] = limits_document(value)
        elif key in ("memory", "disk") and value is not None:
            spec[f"{key}_bytes"] = parse_size(value) if isinstance(value, str) else value
        elif value is not None:
            spec[key] = value
    return {key: value for key, value in spec.items() if value not in ([], {})}


class Client:
    """One connection to a daemon. Use it in a `with` block, or `close` it."""

    def __init__(self, transport: Transport) -> None:
        self._calls = Calls(transport)
        self.images = Images(self._calls)
        self.profiles = Profiles(self._calls)
        self.volumes = Volumes(self._calls)
        self.networks = Networks(self._calls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it. Safe to repeat; instances run on."""
        self._calls.transport.close()

    def finish(self, operation: Operation, progress: Progress | None = None) -> Operation:
        """Wait for an operation's end; `progress` hears of each piece of news. Raises the operation's error."""
        return self._calls.finish(operation, progress)

    def create(
        self,
        image: str,
        *command: str,
        name: str | None = None,
        kind: Kind | None = None,
        cpus: int | None = None,
        memory: int | str | None = None,
        disk: int | str | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
        labels: Mapping[str, str] | None = None,
        init: Literal["auto", "image", "command"] | None = None,
        network: Literal["managed", "user", "none"] | None = None,
        nics: Sequence[Mapping[str, str]] = (),
        accel: Literal["auto", "kvm", "tcg"] | None = None,
        limits: Mapping[str, object] | None = None,
        profiles: Sequence[str] = (),
        policy: Mapping[str, object] | None = None,
        ephemeral: bool = False,
        start: bool = False,
        progress: Progress | None = None,
    ) -> "Instance":
        """Create an instance and return its handle; with `start` it has been started too.

        `command` becomes the guest's main process when `init` is `command` (or the image has no init). `memory` and
        `disk` are bytes or text such as `2G`. `ephemeral`: the daemon deletes it when it ends.
        `limits`: by name, as in `{"pids": 200, "net_in": "100M"}`. `policy`: fields of `yurt.model.policy.Policy`, as in
        `{"restart": "always"}`.
        """
        options: dict[str, object] = {
            "name": name,
            "kind": kind,
            "cpus": cpus,
            "memory": memory,
            "disk": disk,
            "env": None if env is None else dict(env),
            "workdir": workdir,
            "user": user,
            "labels": None if labels is None else dict(labels),
            "init": init,
            "network": network,
            "nics": [dict(nic) for nic in nics],
            "accel": accel,
            "limits": limits,
            "profiles": list(profiles),
            "policy": None if policy is None else dict(policy),
            "ephemeral": ephemeral or None,
        }
        request = requests.create_instance(make_spec(image, command, options), start=start)
        operation = self._calls.operate(request, progress)
        return Instance(self._calls, str(operation.result.get("name", operation.target)))

    def run(
        self,
        image: str,
        *command: str,
        name: str | None = None,
        kind: Kind | None = None,
        cpus: int | None = None,
        memory: int | str | None = None,
        disk: int | str | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
        labels: Mapping[str, str] | None = None,
        network: Literal["managed", "user", "none"] | None = None,
        nics: Sequence[Mapping[str, str]] = (),
        accel: Literal["auto", "kvm", "tcg"] | None = None,
        limits: Mapping[str, object] | None = None,
        profiles: Sequence[str] = (),
        policy: Mapping[str, object] | None = None,
        ephemeral: bool = False,
        progress: Progress | None = None,
    ) -> "Instance":
        """Create and start an instance, and return once its agent answers (with a `command`: once that was started).

        A `command` is the guest's main process; follow it with `wait` and `logs`. In a `with` block the instance is
        deleted at the end. If the guest never answers, it is deleted again and the error raised.
        """
        instance = self.create(
            image,
            *command,
            name=name,
            kind=kind,
            cpus=cpus,
            memory=memory,
            disk=disk,
            env=env,
            workdir=workdir,
            user=user,
            labels=labels,
            init="command" if command else None,
            network=network,
            nics=nics,
            accel=accel,
            limits=limits,
            profiles=profiles,
            policy=policy,
            ephemeral=ephemeral,
            start=True,
            progress=progress,
        )
        if not command:
            try:
                instance.wait("agent", timeout_s=AGENT_WAIT_S)
            except BaseException:
                instance.discard()
                raise
        return instance

    def instances(self, labels: Mapping[str, str] | None = None) -> list[Record]:
        """What instances are there, as records; with `labels` only those that have them all."""
        wanted = [f"{key}={value}" for key, value in (labels or {}).items()]
        return self._calls.get(requests.list_instances(wanted), list[Record])

    def instance(self, name: str) -> "Instance":
        """The handle of an instance that is there. Raises NotFound."""
        self._calls.get(requests.get_instance(name), Record)
        return Instance(self._calls, name)

    def usage(self) -> list[Usage]:
        """The counters of all running instances."""
        return self._calls.get(requests.usage(), list[Usage])

    def events(self, *, since: int | None = None) -> Iterator[Event]:
        """Follow what happens, without end. Raises Unavailable when the daemon stops."""
        for message in stream(self._calls.transport, since):
            yield msgspec.json.decode(message, type=Event)

    def operations(self) -> list[Operation]:
        """Recent operations, newest first."""
        return self._calls.get(requests.list_operations(), list[Operation])

    def operation(self, operation_id: str) -> Operation:
        """One operation as it stands. Raises NotFound."""
        return self._calls.get(requests.get_operation(operation_id), Operation)

    def cancel(self, operation_id: str) -> Operation:
        """Cancel an operation and undo what it did. Raises WrongState when it has ended or can only go forward."""
        return self._calls.get(requests.cancel_operation(operation_id), Operation)

    def host(self) -> dict[str, object]:
        """What the host is and has."""
        return operations.as_document(self._calls.transport.call(requests.host()))

    def doctor(self) -> list[Check]:
        """What the host can do, what is missing, and the fix."""
        return self._calls.get(requests.doctor(), list[Check])

    def version(self) -> dict[str, object]:
        """The daemon's version."""
        return operations.as_document(self._calls.transport.call(requests.version()))


class Images:
    """The images of a daemon."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> "list[Image]":
        """All images, by name."""
        return self._calls.get(requests.list_images(), list[Image])

    def get(self, reference: str) -> Image:
        """One image. Raises NotFound."""
        return self._calls.get(requests.get_image(reference), Image)

    def build(self, recipe: str, *, progress: Progress | None = None) -> Image:
        """Build an image from a recipe that ships, such as `debian`."""
        self._calls.operate(requests.build_image(recipe), progress)
        return self.get(recipe)

    def load(
        self, reference: str, archive: "str | os.PathLike[str]", *, progress: Progress | None = None
    ) -> Image:
        """Make an image of an archive file: a root file system, an OCI archive, or what `docker save` writes."""
        request = upload.import_image(reference)
        answer = upload.send_file(self._calls.transport, request, os.fspath(archive))
        self._calls.finish(convert(answer, Operation), progress)
        return self.get(reference)

    def delete(self, reference: str) -> None:
        """Delete an image that no instance uses. Raises NotFound, Busy."""
        self._calls.operate(requests.delete_image(reference))

    def prune(self, *, dry_run: bool = False) -> dict[str, object]:
        """Delete what nothing needs; returns `removed` and `freed_bytes`."""
        return self._calls.operate(requests.prune_images(dry_run=dry_run)).result


__all__ = ["Client", "ExecResult", "Images", "Instance", "Process", "connect"]
