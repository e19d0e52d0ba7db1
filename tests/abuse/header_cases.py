"""Archives whose headers lie about numbers, lengths and encodings, or that are no archives at all."""

from tests.abuse import tars
from tests.abuse.archive_cases import COPIES, IMAGES, RAW, Archive, _raw
from tests.abuse.tars import DIR, END, FILE, body, header, pax, pax_raw, record

TOP = header(b"top/", kind=DIR, mode=0o755)
FILE_X = header(b"top/x", size=5) + body(b"evil\n")
EIGHT_EXBI = (1 << 63) - 512


def _pax(
    name: str, records: dict[str, bytes], *, refuse: frozenset[str] = RAW, kind: bytes = FILE
) -> Archive:
    return _raw(
        f"pax-{name}",
        TOP + pax(records) + header(b"top/x", size=5, kind=kind) + body(b"evil\n") + END,
        refuse=refuse,
    )


def numbers() -> list[Archive]:
    return [
        _pax("path-up", {"path": b"../outside/x"}),
        _pax("path-absolute", {"path": b"/tmp/yurt-abuse-x"}, refuse=COPIES),
        _pax("path-empty", {"path": b""}, refuse=IMAGES),
        _pax("size-huge", {"size": str(1 << 60).encode()}),
        _pax("size-beyond-63-bits", {"size": str(1 << 63).encode()}),
        _pax("size-of-400-digits", {"size": b"9" * 400}),
        _pax("size-negative", {"size": b"-1"}),
        _pax("size-is-text", {"size": b"many"}, refuse=frozenset({"cp-in"})),
        _pax("size-too-long", {"size": b"4000"}),
        _pax("size-with-sign", {"size": b"+5"}, refuse=frozenset()),
        _pax(
            "owner-all-ones",
            {"uid": str((1 << 32) - 1).encode()},
            refuse=frozenset({"rootfs", "layer", "cp-in"}),
        ),
        _pax("owner-negative", {"uid": b"-1"}, refuse=frozenset({"rootfs", "layer", "cp-in"})),
        _pax("owner-beyond", {"uid": str(1 << 70).encode()}, refuse=frozenset({"rootfs", "layer", "cp-in"})),
        _pax(
            "group-all-ones",
            {"gid": str((1 << 32) - 1).encode()},
            refuse=frozenset({"rootfs", "layer", "cp-in"}),
        ),
        _pax("time-nan", {"mtime": b"nan"}),
        _pax("time-infinite", {"mtime": b"inf"}),
        _pax("time-huge", {"mtime": b"1e300"}),
        _pax("time-negative-huge", {"mtime": b"-1e300"}),
        _pax("time-many-digits", {"mtime": b"1" * 4000}),
        _pax("binary-names", {"hdrcharset": b"BINARY", "path": b"top/\xff\xfe"}, refuse=frozenset()),
        _pax("unknown-charset", {"hdrcharset": b"ISO-IR 9999"}, refuse=frozenset()),
        _pax("linkpath-on-a-file", {"linkpath": b"/etc/shadow"}, refuse=frozenset()),
        _pax("capability-malformed", {"SCHILY.xattr.security.capability": b"\xff" * 100}, refuse=IMAGES),
        _pax("attribute-of-overlay", {"SCHILY.xattr.trusted.overlay.redirect": b"/etc"}, refuse=frozenset()),
        _pax("attribute-of-selinux", {"SCHILY.xattr.security.selinux": b"root"}, refuse=frozenset()),
        _pax("attribute-of-acl", {"SCHILY.xattr.system.posix_acl_access": b"\x02\0\0\0"}, refuse=frozenset()),
        _pax("attribute-of-100k", {"SCHILY.xattr.user.x": b"y" * 100_000}, refuse=IMAGES),
        _pax("attribute-with-long-name", {"SCHILY.xattr.user." + "n" * 400: b"y"}, refuse=IMAGES),
        _pax("sparse-0-0", {"GNU.sparse.size": b"9223372036854775807", "GNU.sparse.numblocks": b"1"}),
        _pax("sparse-0-1", {"GNU.sparse.size": b"9223372036854775807", "GNU.sparse.map": b"0,5"}),
        _pax(
            "sparse-1-0",
            {"GNU.sparse.major": b"1", "GNU.sparse.minor": b"0", "GNU.sparse.realsize": b"1099511627776"},
        ),
        _pax("sparse-map-negative", {"GNU.sparse.map": b"-5,5"}),
    ]


def records() -> list[Archive]:
    bad = {
        "length-huge": b"999999999 path=top/y\n",
        "length-zero": b"0 path=top/y\n",
        "length-negative": b"-5 path=top/y\n",
        "length-short": b"3 path=top/y\n",
        "length-missing": b" path=top/y\n",
        "length-of-400-digits": b"9" * 400 + b" path=top/y\n",
        "no-equals": b"12 pathtopy!\n",
        "no-newline": b"14 path=top/y!",
        "all-ff": b"\xff" * 512,
        "key-empty": b"8 =top/\n",
    }
    cases = [
        _raw(
            f"record-{name}",
            TOP + pax_raw(data) + FILE_X + END,
            refuse=frozenset({"cp-in"} if name != "key-empty" else ()),
        )
        for name, data in bad.items()
    ]
    chain = b"".join(pax({"comment": b"x"}) for _ in range(3000))
    cases += [
        _raw("pax-chain-of-3000", TOP + chain + FILE_X + END, refuse=frozenset()),
        _raw("pax-then-nothing", TOP + pax({"path": b"top/x"}), refuse=frozenset()),
        _raw("pax-then-end", TOP + pax({"path": b"top/x"}) + END, refuse=frozenset()),
        _raw(
            "pax-of-8-exbi",
            TOP + pax_raw(b"", size=tars.base256(EIGHT_EXBI)) + FILE_X + END,
            refuse=frozenset({"cp-in"}),
        ),
        _raw("pax-of-2-gib", TOP + pax_raw(b"", size=2 << 30) + FILE_X + END, refuse=frozenset({"cp-in"})),
        _raw(
            "pax-of-2-mib",
            TOP + pax_raw(record("comment", b"c" * (2 << 20))) + FILE_X + END,
            refuse=frozenset({"cp-in"}),
        ),
        _raw(
            "global-path-up",
            TOP + pax({"path": b"../outside/x"}, tars.PAX_GLOBAL) + FILE_X + END,
            refuse=frozenset(),
        ),
        _raw(
            "global-sparse",
            TOP + pax({"GNU.sparse.major": b"1"}, tars.PAX_GLOBAL) + FILE_X + END,
            refuse=frozenset(),
        ),
        _raw("global-size", TOP + pax({"size": b"1"}, tars.PAX_GLOBAL) + FILE_X + END, refuse=frozenset()),
        _raw(
            "100000-records",
            TOP + pax_raw(record("comment", b"") * 60_000) + FILE_X + END,
            refuse=frozenset(),
        ),
    ]
    return cases


def gnu() -> list[Archive]:
    def long(text: bytes, kind: bytes = tars.GNU_LONGNAME) -> bytes:
        return TOP + tars.gnu_long(text, kind) + header(b"short", size=5) + body(b"evil\n") + END

    link = (
        tars.gnu_long(b"/etc/shadow", tars.GNU_LONGLINK)
        + header(b"top/x", kind=tars.HARD, link=b"top/ok")
        + END
    )
    chain = b"".join(tars.gnu_long(b"top/x") for _ in range(3000))
    sparse = header(b"top/s", kind=tars.GNU_SPARSE, size=512, tail=bytes(41) + b"%011o\0%011o\0" % (0, 512))
    return [
        _raw("long-name-up", long(b"../outside/" + b"x" * 120)),
        _raw("long-name-empty", long(b""), refuse=frozenset()),
        _raw("long-name-of-100k", long(b"top/" + b"n/" * 50_000 + b"x")),
        _raw("long-link-of-a-hardlink", TOP + link),
        _raw(
            "long-name-of-2-gib",
            TOP + header(b"././@LongLink", size=2 << 30, kind=tars.GNU_LONGNAME) + FILE_X + END,
        ),
        _raw("long-name-chain-of-3000", TOP + chain + FILE_X + END, refuse=frozenset()),
        _raw("sparse-old", TOP + sparse + bytes(512) + END, refuse=RAW),
        _raw(
            "sparse-old-huge",
            TOP + sparse[:483] + tars.base256(1 << 62) + sparse[495:] + END,
            refuse=RAW - {"cp-out"},
        ),
        _raw("size-base256-negative", TOP + header(b"top/x", size=tars.base256(-512)) + END),
        _raw("size-base256-huge", TOP + header(b"top/x", size=tars.base256(EIGHT_EXBI)) + END),
        _raw("size-base256-beyond", TOP + header(b"top/x", size=b"\x80" + b"\xff" * 11) + END),
        _raw(
            "owner-base256-negative",
            TOP + header(b"top/x", uid=tars.base256(-2, 8)) + END,
            refuse=frozenset({"rootfs", "layer", "cp-in"}),
        ),
        _raw("mode-with-more-bits", TOP + header(b"top/x", mode=0o7777777) + END, refuse=frozenset()),
        _raw("size-on-a-folder", header(b"top/", kind=DIR, size=5) + body(b"evil\n") + END, refuse=IMAGES),
        _raw(
            "size-on-a-link",
            TOP + header(b"top/x", kind=tars.LINK, link=b"y", size=512) + FILE_X + END,
            refuse=frozenset(),
        ),
        _raw("size-8-tebi-of-nothing", TOP + header(b"top/x", size=0o77777777777) + END),
    ]


def damaged() -> list[Archive]:
    whole = TOP + FILE_X + header(b"top/z", size=5) + body(b"evil\n") + END
    flipped = bytearray(whole)
    flipped[1537] ^= 0x55
    return [
        _raw("nothing", b"", refuse=frozenset()),
        _raw("zeros", bytes(10240), refuse=frozenset()),
        _raw("random", bytes((7 * n * n + 3 * n) % 251 + 1 for n in range(8192))),
        _raw("text", b"this is no tar archive at all\n" * 200),
        _raw("first-checksum", header(b"top/x", checksum=1) + END),
        _raw("checksum-in-the-middle", bytes(flipped), refuse=RAW - {"cp-out"}),
        _raw("cut-in-a-header", whole[:1100], refuse=frozenset({"cp-in", "rootfs", "layer"})),
        _raw("cut-in-content", whole[:1026]),
        _raw("cut-after-a-header", whole[:1024]),
        _raw("gzip-of-nothing", b"\x1f\x8b\x08" + bytes(600)),
        _raw(
            "two-archives",
            whole + TOP + header(b"../outside/x", size=5) + body(b"evil\n") + END,
            refuse=frozenset(),
        ),
        _raw("number-is-text", TOP + header(b"top/x", size=b"lots!") + END, refuse=RAW - {"cp-out"}),
        _raw("half-magic", TOP + header(b"top/x", magic=b"ustar  \0") + END, refuse=frozenset()),
        _raw("old-magic", TOP + header(b"top/x", magic=bytes(8)) + END, refuse=frozenset()),
    ]
