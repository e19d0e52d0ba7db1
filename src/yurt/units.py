"""Parse and print sizes and times. Inside yurt everything is bytes and seconds."""

from yurt.errors import Invalid

_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_TIMES = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str) -> int:
    """Turn `512M`, `2GiB`, `1.5G` or `4096` into bytes (binary multiples). Raises Invalid."""
    raw = text.strip().upper()
    for tail in ("IB", "B"):
        if raw.endswith(tail):
            raw = raw[: -len(tail)]
            break
    unit = raw[-1:] if raw[-1:] in _FACTORS else ""
    number = raw[: len(raw) - len(unit)]
    if not number.replace(".", "", 1).isdecimal() or not number.isascii():
        raise Invalid(f"`{text}` is not a size", hint="write a size as `512M` or `2G`")
    value = int(float(number) * _FACTORS[unit])
    if not 0 < value < 1 << 62:
        raise Invalid(f"`{text}` is not a size yurt can use", hint="write a size as `512M` or `2G`")
    return value


def format_size(size_bytes: int) -> str:
    """Print bytes with one binary unit: `512M`, `1.5G`, `17B`."""
    value, unit = float(size_bytes), "B"
    for larger in ("K", "M", "G", "T"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f}{unit}" if value >= 100 or value == int(value) else f"{value:.1f}{unit}"


def parse_duration(text: str) -> float:
    """Turn `90`, `30s`, `5m`, `1.5h` or `2d` into seconds. Raises Invalid."""
    raw = text.strip().lower()
    unit = raw[-1:] if raw[-1:] in _TIMES else ""
    number = raw[: len(raw) - len(unit)]
    if not number.replace(".", "", 1).isdecimal() or not number.isascii():
        raise Invalid(f"`{text}` is not a time", hint="write a time as `30s`, `5m` or `1h`")
    return float(number) * _TIMES[unit]


def format_duration(seconds: float) -> str:
    """Print seconds as the largest two units that matter: `42s`, `3m10s`, `2h5m`, `3d4h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"
