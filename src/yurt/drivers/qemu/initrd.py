"""Adds the instance's boot configuration to the shared initrd.

The Linux kernel unpacks several cpio archives, one behind the other, as one initial file system. So the initrd stays
one shared file, and what differs per instance is a few hundred bytes behind it, in memory only.
"""

import fcntl
import os
from pathlib import Path

CONFIG_PATH = "yurt/config"
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


def cpio_entry(name: str, mode: int, data: bytes, inode: int) -> bytes:
    """One member of a `newc` archive, owned by root. Source: Linux, Documentation/driver-api/early-userspace."""
    path = name.encode() + b"\0"
    numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _padded(header + path) + _padded(data)


def config_archive(config: bytes) -> bytes:
    """An archive that holds only `/yurt/config`, readable by root."""
    return (
        cpio_entry("yurt", 0o040755, b"", 1)
        + cpio_entry(CONFIG_PATH, 0o100600, config, 2)
        + cpio_entry("TRAILER!!!", 0, b"", 0)
    )


def open_initrd(initrd: Path, config: bytes) -> int:
    """Return a sealed, memory-backed descriptor of the initrd with the configuration behind it; the caller closes it."""
    descriptor = os.memfd_create("yurt-initrd", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with initrd.open("rb") as source:
            remaining = size = os.fstat(source.fileno()).st_size
            while remaining and (
                sent := os.sendfile(descriptor, source.fileno(), size - remaining, remaining)
            ):
                remaining -= sent
        tail = bytes(-size % 4) + config_archive(config) if config else b""
        while tail:
            tail = tail[os.write(descriptor, tail) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
