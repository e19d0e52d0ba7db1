"""How much memory this host has left."""

from pathlib import Path


def available_bytes(meminfo: str | None = None) -> int:
    """Memory that new programs can have without swapping (MemAvailable), in bytes; pure when given the text."""
    text = Path("/proc/meminfo").read_text() if meminfo is None else meminfo
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
