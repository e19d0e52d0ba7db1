"""What `--network` means. The words become a document here; nothing behind the command line reads them again."""

from yurt.errors import Invalid

MODES = ("none", "user", "managed")
KEYS = {"ip": "ipv4", "ip4": "ipv4", "ip6": "ipv6", "mac": "mac"}


def network_wish(texts: "list[str]") -> "dict[str, object]":
    """`network` and `nics` of a wish, out of all that was given with `--network`. Raises Invalid."""
    if not texts:
        return {}
    if any(text in MODES for text in texts):
        if len(texts) > 1:
            raise Invalid(
                "`none` and `user` are no networks to be combined with others",
                hint="give `--network` once, or only names of networks",
            )
        return {"network": texts[0]}
    return {"network": "managed", "nics": [nic_wish(text) for text in texts]}


def nic_wish(text: str) -> "dict[str, object]":
    """One NIC: `NETWORK[,ip=ADDRESS][,ip6=ADDRESS][,mac=MAC]`. Raises Invalid."""
    name, *words = text.split(",")
    wish: dict[str, object] = {"network": name}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in KEYS or not equals or not value:
            raise Invalid(
                f"`--network {text}` cannot be understood at `{word}`",
                hint="write it as `NAME,ip=10.1.2.3,ip6=fd00::3,mac=52:54:00:12:34:56`",
            )
        if KEYS[key] in wish:
            raise Invalid(f"`--network {text}` gives `{key}` twice")
        wish[KEYS[key]] = value
    if not name:
        raise Invalid(f"`--network {text}` names no network", hint="see `yurt network ls`")
    return wish


def nic_line(nic: "dict[str, object]") -> str:
    """A NIC in one line of `yurt info`."""
    words = [nic.get("network"), nic.get("ipv4"), nic.get("ipv6"), nic.get("mac")]
    return " ".join(str(word) for word in words if word)


def first_address(spec: "dict[str, object]") -> str:
    """The address by which an instance is best reached; empty on user-mode networks."""
    nics = spec.get("nics")
    for nic in nics if isinstance(nics, list) else []:
        if isinstance(nic, dict) and (address := nic.get("ipv4") or nic.get("ipv6")):
            return str(address)
    return ""
