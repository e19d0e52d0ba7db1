"""Limits as people write them -> as the API takes them. Standard library only: the command line loads this."""

from yurt.errors import Invalid
from yurt.units import exact_bit_rate, exact_size, parse_amount, parse_bit_rate, parse_size, parse_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


# by the name of the setting: the API's field, and what reads its text
LIMITS: "dict[str, tuple[str, Callable[[str], object]]]" = {
    "cpu-shares": ("cpu_shares", parse_whole),
    "cpu-quota": ("cpu_quota", parse_amount),
    "cpu-pin": ("cpu_pin", str),
    "pids": ("pids", parse_whole),
    "disk-read-iops": ("disk_read_iops", parse_whole),
    "disk-write-iops": ("disk_write_iops", parse_whole),
    "disk-read-bps": ("disk_read_bps", parse_size),
    "disk-write-bps": ("disk_write_bps", parse_size),
    "net-in": ("net_in_bps", parse_bit_rate),
    "net-out": ("net_out_bps", parse_bit_rate),
    "processes": ("processes", parse_whole),
    "open-files": ("open_files", parse_whole),
}
# those that are shown with a unit
SHOWN: "dict[str, Callable[[int], str]]" = {
    "disk-read-bps": exact_size,
    "disk-write-bps": exact_size,
    "net-in": exact_bit_rate,
    "net-out": exact_bit_rate,
}


def limit_text(name: str, value: object) -> str:
    """The value of a limit as `yurt set` takes it."""
    if not isinstance(value, int) or name not in SHOWN:
        return f"{value:g}" if isinstance(value, float) else str(value)
    return SHOWN[name](value)


def limits_document(given: "Mapping[str, object]") -> "dict[str, object]":
    """The `limits` of a wish from values by name (`_` may stand for `-`); text is read, numbers are taken as they are.

    Raises Invalid for unknown names and for text that cannot be read.
    """
    found: dict[str, object] = {}
    for name, value in given.items():
        key = name.replace("_", "-")
        if key not in LIMITS:
            raise Invalid(f"there is no limit `{name}`", hint=f"one of {', '.join(LIMITS)}")
        field, parse = LIMITS[key]
        if value is not None:
            found[field] = parse(value) if isinstance(value, str) else value
    return found
