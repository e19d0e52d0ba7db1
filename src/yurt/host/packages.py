"""The list of system packages (tools/packages.txt) that the launcher installs and `yurt doctor` explains."""

import msgspec


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list: a Debian package, the program or file it is there for, and the parts of yurt that need it."""

    name: str
    need: str
    parts: tuple[str, ...]
    why: str


def parse_packages(text: str) -> tuple[Package, ...]:
    """Read the list; its form is explained in its own head. Raises ValueError for a line that is short. Pure."""
    found = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, need, parts, why = line.split(maxsplit=3)
        found.append(Package(name=name, need=need, parts=tuple(parts.split(",")), why=why))
    return tuple(found)


def missing_packages(
    packages: tuple[Package, ...], tools: dict[str, str], *parts: str
) -> tuple[Package, ...]:
    """Return those that a part of yurt (or, without parts, any of them) needs and that `tools` does not have. Pure."""
    return tuple(
        package
        for package in packages
        if package.need not in tools and (not parts or set(parts) & set(package.parts))
    )


def install_command(packages: tuple[Package, ...]) -> str:
    """The command that installs them, ready to paste; empty when there is nothing to install."""
    names = " ".join(sorted({package.name for package in packages}))
    return f"apt-get install --no-install-recommends {names}" if names else ""
