"""Parse and print sizes and times. Inside yurt everything is bytes and seconds."""

from yurt.errors import Invalid

_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DECIMAL = {"": 1, "K": 1000, "M": 10**6, "G": 10**9, "T": 10**12}
_RATE_TAILS = ("BIT/S", "BITS", "BIT", "BPS")
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


def exact_size(size_bytes: int) -> str:
    """Bytes in the largest binary unit that loses nothing: `1536M`, `2G`, `1000`. `parse_size` reads it back."""
    for unit in ("T", "G", "M", "K"):
        if size_bytes and size_bytes % _FACTORS[unit] == 0:
            return f"{size_bytes // _FACTORS[unit]}{unit}"
    return str(size_bytes)


def parse_bit_rate(text: str) -> int:
    """Turn a network rate, `100M`, `100Mbit`, `1.5G` or `64000`, into bits a second (decimal multiples). Raises Invalid.

    A network's megabit is a million bits, while sizes count in powers of 1024; `MB` would be bytes and is refused.
    """
    raw = text.strip().upper()
    for tail in _RATE_TAILS:
        if raw.endswith(tail):
            raw = raw[: -len(tail)]
            break
    unit = raw[-1:] if raw[-1:] in _DECIMAL else ""
    number = raw[: len(raw) - len(unit)]
    hint = "write bits a second as `100M` or `1G`, in steps of 1000"
    if not number.replace(".", "", 1).isdecimal() or not number.isascii():
        raise Invalid(f"`{text}` is not a network rate", hint=hint)
    value = int(float(number) * _DECIMAL[unit])
    if not 0 < value < 1 << 62:
        raise Invalid(f"`{text}` is not a network rate yurt can use", hint=hint)
    return value


def exact_bit_rate(rate_bps: int) -> str:
    """Bits a second in the largest decimal unit that loses nothing: `100M`, `1500K`. `parse_bit_rate` reads it back."""
    for unit in ("T", "G", "M", "K"):
        if rate_bps and rate_bps % _DECIMAL[unit] == 0:
            return f"{rate_bps // _DECIMAL[unit]}{unit}"
    return str(rate_bps)


def parse_whole(text: str) -> int:
    """Turn `42` into a number. Raises Invalid."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise Invalid(f"`{text}` is not a whole number")
    return int(text)


def parse_amount(text: str) -> float:
    """Turn `2` or `1.5` into a number. Raises Invalid."""
    if not text.replace(".", "", 1).isdecimal() or not text.isascii() or len(text) > 18:
        raise Invalid(f"`{text}` is not a number", hint="such as `1.5`")
    return float(text)


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
