"""Instance and operation records: the store's documents, mirrored in memory so that lists cost no query.

Keys: `instances/<id>`, `host/boot`, `names/<name>` -> id, `slots/<n>` -> id, `operations/<id>`. A name and a slot are
reserved in the transaction that begins the create operation, so two creates of one name cannot both begin.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from yurt.errors import Exhausted, Exists, NotFound, Unavailable
from yurt.model.instance import Instance
from yurt.model.network import Network
from yurt.model.operation import Operation
from yurt.model.profile import Profile
from yurt.model.volume import Volume
from yurt.state.base import Compare, Delete, Put, StateStore

MAX_SLOT = 16000
KEEP_OPERATIONS = 200
FORGET_AT_ONCE = 32
BOOT_KEY = "host/boot"
Writes = list[Put | Delete]
Key = TypeVar("Key", str, int)


class Conflict(Unavailable):
    """the record changed in the meantime"""


class Records:
    """The mirror and its only writer. `load` comes first."""

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self.instances: dict[str, Instance] = {}
        self.names: dict[str, str] = {}
        self.slots: dict[int, str] = {}
        self._all_taken_below = 1  # slots below are: to look at each of thousands would cost every create
        self.operations: dict[str, Operation] = {}
        self.networks: dict[str, Network] = {}  # by name
        self.volumes: dict[str, Volume] = {}  # by name
        self.profiles: dict[str, Profile] = {}  # by name
        self.boot_id = ""  # of the host's boot whose autostarts are done
        self.watchers: list[Callable[[str, Instance | None], None]] = []  # told of each changed instance
        self.addresses: dict[str, str] = {}  # `network/address` -> instance id
        self.ports: dict[str, str] = {}  # `ports/protocol/address/port` -> instance id
        self.documents: dict[
            str, tuple[type[msgspec.Struct], dict[str, Any]]
        ] = {  # Any: each of its own type
            "instances": (Instance, self.instances),
            "operations": (Operation, self.operations),
            "networks": (Network, self.networks),
            "volumes": (Volume, self.volumes),
            "profiles": (Profile, self.profiles),
        }
        self._modified: dict[str, int] = {}
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Read everything once, at start."""
        for entry in (await self.store.list(""))[0]:
            self._modified[entry.key] = entry.modified
            self._mirror(entry.key, entry.value)

    def _mirror(self, key: str, value: bytes | None) -> None:
        area, _, name = key.partition("/")
        if area in self.documents:
            kind, documents = self.documents[area]
            if value is None:
                documents.pop(name, None)
            else:
                documents[name] = msgspec.json.decode(value, type=kind)
            if area == "instances":
                for watcher in self.watchers:
                    watcher(name, self.instances.get(name))
        elif key == BOOT_KEY:
            self.boot_id = value.decode() if value is not None else ""
        elif area == "addresses":
            _keep(self.addresses, name, value.decode() if value is not None else None)
        elif area == "ports":
            _keep(self.ports, key, value.decode() if value is not None else None)
        elif area == "names":
            _keep(self.names, name, value.decode() if value is not None else None)
        elif area == "slots":
            _keep(self.slots, int(name), value.decode() if value is not None else None)
            if value is None:
                self._all_taken_below = min(self._all_taken_below, int(name))

    async def write(self, make: Callable[[], Writes]) -> None:
        """Apply the writes that `make` gives in one durable transaction.

        `make` is called when no other write is under way, so what it reads from the mirror is current; it may
        raise to refuse. Raises Conflict when another process wrote to the store.
        """
        async with self._lock:
            # whoever is cancelled now must not leave the mirror behind the store
            applied = asyncio.ensure_future(self._apply(make()))
            try:
                await asyncio.shield(applied)
            except asyncio.CancelledError:
                await asyncio.gather(applied, return_exceptions=True)
                raise

    async def _apply(self, writes: Writes) -> None:
        compares = [Compare(write.key, self._modified.get(write.key, 0)) for write in writes]
        result = await self.store.txn(compares, writes)
        if not result.ok:
            raise Conflict("the record changed in the meantime", hint="try again")
        for write in writes:
            if isinstance(write, Put):
                self._modified[write.key] = result.revision
                self._mirror(write.key, write.value)
            else:
                self._modified.pop(write.key, None)
                self._mirror(write.key, None)

    def find(self, name: str) -> Instance | None:
        """Return the instance of this name, or None."""
        return self.instances.get(self.names.get(name, ""))

    def get(self, name: str) -> Instance:
        """Return the instance of this name. Raises NotFound."""
        found = self.find(name)
        if found is None:
            raise NotFound(kind="instance", name=name, hint="see `yurt ls`")
        return found

    def require_free(self, name: str) -> None:
        """Raise Exists when an instance has this name, or a create has reserved it."""
        if name in self.names:
            raise Exists(
                kind="instance",
                name=name,
                hint=f"choose another name, or delete it with `yurt delete {name}`",
            )

    def free_slot(self) -> int:
        """Return the lowest unused slot. Raises Exhausted."""
        for slot in range(self._all_taken_below, MAX_SLOT):
            if slot not in self.slots:
                self._all_taken_below = slot
                return slot
        raise Exhausted(
            f"all {MAX_SLOT} places for instances are taken", hint="delete instances with `yurt delete`"
        )

    def old_operations(self) -> Writes:
        """Deletes for the oldest ended operations beyond those that are kept, some at a time.

        They go along with the transaction that begins another one, and a transaction has room for few writes.
        """
        ended = [op for op in self.operations.values() if op.status.ended]
        if len(ended) < KEEP_OPERATIONS + FORGET_AT_ONCE:
            return []
        ended.sort(key=lambda op: op.created_at)
        return [Delete(f"operations/{op.id}") for op in ended[:FORGET_AT_ONCE]]


def _keep(mapping: dict[Key, str], key: Key, value: str | None) -> None:
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value


def put_instance(instance: Instance) -> Put:
    """The write that stores an instance record."""
    return Put(f"instances/{instance.id}", msgspec.json.encode(instance))


def put_profile(profile: Profile) -> Put:
    """The write that stores a profile's record."""
    return Put(f"profiles/{profile.name}", msgspec.json.encode(profile))


def put_boot(boot_id: str) -> Put:
    """The write that says: who starts with the host has been started for this boot of it."""
    return Put(BOOT_KEY, boot_id.encode())


def put_network(network: Network) -> Put:
    """The write that stores a network's record."""
    return Put(f"networks/{network.name}", msgspec.json.encode(network))


def put_volume(volume: Volume) -> Put:
    """The write that stores a volume's record."""
    return Put(f"volumes/{volume.name}", msgspec.json.encode(volume))


def put_operation(operation: Operation) -> Put:
    """The write that stores an operation record."""
    return Put(f"operations/{operation.id}", msgspec.json.encode(operation))


def now() -> float:
    """Seconds since the epoch: the one clock of the engine's records."""
    return time.time()
