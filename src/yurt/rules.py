"""Firewall rules and published ports as people write them. Pure, and quick to load: the command line uses it, too.

A rule is `allow-in tcp:22`, `deny-out all`, `allow-out 10.0.0.0/8:443`, `allow-out udp:[fd00::/8]:53`; a published port
is `8080:80`, `127.0.0.1:53:53/udp`, `[::1]:8080:80`. Here only the shape is looked at; the daemon checks what it means.
"""

from yurt.errors import Invalid

PROTOCOLS = ("tcp", "udp", "icmp", "all")
WORDS = ("allow-in", "deny-in", "allow-out", "deny-out")


def split(text: str) -> "list[str]":
    """The parts between colons; what stands in brackets is one part, without them. Raises Invalid."""
    parts, rest = [], text
    while True:
        if rest.startswith("["):
            inner, bracket, rest = rest[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise Invalid(f"a bracket is out of place in `{text}`")
            parts.append(inner)
            if not rest:
                return parts
            rest = rest[1:]
            continue
        part, colon, rest = rest.partition(":")
        parts.append(part)
        if not colon:
            return parts


def parse_rule(word: str, text: str) -> "dict[str, str]":
    """The fields of one rule, as the API takes them. `word` is one of `WORDS`. Raises Invalid."""
    action, _, direction = word.partition("-")
    if word not in WORDS:
        raise Invalid(f"`{word}` is not a kind of rule", hint=f"one of {', '.join(WORDS)}")
    parts = split(text.strip())
    protocol = parts.pop(0) if parts[0] in PROTOCOLS else "all"
    if len(parts) > 2 or "" in parts:
        raise _unclear(word, text)
    ports = parts.pop() if parts and _are_ports(parts[-1]) else ""
    if len(parts) > 1:
        raise _unclear(word, text)
    peer = parts[0] if parts else ""
    return {"direction": direction, "action": action, "protocol": protocol, "ports": ports, "peer": peer}


def _are_ports(text: str) -> bool:
    return text.replace(",", "").replace("-", "").isdecimal()


def _unclear(word: str, text: str) -> Invalid:
    return Invalid(
        f"`{word} {text}` is not a rule",
        hint="write PROTOCOL, ADDRESS or NAME, and PORTS with colons between, such as `tcp:22`, `10.0.0.0/8:443`, "
        "`[fd00::/8]:443`, `example.org:443`",
    )


def parse_rules(text: str) -> "list[dict[str, str]]":
    """Rules with semicolons between. Raises Invalid."""
    found = []
    for each in filter(None, (part.strip() for part in text.split(";"))):
        word, _, rest = each.partition(" ")
        found.append(parse_rule(word, rest or "all"))
    return found


def format_rule(direction: str, action: str, protocol: str, ports: str, peer: str) -> str:
    """A rule as `parse_rules` reads it."""
    parts = [protocol] if protocol != "all" or not (peer or ports) else []
    parts += [f"[{peer}]" if ":" in peer else peer] if peer else []
    return f"{action}-{direction} {':'.join([*parts, *([ports] if ports else [])])}"


def parse_publish(text: str) -> "dict[str, object]":
    """The fields of a published port: `[ADDRESS:]PORT[:GUEST-PORT][/tcp|/udp]`. Raises Invalid."""
    place, _, protocol = text.strip().partition("/")
    parts = split(place)
    address = "" if parts[0].isdecimal() else parts.pop(0)
    strange = address and not set(address) & {".", ":"}
    if strange or not 1 <= len(parts) <= 2 or not all(part.isdecimal() and len(part) < 6 for part in parts):
        raise Invalid(
            f"`{text}` is not a port to publish",
            hint="write [ADDRESS:]PORT:GUEST-PORT[/udp], such as 8080:80 or 127.0.0.1:8080:80; ranges are not taken",
        )
    if protocol not in ("", "tcp", "udp"):
        raise Invalid(f"`{protocol}` cannot be published", hint="only tcp and udp have ports")
    found: dict[str, object] = {"host_port": int(parts[0]), "guest_port": int(parts[-1])}
    found |= {"protocol": protocol} if protocol else {}
    return found | ({"host_address": address} if address else {})


def format_publish(host_address: str, host_port: int, guest_port: int, protocol: str) -> str:
    """A published port as `parse_publish` reads it."""
    address = f"[{host_address}]:" if ":" in host_address else f"{host_address}:" if host_address else ""
    return f"{address}{host_port}:{guest_port}" + ("" if protocol == "tcp" else f"/{protocol}")
