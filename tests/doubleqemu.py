"""A QEMU without a guest: a QMP server that keeps devices, block nodes, descriptors and memory as the real one does.

Tests bend it: `refuse` makes a command fail, `guest` says what the guest does about a request to let go of a device,
`deaf` hangs up after a command has been carried out and before it is answered.
"""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

GREETING = {
    "QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}
}
GIB = 1 << 30


class Refused(Exception):
    """An error reply."""


class DoubleQemu:
    """Serves one client after the other at `path` until `close`."""

    def __init__(self, path: Path, *, ports: int = 4, cpus: int = 1, most_cpus: int = 4) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []  # Any: whatever JSON the command has
        self.refuse: dict[str, str] = {}
        self.deaf: str = ""
        self.guest: Callable[[str], list[tuple[str, dict[str, Any]]]] = self.lets_go
        self.devices: dict[str, dict[str, Any]] = {
            f"port{index}": {"driver": "pcie-root-port"} for index in range(ports)
        }
        self.devices |= {"disk0": {"driver": "virtio-blk-pci"}, "balloon0": {"driver": "virtio-balloon-pci"}}
        self.nodes: dict[str, dict[str, Any]] = {"root-limit": {"size": 10 * GIB}}
        self.objects: dict[str, dict[str, Any]] = {"disks": {"limits": {}}}
        self.backends: dict[str, dict[str, Any]] = {}
        self.sets: dict[int, tuple[str, int]] = {}
        self.named: dict[str, int] = {}
        self.cpus, self.most_cpus = cpus, most_cpus
        self.memory, self.balloon = GIB, 0
        self.balloon_limit = 4 * GIB  # the guest cannot give back more
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; descriptors that were passed are closed."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        for descriptor in [*(number for _, number in self.sets.values()), *self.named.values()]:
            os.close(descriptor)

    def names(self) -> list[str]:
        """The commands that were sent, without the questions."""
        return [name for name, _ in self.asked if not name.startswith(("query-", "qom-list", "qmp_"))]

    def lets_go(self, device: str) -> list[tuple[str, dict[str, Any]]]:
        """What a well-behaved guest leads to."""
        self.devices.pop(device)
        return [("DEVICE_DELETED", {"device": device, "path": f"/machine/peripheral/{device}"})]

    # --- the wire

    def _serve(self) -> None:
        while True:
            try:
                self._client, _ = self._listener.accept()
            except OSError:
                return
            with self._client:
                self._say(GREETING)
                with contextlib.suppress(OSError):
                    self._talk(self._client)

    def _talk(self, client: socket.socket) -> None:
        passed: list[int] = []
        decoder, text = json.JSONDecoder(), ""
        while True:
            data, got, _, _ = socket.recv_fds(client, 65536, 4)
            passed += got
            if not data:
                return
            text = (text + data.decode()).lstrip()
            while text:
                try:
                    command, end = decoder.raw_decode(text)
                except json.JSONDecodeError:
                    break
                text = text[end:].lstrip()
                if not self._answer(command, passed):
                    return

    def _answer(self, command: Mapping[str, Any], passed: list[int]) -> bool:
        name, arguments = command["execute"], command.get("arguments", {})
        self.asked.append((name, arguments))
        events: list[tuple[str, dict[str, Any]]] = []
        try:
            if name in self.refuse:
                raise Refused(self.refuse[name])
            act = getattr(self, "do_" + name.replace("-", "_"), None)
            result = {} if act is None else act(arguments, passed, events)
        except Refused as error:
            self._say({"error": {"class": "GenericError", "desc": str(error)}, "id": command.get("id")})
            return True
        if name == self.deaf:
            return False
        self._say({"return": {} if result is None else result, "id": command.get("id")})
        for event, data in events:
            self._say({"event": event, "data": data, "timestamp": {"seconds": 0, "microseconds": 0}})
        return True

    def _say(self, message: Mapping[str, Any]) -> None:
        if self._client is not None:
            self._client.sendall(json.dumps(message).encode() + b"\r\n")

    # --- commands: (arguments, descriptors that came along, events to send afterwards)

    def do_qom_list(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> object:
        path = given["path"].removeprefix("/machine/peripheral").strip("/")
        if not path:
            return [
                {"name": name, "type": f"child<{device['driver']}>"} for name, device in self.devices.items()
            ]
        port = path.split("/")[0]
        return [{"name": "child[0]"} for device in self.devices.values() if device.get("bus") == port]

    def do_qom_set(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> None:
        self.objects[given["path"].rpartition("/")[2]][given["property"]] = given["value"]

    def do_device_add(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> None:
        if given["id"] in self.devices:
            raise Refused(f"Duplicate device ID '{given['id']}'")
        if "drive" in given and given["drive"] not in self.nodes:
            raise Refused("no such node")
        if given["driver"] == "pc-dimm":
            self.memory += self.objects[given["memdev"]]["size"]
        self.devices[given["id"]] = given

    def do_device_del(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> None:
        if given["id"] == "disk0":
            raise Refused("Bus 'pcie.0' does not support hotplugging")
        events += self.guest(given["id"])

    def do_query_named_block_nodes(
        self, given: dict[str, Any], passed: list[int], events: list[Any]
    ) -> object:
        return [
            {"node-name": name, "image": {"virtual-size": node.get("size", 0)}}
            for name, node in self.nodes.items()
        ]

    def do_blockdev_add(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> None:
        self.nodes[given["node-name"]] = given

    def do_blockdev_del(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> None:
        if any(device.get("drive") == given["node-name"] for device in self.devices.values()):
            raise Refused(f"Node {given['node-name']} is in use")
        del self.nodes[given["node-name"]]

    def do_block_resize(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> None:
        self.nodes[given["node-name"]]["size"] = given["size"]

    def do_add_fd(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> object:
        number = max(self.sets, default=2) + 1
        self.sets[number] = (given["opaque"], passed.pop())
        return {"fdset-id": number, "fd": 30}

    def do_query_fdsets(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> object:
        return [
            {"fdset-id": number, "fds": [{"fd": 30, "opaque": opaque}]}
            for number, (opaque, _) in self.sets.items()
        ]

    def do_remove_fd(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> None:
        os.close(self.sets.pop(given["fdset-id"])[1])

    def do_getfd(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> None:
        self.named[given["fdname"]] = passed.pop()

    def do_closefd(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> None:
        if given["fdname"] not in self.named:
            raise Refused(f"File descriptor named '{given['fdname']}' not found")
        os.close(self.named.pop(given["fdname"]))

    def do_netdev_add(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> None:
        os.close(self.named.pop(given["fd"]))
        self.backends[given["id"]] = given

    def do_netdev_del(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> None:
        if self.backends.pop(given["id"], None) is None:
            raise Refused(f"Device '{given['id']}' not found")

    def do_query_hotpluggable_cpus(
        self, given: dict[str, Any], passed: list[int], events: list[Any]
    ) -> object:
        found = []
        for core in reversed(range(self.most_cpus)):
            entry: dict[str, Any] = {
                "type": "qemu64-x86_64-cpu",
                "vcpus-count": 1,
                "props": {"core-id": core, "thread-id": 0, "socket-id": 0},
            }
            name = f"cpu-{core}-0-0"
            if core < self.cpus:
                entry["qom-path"] = f"/machine/unattached/device[{core}]"
            elif name in self.devices:
                entry["qom-path"] = f"/machine/peripheral/{name}"
            found.append(entry)
        return found

    def do_object_add(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> None:
        self.objects[given["id"]] = given

    def do_object_del(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> None:
        if self.objects.pop(given["id"], None) is None:
            raise Refused(f"object '{given['id']}' not found")

    def do_query_memory_size_summary(
        self, given: dict[str, Any], passed: list[int], events: list[Any]
    ) -> object:
        return {"base-memory": GIB, "plugged-memory": self.memory - GIB}

    def do_query_balloon(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> object:
        if "balloon0" not in self.devices:
            raise Refused("No balloon device has been activated")
        return {"actual": self.memory - self.balloon}

    def do_balloon(self, given: dict[str, Any], passed: list[int], events: list[Any]) -> None:
        self.balloon = min(max(0, self.memory - given["value"]), self.balloon_limit)
        events.append(("BALLOON_CHANGE", {"actual": self.memory - self.balloon}))
