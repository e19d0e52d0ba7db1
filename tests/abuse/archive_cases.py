"""The hostile archives, each with a name, and who must refuse it. Whoever need not may take it, but harmlessly."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from tests.abuse import tars
from tests.abuse.oracles import World
from tests.abuse.tars import DIR, FILE, LINK, Member, file, folder, hard, link

IMAGES = frozenset({"rootfs", "layer"})
COPIES = frozenset({"cp-in", "cp-out"})
LIES = frozenset({"guest"})  # an agent that lies about what it reads
ALL = IMAGES | COPIES | LIES
RAW = IMAGES | COPIES  # for what only a tar's own headers can say


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One case. Either `members`, which a lying agent can send as well, or `raw` bytes of a tar."""

    name: str
    refuse: frozenset[str]
    members: Callable[[World], tuple[Member, ...]] | None = None
    raw: Callable[[World], bytes] | None = None
    importers: frozenset[str] = ALL

    def tar(self, world: World) -> bytes:
        if self.raw is not None:
            return self.raw(world)
        assert self.members is not None
        return tars.write(*self.members(world))


def _case(name: str, *members: Member, refuse: frozenset[str] = ALL, only: frozenset[str] = ALL) -> Archive:
    return Archive(name=name, refuse=refuse & only, members=lambda _: members, importers=only)


def _raw(name: str, data: bytes, *, refuse: frozenset[str] = RAW) -> Archive:
    return Archive(name=name, refuse=refuse, raw=lambda _: data, importers=RAW)


KINDS = {
    "file": lambda name: file(name),
    "folder": lambda name: folder(name),
    "link": lambda name: link(name, "victim"),
    "hardlink": lambda name: hard(name, "top/ok"),
    "pipe": lambda name: Member(name=name, kind=tars.FIFO),
    "device": lambda name: Member(name=name, kind=tars.CHAR, major=1, minor=3),
}
UPWARD = (
    "../outside/x",
    "top/../../outside/x",
    "./../outside/x",
    "top/a/../../../outside/x",
    "..",
    "top/..",
    "../",
    "//../outside/x",
    "top//..//..//outside/x",
    "../outside/victim",
    "top/../../../../../../../../../../../../tmp/x",
)


def names_that_lead_up() -> list[Archive]:
    return [
        _case(f"{kind}-named-{number}-{name}", folder("top"), file("top/ok"), KINDS[kind](name))
        for (number, name), kind in product(enumerate(UPWARD), KINDS)
    ]


def absolute_names() -> list[Archive]:
    def made(kind: str, where: Callable[[World], str]) -> Callable[[World], tuple[Member, ...]]:
        return lambda world: (folder("top"), file("top/ok"), KINDS[kind](where(world)))

    places: dict[str, Callable[[World], str]] = {
        "decoy": lambda world: f"{world.outside}/x",
        "victim": lambda world: str(world.outside / "victim"),
        "tmp": lambda world: str(world.absolute),
        "slashes": lambda world: f"///{world.absolute}",
    }
    return [
        Archive(
            name=f"absolute-{kind}-{place}",
            refuse=COPIES | LIES | (IMAGES if kind == "device" else frozenset()),
            members=made(kind, where),
        )
        for (place, where), kind in product(places.items(), KINDS)
    ]


def through_links() -> list[Archive]:
    """A link first, then a member through it."""
    targets: dict[str, Callable[[World], str]] = {
        "absolute": lambda world: str(world.outside),
        "up": lambda world: "../../outside",
        "parent": lambda world: "..",
        "root": lambda world: "/",
        "magic": lambda world: "/proc/self/cwd",
        "descriptor": lambda world: "/proc/self/fd/3",
        "chain": lambda world: "top/second",
    }

    def made(kind: str, where: Callable[[World], str]) -> Callable[[World], tuple[Member, ...]]:
        def members(world: World) -> tuple[Member, ...]:
            second = link("top/second", str(world.outside))
            return (
                folder("top"),
                file("top/ok"),
                second,
                link("top/way", where(world)),
                KINDS[kind]("top/way/x"),
            )

        return members

    return [
        # the agent follows links that stay below the directory that was named; `..` does
        Archive(
            name=f"{kind}-through-{place}-link",
            refuse=ALL - {"cp-in"}
            if place == "parent" and kind in ("file", "folder", "link", "hardlink")
            else ALL,
            members=made(kind, where),
        )
        for (place, where), kind in product(targets.items(), KINDS)
    ]


def through_links_of_before() -> list[Archive]:
    """The tree that is unpacked over holds links out (`prepare` in test_archives.py): a lower layer, or the user's own."""
    inner = {
        "file": (file("top/etc/x"),),
        "victim": (file("top/etc/victim"),),
        "pipe": (Member(name="top/etc/pipe", kind=tars.FIFO),),
        "deep": (file("top/etc/deep/er/file"),),
        "folder": (folder("top/etc/made"),),
        "link": (link("top/etc/made", "x"),),
        "hardlink": (file("top/ok"), hard("top/etc/made", "top/ok")),
        "parent": (file("top/up/outside/x"),),
        "linked-file-below": (file("top/secret/x"),),
    }
    older = ALL - {"rootfs"}  # which begins with an empty tree
    cases = [
        _case(f"{name}-through-an-older-link", folder("top"), *members, only=older)
        for name, members in inner.items()
    ]
    marks = {
        "whiteout": (file("top/etc/.wh.victim"),),
        "whiteout-of-secret": (file("top/etc/.wh.secret"),),
        "opaque": (file("top/etc/.wh..wh..opq"),),
        "opaque-parent": (file("top/up/.wh..wh..opq"),),
        "whiteout-up": (file("top/up/outside/.wh.deep"),),
    }
    cases += [
        _case(f"{name}-through-an-older-link", folder("top"), *members, only=frozenset({"layer"}))
        for name, members in marks.items()
    ]
    # here the link itself is replaced or changed: it must not be followed
    harmless = {
        "file-over-link": (file("top/secret"),),
        "link-over-link": (link("top/etc", "/"),),
        "mode-over-link": (file("top/secret", mode=0o777),),
    }
    cases += [_case(name, folder("top"), *members, refuse=frozenset()) for name, members in harmless.items()]
    return cases


def hard_links() -> list[Archive]:
    def to(where: Callable[[World], str]) -> Callable[[World], tuple[Member, ...]]:
        return lambda world: (folder("top"), hard("top/hard", where(world)), file("top/hard2"))

    targets: dict[str, Callable[[World], str]] = {
        "secret": lambda world: str(world.secret),
        "up": lambda world: "../outside/secret",
        "up-from-top": lambda world: "top/../../outside/secret",
        "shadow": lambda world: "/etc/shadow",
        "missing": lambda world: "top/nothing",
        "itself": lambda world: "top/hard",
        "folder": lambda world: "top",
        "dot": lambda world: ".",
        "through-older-link": lambda world: "top/etc/secret",
        "empty": lambda world: "",
    }
    cases = [
        Archive(name=f"hardlink-to-{name}", refuse=ALL, members=to(where)) for name, where in targets.items()
    ]
    cases.append(
        Archive(
            name="hardlink-to-a-link-then-written",
            refuse=COPIES & frozenset({"cp-out"}) | LIES,
            members=lambda world: (
                folder("top"),
                link("top/l", str(world.outside / "victim")),
                hard("top/h", "top/l"),
                file("top/h"),
            ),
        )
    )
    cases.append(
        Archive(
            name="hardlink-then-overwritten",
            refuse=frozenset({"cp-out"}) | LIES,
            members=lambda _: (
                folder("top"),
                file("top/a", b"first"),
                hard("top/b", "top/a"),
                file("top/b", b"second"),
            ),
        )
    )
    return cases


def kinds_and_modes() -> list[Archive]:
    device = {"char": tars.CHAR, "block": tars.BLOCKDEV}
    cases = []
    for what, kind in device.items():
        for name in ("top/x", "top/dev/x", "etc", "dev", "devices"):
            cases.append(
                _case(
                    f"{what}-device-{name}",
                    folder("top"),
                    Member(name=name, kind=kind, major=8, minor=1),
                    refuse=ALL if name != "dev" else COPIES | LIES,
                )
            )
        cases.append(
            _case(
                f"{what}-device-dev-null",
                Member(name="dev/x", kind=kind, major=1, minor=3),
                refuse=COPIES | LIES,
            )
        )
        cases.append(_case(f"{what}-overlay-whiteout", folder("dev"), Member(name="dev/gone", kind=kind)))
    for code in (b"7", b"8", b"s", b"V", b"M", b"A", b"Z", b"\xff", b"N"):
        cases.append(
            _raw(
                f"kind-{code.hex()}",
                tars.header(b"top/", kind=DIR) + tars.header(b"top/x", kind=code) + tars.END,
                refuse=frozenset(),
            )
        )
    for mode in (0o4755, 0o2755, 0o6777, 0o7777):
        cases.append(_case(f"mode-{mode:o}", folder("top"), file("top/x", mode=mode), refuse=frozenset()))
    cases.append(
        _case("folder-of-mode-0", folder("top", 0), file("top/x"), folder("top/y", 0), refuse=frozenset())
    )
    return cases


def odd_names() -> list[Archive]:
    deep = "/".join(["d"] * 300)
    return [
        _case("name-of-256", file("top/" + "n" * 256)),
        _case("name-of-5000", file("top/" + "n" * 5000)),
        _case("path-of-5000", folder("top"), file("top/" + "/".join(["n" * 200] * 25))),
        _case("deep-300", folder("top"), file(f"top/{deep}/x"), refuse=IMAGES),
        _case("deep-folders-300", *(folder("/".join(["top"] * n)) for n in range(1, 300)), refuse=IMAGES),
        _case("newline", folder("top"), file("top/a\nb"), refuse=IMAGES),
        _case("escape", folder("top"), file("top/\x1b[31mred"), refuse=IMAGES),
        _case("delete", folder("top"), file("top/a\x7f"), refuse=IMAGES),
        _case("carriage-return", folder("top"), file("top/a\rb"), refuse=IMAGES),
        _case("tab", folder("top"), file("top/a\tb"), refuse=IMAGES),
        _case("zero-byte", folder("top"), file("top/a\0b")),
        _case("zero-byte-up", folder("top"), file("top/a\0/../../../outside/x")),
        _case("not-utf-8", folder("top"), file("top/\udcff\udcfe"), refuse=frozenset()),
        _case("right-to-left", folder("top"), file("top/\u202egnp.exe"), refuse=frozenset()),
        _case(
            "dots-that-are-none",
            folder("top"),
            file("top/\uff0e\uff0e/x"),
            file("top/%2e%2e/x"),
            refuse=frozenset(),
        ),
        _case("backslashes", folder("top"), file("top/..\\..\\outside\\x"), refuse=frozenset()),
        _case("three-dots", folder("top"), file("top/.../x"), file("top/. ./x"), refuse=frozenset()),
        _case(
            "case-folds",
            folder("top"),
            folder("top/a"),
            link("top/A", "/"),
            file("top/a/x"),
            refuse=frozenset(),
        ),
        _case("root-is-a-file", Member(name=".", kind=FILE, data=b"x"), only=IMAGES),
        _case("root-is-a-link", Member(name="./", kind=LINK, link="/"), only=IMAGES),
        _case("link-to-nothing", folder("top"), link("top/x", "")),
        _case("link-of-5000", folder("top"), link("top/x", "t" * 5000)),
        _case("link-with-zero-byte", folder("top"), link("top/x", "a\0b"), refuse=frozenset()),
    ]


def duplicates() -> list[Archive]:
    def over(*rest: Member) -> tuple[Member, ...]:
        return (folder("top"), *rest)

    absolute: list[tuple[str, Callable[[World], tuple[Member, ...]], frozenset[str]]] = [
        (
            "link-then-file",
            lambda w: over(link("top/x", str(w.outside / "victim")), file("top/x")),
            frozenset(),
        ),
        (
            "link-then-folder",
            lambda w: over(link("top/x", str(w.outside)), folder("top/x"), file("top/x/victim")),
            frozenset({"cp-in", "cp-out", "guest"}),
        ),
        (
            "folder-then-link",
            lambda w: over(folder("top/x"), link("top/x", str(w.outside)), file("top/x/victim")),
            ALL,
        ),
        (
            "file-link-file",
            lambda w: over(file("top/x"), link("top/x", str(w.secret)), file("top/x")),
            frozenset(),
        ),
        (
            "link-link-file",
            lambda w: over(link("top/x", "y"), link("top/y", str(w.secret)), file("top/x/z")),
            ALL,
        ),
        ("file-then-inside", lambda w: over(file("top/x"), file("top/x/y")), frozenset()),
        (
            "folder-mode-after-link",
            lambda w: over(folder("top/x", 0o700), link("top/x", str(w.outside))),
            frozenset({"cp-in", "cp-out", "guest"}),
        ),
        (
            "top-becomes-link",
            lambda w: (folder("top"), file("top/a"), link("top", str(w.outside)), file("top/x")),
            ALL,
        ),
        ("same-file-2000-times", lambda w: over(*(file("top/x") for _ in range(2000))), frozenset()),
        (
            "flip-500-times",
            lambda w: over(*(m for _ in range(250) for m in (link("top/x", str(w.outside)), file("top/x")))),
            frozenset(),
        ),
    ]
    return [Archive(name=f"again-{name}", refuse=refuse, members=made) for name, made, refuse in absolute]


def whiteouts() -> list[Archive]:
    """Marks that only layers may have, and those that nobody may have."""
    bad = (".wh.", ".wh..", ".wh...", ".wh..wh.x", ".wh..wh.plnk", ".wh..wh..wh.x", ".wh..wh..opq.x")
    cases = [
        _case(f"mark-{name}", folder("top"), file(f"top/{name}"), refuse=IMAGES, only=IMAGES) for name in bad
    ]
    cases += [
        _case("mark-in-a-root-file-system", folder("top"), file("top/.wh.x"), only=frozenset({"rootfs"})),
        _case(
            "opaque-in-a-root-file-system",
            folder("top"),
            file("top/.wh..wh..opq"),
            only=frozenset({"rootfs"}),
        ),
        _case("opaque-root", file(".wh..wh..opq"), refuse=frozenset(), only=frozenset({"layer"})),
        _case("mark-up", file("../.wh.outside"), only=IMAGES),
        _case(
            "mark-as-folder",
            folder("top/.wh.x"),
            file("top/.wh.x/y"),
            refuse=frozenset({"rootfs"}),
            only=IMAGES,
        ),
        _case(
            "mark-as-link", folder("top"), link("top/.wh.y", "/"), refuse=frozenset({"rootfs"}), only=IMAGES
        ),
    ]
    return cases


def missing_rooms() -> list[Archive]:
    """What must be a directory in a root file system, and is not."""
    kinds: dict[str, Callable[[str, World], Member]] = {
        "link-out": lambda name, world: link(name, str(world.outside)),
        "link-in": lambda name, world: link(name, "usr"),
        "file": lambda name, world: file(name),
        "pipe": lambda name, world: Member(name=name, kind=tars.FIFO),
    }

    def made(name: str, kind: str) -> Callable[[World], tuple[Member, ...]]:
        return lambda world: (folder("usr"), file("usr/x"), kinds[kind](name, world))

    return [
        Archive(
            name=f"{name}-is-a-{kind}",
            refuse=frozenset({"rootfs"}),
            members=made(name, kind),
            importers=frozenset({"rootfs"}),
        )
        for name, kind in product(("dev", "proc", "sys", "etc", "run"), kinds)
    ]
