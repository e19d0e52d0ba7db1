"""Defaults in one pure step: a wish, an image and a host give a resolved spec."""

from yurt.engine.limitcheck import check_limits
from yurt.engine.networking import network_mode
from yurt.engine.policy import check_policy
from yurt.engine.resolve_volumes import checked_uses
from yurt.engine.traffic import check_traffic
from yurt.errors import Exhausted, Invalid, Unsupported
from yurt.model.host import HostFacts
from yurt.model.image import Image
from yurt.model.instance import (
    GIB,
    MIB,
    AccelMode,
    Init,
    InstanceSpec,
    Kind,
    NetworkMode,
    Privilege,
    ResolvedSpec,
)
from yurt.model.names import check_label
from yurt.model.settings import Settings
from yurt.units import format_size

DEFAULT_MEMORY = {Kind.MICROVM: 512 * MIB, Kind.VM: GIB}
DEFAULT_DISK = 10 * GIB
MIN_MEMORY = {Kind.MICROVM: 96 * MIB, Kind.VM: 192 * MIB, Kind.CONTAINER: 32 * MIB}


def resolve(
    spec: InstanceSpec, image: Image, facts: HostFacts, settings: Settings | None = None
) -> ResolvedSpec:
    """Fill in every default. Raises Invalid for what contradicts itself, Exhausted for what this host does not have."""
    _check_nics(spec)
    kind = kind_of(spec)
    cpus, memory, disk = sizes(spec, facts)
    _check_sizes(kind, cpus, memory, disk, facts)
    network = network_mode(spec, settings or Settings(), facts)
    check_limits(spec.limits, kind, cpus, network, facts)
    _check_texts(spec)
    policy = spec.policy.filled()
    check_policy(policy, ephemeral=spec.ephemeral)
    check_privileges(spec)
    init = _init(spec, image)
    volumes, shares = checked_uses(spec)
    rules, publish = check_traffic(spec.rules, spec.publish, network)
    return ResolvedSpec(
        image=image.reference,
        image_digest=image.digest,
        kind=kind,
        cpus=cpus,
        memory_bytes=memory,
        disk_bytes=disk,
        env={**dict(pair.split("=", 1) for pair in image.config.env if "=" in pair), **spec.env},
        workdir=spec.workdir or image.config.workdir or "/",
        user=spec.user or image.config.user,
        labels=dict(sorted(spec.labels.items())),
        command=spec.command,
        init=init,
        init_path=image.config.init,
        systemd=image.config.systemd,
        stdin=spec.stdin,
        tty=spec.tty,
        network=network,
        limits=spec.limits,
        accel=spec.accel or AccelMode.AUTO,
        ephemeral=spec.ephemeral,
        attach=spec.attach,
        policy=policy,
        profiles=spec.profiles,
        volumes=volumes,
        shares=shares,
        rules=rules,
        publish=publish,
        privileges=tuple(sorted(set(spec.privileges))),
    )


def check_privileges(spec: InstanceSpec) -> None:
    """Refuse privileges that the kind cannot have. Raises Invalid, Unsupported."""
    if spec.privileges and kind_of(spec) is not Kind.CONTAINER:
        raise Invalid(
            f"`{spec.privileges[0]}` is for containers: a {kind_of(spec)} has a kernel of its own to do as it likes with",
            hint=f"leave out `--{spec.privileges[0]}`",
        )
    if Privilege.PRIVILEGED in spec.privileges:
        raise Unsupported(
            "a privileged container would be root of this host, which is no container that yurt makes",
            hint="take `--nesting` to run containers in it, or `--as microvm` for a kernel of its own",
        )


def default_sizes(kind: Kind, facts: HostFacts) -> tuple[int, int, int]:
    """Processors, bytes of memory and of disk of an instance that names none. A container may have all of the host."""
    if kind is Kind.CONTAINER:
        return facts.cpus, facts.memory_bytes, 0
    return 1, DEFAULT_MEMORY[kind], DEFAULT_DISK


def kind_of(spec: InstanceSpec) -> Kind:
    """The kind wished for."""
    return spec.kind or Kind.MICROVM


def sizes(spec: InstanceSpec, facts: HostFacts) -> tuple[int, int, int]:
    """Processors, bytes of memory and bytes of disk, with the defaults of the kind. Disk 0: no limit of its own."""
    cpus, memory, disk = default_sizes(kind_of(spec), facts)
    return spec.cpus or cpus, spec.memory_bytes or memory, spec.disk_bytes or disk


def check_change(spec: ResolvedSpec, facts: HostFacts) -> None:
    """Hold a changed spec to the same rules as a new one. Raises Invalid, Exhausted, Unsupported."""
    _check_sizes(spec.kind, spec.cpus, spec.memory_bytes, spec.disk_bytes, facts)
    check_policy(spec.policy, ephemeral=spec.ephemeral)
    check_limits(spec.limits, spec.kind, spec.cpus, spec.network, facts)
    check_traffic(spec.rules, spec.publish, spec.network)


def _check_nics(spec: InstanceSpec) -> None:
    if spec.nics and spec.network not in (None, NetworkMode.MANAGED):
        raise Invalid(
            f"NICs on networks and `{spec.network}` exclude each other", hint="leave one of them out"
        )


def _init(spec: InstanceSpec, image: Image) -> Init:
    if kind_of(spec) is Kind.VM:
        if spec.init is Init.COMMAND:
            raise Invalid("a vm always boots its own init", hint="leave out --no-init, or take --as microvm")
        if not image.config.init:
            raise Invalid(
                f"image `{image.reference}` has no init, so it cannot boot as a vm", hint="take --as microvm"
            )
        return Init.IMAGE
    if spec.init is Init.IMAGE or (spec.init is Init.AUTO and not (spec.command and spec.ephemeral)):
        if image.config.init:
            return Init.IMAGE
        if spec.init is Init.IMAGE:
            raise Invalid(f"image `{image.reference}` has no init", hint="give the command to run instead")
    if not spec.command and not image.config.init:
        raise Invalid(
            f"image `{image.reference}` has no init and no command was given",
            hint="add a command after the image",
        )
    return Init.COMMAND if spec.command else Init.IMAGE


def _check_sizes(kind: Kind, cpus: int, memory: int, disk: int, facts: HostFacts) -> None:
    if memory < MIN_MEMORY[kind]:
        raise Invalid(
            f"{format_size(memory)} of memory is too little for a {kind}",
            hint=f"give it at least {format_size(MIN_MEMORY[kind])}",
        )
    if memory > facts.memory_bytes:
        raise Exhausted(
            f"{format_size(memory)} of memory asked for, this host has {format_size(facts.memory_bytes)}",
            hint="ask for less with --memory",
        )
    if kind is Kind.CONTAINER and cpus > facts.cpus:
        raise Exhausted(
            f"{cpus} CPUs asked for, this host has {facts.cpus}", hint="ask for fewer with --cpus"
        )
    if kind is not Kind.CONTAINER and disk < DEFAULT_DISK:
        raise Invalid(
            f"a disk of {format_size(disk)} is smaller than the image's own of {format_size(DEFAULT_DISK)}",
            hint="disks take only the space that is used: leave out --disk, or give more",
        )
    if disk % 512:
        raise Invalid(
            f"a disk of {disk} bytes is not a whole number of sectors", hint="give the size in M or G"
        )


def _check_texts(spec: InstanceSpec) -> None:
    for key, value in spec.labels.items():
        check_label(key, value)
    for key, value in spec.env.items():
        if not key or "=" in key or "\0" in key + value:
            raise Invalid(
                "an environment variable has an empty name, or a `=` or NUL where none may be",
                hint="write NAME=VALUE",
            )
    if any("\0" in word for word in spec.command):
        raise Invalid("the command holds a NUL byte")
    if spec.workdir is not None and (not spec.workdir.startswith("/") or "\0" in spec.workdir):
        raise Invalid("the working directory must be an absolute path", hint="for example --workdir /srv")
