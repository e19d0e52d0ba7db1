"""Finds the package sources of the host that a Debian image can use too.

Source: sources.list(5), both the one-line and the deb822 form.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from yurt.host import proc

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_USER_INFO = re.compile(r"(?<=://)[^/@\s]*@")
_PROXY_NAMES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")
_PROXY = re.compile(r'^Acquire::(?:http|https|ftp)::Proxy\S* "[^"\n]*";$', re.MULTILINE)


def host_sources(folder: Path, suite: str) -> str:
    """Return deb822 stanzas of the host's own Debian sources for `suite` (with its -updates and -security).

    `folder` is /etc/apt. Sources of third parties stay out: only component `main` and Debian's own keyring count.
    Empty when the host has none, as on another distribution.
    """
    found: dict[str, None] = {}
    for path in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]:
        if not path.is_file() or path.suffix not in {".list", ".sources"}:
            continue
        text = path.read_text(errors="replace")
        stanzas = _deb822(text) if path.suffix == ".sources" else _one_line(text)
        for stanza in stanzas:
            if rendered := _usable(stanza, suite):
                found[rendered] = None
    return "\n".join(found)


def without_secrets(text: str) -> str:
    """The same sources without user names and passwords in their addresses."""
    return _USER_INFO.sub("", text)


def proxy_environment() -> dict[str, str]:
    """The proxy variables of our own environment, for programs that fetch."""
    return {
        name: value
        for base in _PROXY_NAMES
        for name in (base, base.upper())
        if (value := os.environ.get(name))
    }


async def proxy_options() -> tuple[str, ...]:
    """The host's own apt proxy settings, as options for mmdebstrap; the finished image does not keep them."""
    shown = await proc.run(["apt-config", "dump"], timeout_s=30, check=False)
    return tuple(
        line.removesuffix(";") + ";" for line in _PROXY.findall(shown.stdout.decode(errors="replace"))
    )


def _deb822(text: str) -> Iterator[dict[str, str]]:
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                if name:
                    fields[name] += "\n" + line.rstrip()
                continue
            name, colon, value = line.partition(":")
            name = name.strip().lower() if colon else ""
            if name:
                fields[name] = value.strip()
        if fields:
            yield fields


def _one_line(text: str) -> Iterator[dict[str, str]]:
    for line in text.splitlines():
        found = re.match(r"^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]*)", line)
        if found:
            options = dict(word.split("=", 1) for word in (found[1] or "").split() if "=" in word)
            yield {
                "types": "deb",
                "uris": found[2],
                "suites": found[3],
                "components": found[4].strip(),
                **({"signed-by": options["signed-by"]} if "signed-by" in options else {}),
            }


def _usable(stanza: dict[str, str], suite: str) -> str:
    suites = [
        s for s in stanza.get("suites", "").split() if s in {suite, f"{suite}-updates", f"{suite}-security"}
    ]
    keyring = stanza.get("signed-by", "")
    disabled = stanza.get("enabled", "yes").lower() in {"no", "false", "0"}
    if disabled or "deb" not in stanza.get("types", "").split() or not suites:
        return ""
    if "main" not in stanza.get("components", "").split() or (keyring and "debian-archive" not in keyring):
        return ""
    uris = " ".join(uri for uri in stanza.get("uris", "").split() if uri.startswith(("http://", "https://")))
    if not uris:
        return ""
    return (
        f"Types: deb\nURIs: {uris}\nSuites: {' '.join(suites)}\n"
        f"Components: {stanza['components']}\nSigned-By: {_KEYRING}\n"
    )
