"""The rate of this host's time stamp counter, which QEMU's TCG passes through to guests.

A microVM cannot calibrate it by itself under TCG and hangs, so it is told. The kernel shows the rate nowhere that every
host has: `cpu MHz` is the rate of the moment on real hardware. So the counter is read twice and held against the raw
clock, which the kernel derives from it; `cpu MHz` is taken where both agree, because it does not jitter.
"""

import ctypes
import mmap
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path

_RDTSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")  # rdtsc; shl rdx,32; or rax,rdx; ret
_MEASURE_S = 0.01
_AGREEMENT = 1e-4


def find_tsc_khz() -> int:
    """Return the TSC's rate in kHz, or 0 where there is none or nothing tells. Blocks for 10 ms."""
    if platform.machine() != "x86_64":
        return 0
    return agreed_khz(tsc_khz_of_cpuinfo(Path("/proc/cpuinfo").read_text(errors="replace")), measure_khz())


def agreed_khz(told: int, measured: int) -> int:
    """Prefer what the kernel tells as long as the measurement bears it out; 0 stands for "unknown". Pure."""
    if not measured or abs(told - measured) <= measured * _AGREEMENT:
        return told
    return measured


def tsc_khz_of_cpuinfo(cpuinfo: str) -> int:
    """Return the first `cpu MHz` of /proc/cpuinfo in kHz; 0 when it is not there. Pure."""
    found = re.search(r"^cpu MHz\s*:\s*([0-9.]+)", cpuinfo, re.MULTILINE)
    return round(float(found[1]) * 1000) if found else 0


def measure_khz() -> int:
    """Hold the counter against CLOCK_MONOTONIC_RAW; 0 where the host allows no page that is writable and executable."""
    try:
        page = mmap.mmap(
            -1, mmap.PAGESIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        )
    except OSError:
        return 0
    page.write(_RDTSC)
    anchor = ctypes.c_char.from_buffer(page)  # keeps the page open while the function exists
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(anchor))
    first, first_ns = _sample(read)
    time.sleep(_MEASURE_S)
    last, last_ns = _sample(read)
    del read, anchor
    page.close()
    return round((last - first) * 1_000_000 / (last_ns - first_ns))


def _sample(read: Callable[[], int]) -> tuple[int, int]:
    """The counter and the raw clock at one moment: the tightest of a few tries."""
    best, result = 1 << 62, (0, 0)
    for _ in range(16):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        cycles = read()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        if after - before < best:
            best, result = after - before, (cycles, (before + after) // 2)
    return result
