"""Rules and published ports as people write them, and what the daemon makes of them."""

import msgspec
import pytest

from yurt.engine.traffic import check_publish, check_rules, overlap
from yurt.errors import Invalid
from yurt.model.network import FirewallRule, PublishedPort
from yurt.rules import format_publish, format_rule, parse_publish, parse_rule, parse_rules


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("all", ("all", "", "")),
        ("tcp", ("tcp", "", "")),
        ("icmp", ("icmp", "", "")),
        ("tcp:22", ("tcp", "22", "")),
        ("22", ("all", "22", "")),
        ("udp:53,1000-2000", ("udp", "53,1000-2000", "")),
        ("10.0.0.0/8", ("all", "", "10.0.0.0/8")),
        ("10.0.0.0/8:443", ("all", "443", "10.0.0.0/8")),
        ("tcp:10.0.0.1:443", ("tcp", "443", "10.0.0.1")),
        ("[fd00::/8]:443", ("all", "443", "fd00::/8")),
        ("udp:[fd00::1]", ("udp", "", "fd00::1")),
        ("example.org:443", ("all", "443", "example.org")),
        ("*.example.org", ("all", "", "*.example.org")),
        ("all:443", ("all", "443", "")),
    ],
)
def test_rules_are_read(text: str, meaning: tuple[str, str, str]) -> None:
    found = parse_rule("allow-out", text)
    assert (found["protocol"], found["ports"], found["peer"]) == meaning
    assert parse_rules(format_rule(**found)) == [found]


@pytest.mark.parametrize("text", ["", ":", "tcp:", "10.0.0.1:80:90", "fd00::1", "[fd00::1", "tcp:udp:53:1"])
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(Invalid):
        parse_rule("allow-in", text)
    with pytest.raises(Invalid):
        parse_rule("allow", "all")


def test_a_list_of_rules_keeps_its_order() -> None:
    text = "deny-out all; allow-out 10.0.0.0/8:443; allow-in tcp:22"
    assert "; ".join(format_rule(**each) for each in parse_rules(text)) == text
    assert parse_rules(" ; ") == []


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("8080:80", {"host_port": 8080, "guest_port": 80}),
        ("80", {"host_port": 80, "guest_port": 80}),
        ("53:53/udp", {"host_port": 53, "guest_port": 53, "protocol": "udp"}),
        ("127.0.0.1:8080:80", {"host_address": "127.0.0.1", "host_port": 8080, "guest_port": 80}),
        (
            "[::1]:8080:80/udp",
            {"host_address": "::1", "host_port": 8080, "guest_port": 80, "protocol": "udp"},
        ),
    ],
)
def test_published_ports_are_read(text: str, fields: dict[str, object]) -> None:
    assert parse_publish(text) == fields
    port = msgspec.convert(fields, PublishedPort)
    written = format_publish(port.host_address, port.host_port, port.guest_port, port.protocol)
    assert parse_publish(written) == fields


@pytest.mark.parametrize(
    "text", ["", "a:b", "8000-8010:80", "::1:80:80", "1:2:3:4", "80:80/icmp", "999999:80", "80:"]
)
def test_what_cannot_be_published(text: str) -> None:
    with pytest.raises(Invalid):
        parse_publish(text)


def rule(text: str) -> FirewallRule:
    (fields,) = parse_rules(text)
    return msgspec.convert(fields, FirewallRule)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("allow-in tcp:22,80-90,85-100,23", "allow-in tcp:22-23,80-100"),
        ("allow-in 10.0.0.77/8:1", "allow-in 10.0.0.0/8:1"),
        ("allow-out 10.0.0.1", "allow-out 10.0.0.1/32"),
        ("allow-out [FD00::1]:5", "allow-out [fd00::1/128]:5"),
        ("allow-out 0.0.0.0/0", "allow-out 0.0.0.0/0"),
        ("allow-out Example.ORG.:443", "allow-out example.org:443"),
    ],
)
def test_rules_are_brought_into_one_form(text: str, written: str) -> None:
    (found,) = check_rules((rule(text),))
    fields = msgspec.to_builtins(found)
    assert format_rule(**fields) == written


@pytest.mark.parametrize(
    "text",
    [
        "allow-in tcp:0",
        "allow-in tcp:70000",
        "allow-in tcp:90-80",
        "allow-in icmp:8",
        "allow-in tcp:1-",
        "allow-in tcp:,",
        "allow-in example.org:443",
        "deny-out example.org",
        "allow-out icmp:example.org",
        "allow-out example.org:80-90",
        "allow-out exa_mple.org",
        "allow-out -a.org",
        "allow-out 10.0.0.0/99",
        "allow-out 1.2.3.4.5",
        "allow-out localhost",
        "allow-out *",
        "allow-out a.*.org",
    ],
)
def test_rules_without_sense_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        check_rules((rule(text),))


def test_published_ports_are_brought_into_one_form() -> None:
    def made(*texts: str) -> tuple[PublishedPort, ...]:
        return tuple(msgspec.convert(parse_publish(text), PublishedPort) for text in texts)

    assert check_publish(made("[0:0::1]:80:80"))[0].host_address == "::1"
    assert check_publish(made("0.0.0.0:80:80"))[0].host_address == "0.0.0.0"
    for texts in (("80:80", "80:81"), ("80:80", "127.0.0.1:80:81"), ("web:80:80",), ("224.0.0.1:80:80",)):
        with pytest.raises(Invalid):
            check_publish(made(*texts))
    assert len(check_publish(made("80:80", "80:80/udp", "81:80"))) == 3
    assert len(check_publish(made("127.0.0.1:80:80", "[::1]:80:80", "127.0.0.2:80:80"))) == 3


def test_which_published_ports_exclude_each_other() -> None:
    assert overlap("", "127.0.0.1")
    assert overlap("", "")
    assert overlap("0.0.0.0", "192.0.2.1")
    assert not overlap("0.0.0.0", "::1")
    assert not overlap("127.0.0.1", "127.0.0.2")
