"""The hostile disk images: valid ones of each format with something wrong in them, named for what that is."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from tests.abuse.oracles import World

U64 = (1 << 64) - 1
Make = Callable[[dict[str, bytes], World, int], bytes]


@dataclass(frozen=True, kw_only=True)
class Disk:
    """One case: `make` gets the valid images, the decoys and the listener's port. `refused`: before any program runs."""

    name: str
    declared: str
    make: Make
    refused: bool = True


def patched(
    name: str,
    base: str,
    *changes: tuple[int, bytes],
    declared: str = "",
    cut: int = 0,
    more: bytes = b"",
    refused: bool = True,
) -> Disk:
    def make(bases: dict[str, bytes], _: World, __: int) -> bytes:
        data = bytearray(bases[base])
        for at, new in changes:
            at = at if at >= 0 else len(data) + at
            data[at : at + len(new)] = new
        return bytes(data[:cut] if cut else data) + more

    return Disk(
        name=f"{base}-{name}", declared=declared or base.partition("_")[0], make=make, refused=refused
    )


def fields(base: str, order: str, table: dict[str, tuple[int, str, tuple[int, ...]]]) -> list[Disk]:
    """A case for each value of each field: name -> (offset, struct letter, values)."""
    return [
        patched(f"{name}-{value:x}", base, (at, struct.pack(order + form, value)))
        for name, (at, form, values) in table.items()
        for value in values
    ]


QCOW2 = {
    "version": (4, "I", (0, 1, 4, 0xFFFFFFFF)),
    "backing-offset": (8, "Q", (1, 104, 112, 4096, U64)),
    "backing-size": (16, "I", (1, 1023, 1024, 0xFFFFFFFF)),
    "cluster-bits": (20, "I", (0, 1, 8, 22, 31, 63, 64, 0xFFFFFFFF)),
    "size": (24, "Q", (0, 1, 511, 1 << 42, 1 << 60, 1 << 63, U64)),
    "crypt": (32, "I", (1, 2, 3, 0xFFFFFFFF)),
    "l1-size": (36, "I", (0, 1 << 22, 1 << 26, 0xFFFFFFFF)),
    "l1-offset": (40, "Q", (0, 1, 512, 65537, 1 << 40, 1 << 63, U64 - 65535)),
    "refcount-offset": (48, "Q", (0, 7, 65537, 1 << 50, U64 - 65535)),
    "refcount-clusters": (56, "I", (0, 1000, 1 << 20, 0xFFFFFFFF)),
    "snapshots": (60, "I", (1, 65536, 0xFFFFFFFF)),
}
QCOW2_V3 = {
    "incompatible": (72, "Q", (2, 4, 6, 8, 32, 64, 1 << 40, 1 << 63, U64)),
    "autoclear": (88, "Q", (2, 3)),
    "refcount-order": (96, "I", (7, 100, 0xFFFFFFFF)),
    "header-length": (100, "I", (0, 8, 100, 103, 105, 1 << 17, 0xFFFFFFFF)),
    "compression": (104, "B", (1, 2, 255)),
}
VMDK = {
    "version": (4, "I", (0, 4, 0xFFFFFFFF)),
    "capacity": (12, "Q", (0, 1 << 54, U64)),
    "grain": (20, "Q", (0, 1, 7, 129, 1 << 40)),
    "descriptor-at": (28, "Q", (0, 2, 1 << 40, U64)),
    "descriptor-size": (36, "Q", (0, 4096, U64)),
    "tables": (44, "I", (0, 1, 513, 0xFFFFFFFF)),
    "directory": (56, "Q", (1 << 40, U64 - 1)),
    "overhead": (64, "Q", (1 << 40, U64)),
}
VDI = {
    "signature": (0x40, "I", (0, 0xBEDA107E)),
    "version": (0x44, "I", (0, 0x10000, 0x20001)),
    "header": (0x48, "I", (0, 0x17F)),
    "type": (0x4C, "I", (0, 3, 4, 0xFFFFFFFF)),
    "flags": (0x50, "I", (1, 0xFFFFFFFF)),
    "table": (0x154, "I", (0, 1, 0x1FF, 0xFFFFFE00)),
    "data": (0x158, "I", (0, 1, 512)),
    "sector": (0x168, "I", (0, 1, 4096)),
    "size": (0x170, "Q", (0, 1, 1 << 51, U64)),
    "block": (0x178, "I", (0, 1, 512, 0xFFFFFFFF)),
    "extra": (0x17C, "I", (1, 0xFFFFFFFF)),
    "blocks": (0x180, "I", (0, 1, 0x3FFFFFFF, 0xFFFFFFFF)),
    "allocated": (0x184, "I", (1000, 0xFFFFFFFF)),
    "link": (0x1A8, "Q", (1, U64)),
    "parent": (0x1B8, "Q", (1, U64)),
}
PARALLELS = {
    "version": (16, "I", (0, 1, 3)),
    "tracks": (28, "I", (0, 1 << 31, 0xFFFFFFFF)),
    "entries": (32, "I", (0, 1, 1 << 28, 0xFFFFFFFF)),
    "sectors": (36, "Q", (0, 1 << 50, U64)),
    "in-use": (44, "I", (0x746F6E59, 1)),
    "data": (48, "I", (1 << 30, 0xFFFFFFFF)),
    "extension": (56, "Q", (1, 1 << 40)),
    "entry": (64, "I", (1 << 30, 0xFFFFFFFF)),
}
ISO = {
    "type": (32768, "B", (0, 2, 255)),
    "version": (32774, "B", (0, 2)),
    "blocks": (32768 + 80, "I", (0, 1 << 30, 0xFFFFFFFF)),
    "block": (32768 + 128, "H", (0, 1, 513, 65535)),
}
VHD = {"size": (48, "Q", (0, 1, 1 << 62, U64)), "kind": (60, "I", (0, 4, 5)), "version": (12, "I", (0, 2))}
VHD_HEADER = {
    "table": (512 + 16, "Q", (0, 1 << 50, U64)),
    "entries": (512 + 28, "I", (0, 1 << 28, 0xFFFFFFFF)),
    "block": (512 + 32, "I", (0, 1, 3, 0x40000000)),
    "parent": (512 + 40, "Q", (1, U64)),
    "parent-name": (512 + 64, "Q", (0x002F0065,)),
    "locator": (512 + 576, "I", (0x57326B75, 0x4D616358)),
}


def vhd_sum(data: bytearray, at: int, size: int, field: int) -> None:
    """Give a VHD structure its right checksum, so that only the planted fault is wrong."""
    struct.pack_into(">I", data, at + field, 0)
    struct.pack_into(">I", data, at + field, ~sum(data[at : at + size]) & 0xFFFFFFFF)


def vhd_cases() -> list[Disk]:
    def made(at: int, form: str, value: int, *, header: bool) -> Make:
        def make(bases: dict[str, bytes], _: World, __: int) -> bytes:
            data = bytearray(bases["vhd"])
            struct.pack_into(">" + form, data, at, value)
            if header:
                vhd_sum(data, 512, 1024, 36)
            else:
                vhd_sum(data, 0, 512, 64)
                data[-512:] = data[:512]
            return bytes(data)

        return make

    return [
        Disk(name=f"vhd-{name}-{value:x}", declared="vhd", make=made(at, form, value, header=header))
        for table, header in ((VHD, False), (VHD_HEADER, True))
        for name, (at, form, values) in table.items()
        for value in values
    ]


def references() -> list[Disk]:
    """Images that name another file, or a server."""
    names: dict[str, Callable[[World, int], str]] = {
        "path": lambda w, _: str(w.secret),
        "json": lambda w, _: f'json:{{"driver":"file","filename":"{w.secret}"}}',
        "json-raw": lambda w, _: (
            f'json:{{"driver":"raw","file":{{"driver":"file","filename":"{w.secret}"}}}}'
        ),
        "nbd": lambda _, port: f"nbd://127.0.0.1:{port}/x",
        "http": lambda _, port: f"http://127.0.0.1:{port}/x",
        "https": lambda _, port: f"https://127.0.0.1:{port}/x",
        "ftp": lambda _, port: f"ftp://127.0.0.1:{port}/x",
        "ssh": lambda _, port: f"ssh://127.0.0.1:{port}/x",
        "iscsi": lambda _, port: f"iscsi://127.0.0.1:{port}/x/1",
        "fd": lambda _, __: "fd:3",
        "shadow": lambda _, __: "/etc/shadow",
        "itself": lambda _, __: "/disk",
        "device": lambda _, __: "/dev/zero",
        "relative": lambda _, __: "../outside/secret",
        "null": lambda _, __: "null-co://",
    }

    def qcow2(base: str, where: Callable[[World, int], str], kind: str) -> Make:
        def make(bases: dict[str, bytes], world: World, port: int) -> bytes:
            data, name = bytearray(bases[base]), where(world, port).encode()
            if kind == "backing":
                data[512 : 512 + len(name)] = name
                struct.pack_into(">QI", data, 8, 512, len(name))
            else:
                extension = (
                    struct.pack(">II", 0x44415441, len(name)) + name + bytes(-len(name) % 8) + bytes(8)
                )
                data[112 : 112 + len(extension)] = extension
                struct.pack_into(">Q", data, 72, 4)
            return bytes(data)

        return make

    def vmdk(where: Callable[[World, int], str], line: str) -> Make:
        def make(bases: dict[str, bytes], world: World, port: int) -> bytes:
            data = bytearray(bases["vmdk"])
            end = data.index(b"\0", 512)
            more = line.format(where(world, port)).encode()
            data[end : end + len(more)] = more
            return bytes(data)

        return make

    lines = {
        "parent": 'parentFileNameHint="{}"\n',
        "flat": 'RW 2048 FLAT "{}" 0\n',
        "second": 'RW 2048 SPARSE "{}"\n',
        "zero-byte": '\0parentFileNameHint="{}"\n',
    }
    cases = [
        Disk(name=f"{base}-{kind}-{name}", declared="qcow2", make=qcow2(base, where, kind))
        for name, where in names.items()
        for base, kind in (("qcow2", "backing"), ("qcow2_2", "backing"), ("qcow2", "data-file"))
    ]
    return cases + [
        Disk(name=f"vmdk-{kind}-{name}", declared="vmdk", make=vmdk(names[name], line))
        for kind, line in lines.items()
        for name in ("path", "nbd", "shadow")
    ]


MAGICS = {
    "qed": b"QED\0",
    "qcow": b"QFI\xfb\0\0\0\1",
    "vmdk-text": b"# Disk DescriptorFile\nversion=1\n",
    "esx": b"COWD",
    "luks": b"LUKS\xba\xbe\0\1",
    "bochs": b"Bochs Virtual HD Image",
    "cloop": b"#!/bin/sh\n#V2.0 Format\n",
    "gzip": b"\x1f\x8b\x08",
    "xz": b"\xfd7zXZ\0",
    "zstd": b"\x28\xb5\x2f\xfd",
    "qcow2": b"QFI\xfb\0\0\0\3",
    "vmdk": b"KDMV\1\0\0\0",
    "vhdx": b"vhdxfile",
    "vhd": b"conectix",
    "parallels": b"WithoutFreeSpace",
    "parallels-extended": b"WithouFreSpacExt",
}


def disguises() -> list[Disk]:
    """Files that are named one thing and look like another, or like two."""
    cases = [patched(f"begins-{name}", "raw", (0, magic)) for name, magic in MAGICS.items()]
    cases += [patched(f"partitioned-and-{name}", "raw_gpt", (0, magic)) for name, magic in MAGICS.items()]
    tails = {"vhd": b"conectix", "dmg": b"koly"}
    cases += [patched(f"ends-{name}", "raw", (-512, magic)) for name, magic in tails.items()]
    cases.append(patched("ends-vhd-of-511", "raw", (-511, b"conectix")))
    cases += [
        patched("and-iso", "raw", (32769, b"CD001")),
        patched("and-vdi", "raw", (0x40, b"\x7f\x10\xda\xbe")),
    ]
    cases.append(patched("and-late-iso", "raw", (32769 + 5 * 2048, b"CD001")))
    for base in ("qcow2", "vmdk", "vhd", "vdi", "parallels"):
        cases.append(patched("and-iso", base, (32769, b"CD001")))
        cases.append(patched("and-iso-as-iso", base, (32769, b"CD001"), declared="iso"))
        cases.append(patched("and-dmg", base, more=b"koly" + bytes(508)))
        if base != "vhd":
            cases.append(patched("and-vhd", base, more=b"conectix" + bytes(504)))
        cases.append(patched("cut-to-600", base, cut=600))
        cases.append(patched("cut-to-40", base, cut=40))
        cases.append(patched("cut-to-4", base, cut=4))
        for declared in ("raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "parallels", "iso"):
            if declared != base:
                cases.append(patched(f"called-{declared}", base, declared=declared))
    cases += [
        patched(f"called-{name}", "raw", declared=name)
        for name in ("qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso")
    ]
    cases.append(Disk(name="nothing", declared="raw", make=lambda *_: b""))
    return cases


def fine() -> list[Disk]:
    """Odd, but no harm: these are taken, so the suite would notice an inspector that refuses everything."""
    return [
        patched("plain", base, refused=False)
        for base in (
            "raw",
            "raw_gpt",
            "qcow2",
            "qcow2_2",
            "vmdk",
            "vmdk_stream",
            "vhd",
            "vdi",
            "parallels",
            "iso",
        )
    ]


def corrupt() -> list[Disk]:
    """What only the program that converts finds out: it may fail, but in its cell."""
    return [
        patched("l2-of-ones", "qcow2", (0x40000, b"\xff" * 4096), refused=False),
        patched("refcounts-of-ones", "qcow2", (0x10000, b"\xff" * 65536), refused=False),
        patched("table-of-ones", "vdi", (0x200, b"\xfe" * 32), refused=False),
        patched("grains-of-ones", "vmdk", (0x5200, b"\xff" * 8192), refused=False),
        patched("blocks-of-ones", "vhd", (1536, b"\xfe" * 16), refused=False),
    ]


def all_cases() -> list[Disk]:
    return [
        *fields("qcow2", ">", QCOW2 | QCOW2_V3),
        *(case for case in fields("qcow2_2", ">", QCOW2) if "version-3" not in case.name),
        *fields("vmdk", "<", VMDK),
        *fields("vdi", "<", VDI),
        *fields("parallels", "<", PARALLELS),
        *fields("iso", "<", ISO),
        *vhd_cases(),
        *references(),
        *disguises(),
        *fine(),
        *corrupt(),
    ]
