"""`yurt set` without a guest: the table of settings, what a change is, what is told about it, what stays pending."""

import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.test_resolve import FACTS, image

from yurt.cli import set as command
from yurt.cli.commands import LIMITS as LIMIT_OPTIONS
from yurt.client.limits import LIMITS, limits_document
from yurt.client.settings import setting_text
from yurt.drivers.base import Adjusted
from yurt.engine.resolve import resolve
from yurt.engine.settable import SETTINGS, effective, find_setting
from yurt.engine.setverbs import make_change, outcome
from yurt.errors import Exhausted, Invalid, Unsupported
from yurt.model.instance import (
    GIB,
    MIB,
    Instance,
    InstanceSpec,
    Kind,
    PendingSetting,
    Phase,
)
from yurt.model.limits import Limits
from yurt.model.names import InstanceId, Name
from yurt.units import exact_bit_rate, exact_size, parse_bit_rate, parse_size


def instance(kind: Kind = Kind.MICROVM, phase: Phase = Phase.RUNNING, **spec: object) -> Instance:
    wish = InstanceSpec(image="tiny", kind=kind, **spec)  # type: ignore[arg-type]  # fields by name
    resolved = resolve(wish, image(), FACTS)
    return Instance(id=InstanceId("ab12"), name=Name("one"), spec=resolved, phase=phase)


def test_every_row_reads_what_it_has_written() -> None:
    examples = {
        "cpus": "2",
        "memory": "1536M",
        "disk": "20G",
        "cpu-shares": "50",
        "cpu-quota": "1.5",
        "cpu-pin": "0-1",
        "pids": "300",
        "disk-read-iops": "500",
        "disk-write-iops": "400",
        "disk-read-bps": "50M",
        "disk-write-bps": "1000K",
        "net-in": "100M",
        "net-out": "1500K",
        "processes": "500",
        "open-files": "4096",
        "rules": "deny-out all; allow-out tcp:10.0.0.0/8:443; allow-in tcp:22",
        "publish": "8080:80,127.0.0.1:53:53/udp",
        "restart": "on-failure",
        "autostart": "on",
        "autostart-order": "7",
        "autostart-delay": "90s",
        "ttl": "30m",
        "ttl-action": "delete",
        "protect": "on",
        "reclaim": "off",
    }
    spec = instance().spec
    for setting in SETTINGS:
        text = examples[setting.key]
        changed = setting.write(spec, text, FACTS)
        assert setting.read(changed) == text
        assert setting.write(spec, setting.read(spec), FACTS) == spec


def test_the_command_line_offers_what_the_daemon_knows() -> None:
    assert set(command.KEYS) == {setting.key for setting in SETTINGS}


def test_flags_and_settings_read_the_same_texts_into_the_same_fields() -> None:
    flags = {option.name for option in LIMIT_OPTIONS}
    assert flags == set(LIMITS)
    for key, text in {
        "pids": "300",
        "cpu-quota": "1.5",
        "cpu-pin": "0",
        "net-in": "9M",
        "disk-read-bps": "9M",
    }.items():
        wish = msgspec.convert(limits_document({key: text}), Limits)
        assert find_setting(key).write(instance().spec, text, FACTS).limits == wish
    assert limits_document({"net_in": 5, "pids": None}) == {"net_in_bps": 5}
    with pytest.raises(Invalid):
        limits_document({"colour": "red"})


def test_an_unknown_setting_gets_the_list() -> None:
    with pytest.raises(Invalid) as refused:
        find_setting("memmory")
    assert all(setting.key in refused.value.hint for setting in SETTINGS)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, Invalid),
        ({"cpus": "0"}, Invalid),
        ({"cpus": "two"}, Invalid),
        ({"ttl": "soon"}, Invalid),
        ({"ttl": "99999d"}, Invalid),
        ({"ttl-action": "explode"}, Invalid),
        ({"ttl-action": "delete"}, Invalid),
        ({"restart": "sometimes"}, Invalid),
        ({"rules": "allow all"}, Invalid),
        ({"publish": "80:80:80:80"}, Invalid),
        ({"publish": "8080:80"}, Unsupported),
        ({"protect": "maybe"}, Invalid),
        ({"autostart-order": "first"}, Invalid),
        ({"memory": "64G"}, Exhausted),
        ({"memory": "16M"}, Invalid),
        ({"disk": "5G"}, Invalid),
        ({"disk": ""}, Invalid),
        ({"colour": "red"}, Invalid),
        ({"cpu-shares": "0"}, Invalid),
        ({"cpu-shares": "20000"}, Invalid),
        ({"cpu-quota": "3"}, Exhausted),
        ({"cpu-quota": "lots"}, Invalid),
        ({"cpu-pin": "2"}, Exhausted),
        ({"cpu-pin": "1-0"}, Invalid),
        ({"cpu-pin": "a"}, Invalid),
        ({"pids": "100"}, Invalid),
        ({"processes": "10"}, Invalid),
        ({"open-files": "10"}, Invalid),
        ({"net-in": "10MB"}, Invalid),
        ({"disk-read-bps": "-1"}, Invalid),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        make_change(instance(), settings, FACTS)


def test_nothing_takes_a_limit_back_to_its_default() -> None:
    container = instance(Kind.CONTAINER, cpus=1, memory_bytes=GIB)
    after = make_change(container, {"cpus": "", "memory": ""}, FACTS).after
    assert (after.cpus, after.memory_bytes) == (FACTS.cpus, FACTS.memory_bytes)


def test_a_container_that_has_a_disk_keeps_one() -> None:
    with pytest.raises(Invalid):
        make_change(instance(Kind.CONTAINER, disk_bytes=GIB), {"disk": ""}, FACTS)
    assert make_change(instance(Kind.CONTAINER), {"disk": "1G"}, FACTS).keys == ("disk",)


def test_what_a_running_guest_did_not_take_is_pending_with_what_holds_until_then() -> None:
    one = instance(memory_bytes=GIB)
    change = make_change(one, {"cpus": "2", "memory": "2G"}, FACTS)
    told, pending = outcome(
        one, change, ("cpus", "memory"), Adjusted(applied=("cpus",), pending={"memory": "no room"})
    )
    assert [(each.setting, each.before, each.after, each.when) for each in told] == [
        ("cpus", "1", "2", "now"),
        ("memory", "1G", "2G", "next-start"),
    ]
    assert pending == {"memory": PendingSetting(now="1G", why="no room")}
    # from now on the record says 2G while 1G holds; going back is then nothing to do, and nothing is pending
    later = replace(one, spec=change.after, pending=pending)
    assert effective(later, FACTS).memory_bytes == GIB
    back = make_change(later, {"memory": "1G"}, FACTS)
    told, pending = outcome(later, back, ("memory",), Adjusted())
    assert [(each.when, each.after) for each in told] == [("unchanged", "1G")] and pending == {}


def test_a_later_change_tries_again_what_is_pending_and_tells_when_it_worked() -> None:
    one = instance(memory_bytes=GIB)
    one = replace(
        one,
        spec=replace(one.spec, memory_bytes=2 * GIB),
        pending={"memory": PendingSetting(now="1G", why="no room")},
    )
    change = make_change(one, {"cpus": "2"}, FACTS)
    assert change.keys == ("cpus", "memory") and change.before.memory_bytes == GIB
    told, pending = outcome(one, change, ("cpus",), Adjusted(applied=("cpus", "memory")))
    assert [each.setting for each in told] == ["cpus", "memory"] and pending == {}


def test_a_guest_that_rests_has_nothing_pending() -> None:
    one = instance(phase=Phase.STOPPED)
    told, pending = outcome(one, make_change(one, {"cpus": "2"}, FACTS), ("cpus",), Adjusted())
    assert [(each.when, each.why) for each in told] == [("next-start", "")] and pending == {}
    stale = replace(one, pending={"cpus": PendingSetting(now="7", why="")})
    assert effective(stale, FACTS).cpus == 1


def test_lines() -> None:
    change: dict[str, object] = {"setting": "memory", "before": "1G", "after": "2G", "when": "next-start"}
    assert command.line({**change, "why": "no slot"}) == "memory 1G -> 2G at the next start: no slot"
    assert command.line({**change, "when": "now"}) == "memory 1G -> 2G now"
    assert command.line({**change, "after": "", "when": "now"}) == "memory 1G -> none now"
    assert command.line({**change, "after": "1G", "when": "unchanged"}) == "memory 1G as before"


def test_words_of_the_command_line() -> None:
    assert command.settings_of(["cpus=4", "net-in=", "rules=a=b"]) == {
        "cpus": "4",
        "net-in": "",
        "rules": "a=b",
    }
    for words in (["cpus"], ["=4"], ["cpus=1", "cpus=2"]):
        with pytest.raises(Invalid):
            command.settings_of(words)
    assert [setting_text(value) for value in (4, 1.5, "2G", None, True, False)] == [
        *("4", "1.5", "2G"),
        *("", "yes", "no"),
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("100M", 10**8), ("100Mbit", 10**8), ("1.5G", 15 * 10**8), ("64000", 64000), ("8kbit/s", 8000)],
)
def test_network_rates_are_decimal_bits(text: str, value: int) -> None:
    assert parse_bit_rate(text) == value
    assert parse_bit_rate(exact_bit_rate(value)) == value


@pytest.mark.parametrize("text", ["", "0", "-1", "10MB", "10MiB", "fast", "1e9", "٣M"])
def test_what_is_no_network_rate(text: str) -> None:
    with pytest.raises(Invalid):
        parse_bit_rate(text)


@pytest.mark.parametrize("value", [1, 1000, 1536 * MIB, GIB, 3 << 40, 1023])
def test_exact_sizes_read_back(value: int) -> None:
    assert parse_size(exact_size(value)) == value
