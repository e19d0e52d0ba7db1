"""Where volumes and shares may be mounted, and what of the host may be shared."""

import pytest

from yurt.cli.volume import parse_use
from yurt.engine.resolve_volumes import checked_source, checked_target, checked_uses
from yurt.engine.volumemounts import volume_tag
from yurt.engine.volumeverbs import check_growth, resolved
from yurt.errors import Invalid, Unsupported
from yurt.model.instance import InstanceSpec, Kind
from yurt.model.names import Name
from yurt.model.volume import Share, Volume, VolumeForm, VolumeSpec, VolumeUse


@pytest.mark.parametrize(
    ("path", "wanted"),
    [("/srv/data", "/srv/data"), ("//srv//data/", "/srv/data"), ("/a/./b", "/a/b"), ("/a:b", "/a:b")],
)
def test_a_place_gets_its_normal_form(path: str, wanted: str) -> None:
    assert checked_target(path) == wanted


@pytest.mark.parametrize(
    "path",
    [
        "srv",
        "/",
        "//",
        "/proc",
        "/proc/self",
        "/dev/x",
        "/sys",
        "/etc",
        "/usr/",
        "/a/../etc",
        "/a\0b",
        "/a\nb",
        "",
    ],
)
def test_a_place_that_would_harm_the_guest_is_refused(path: str) -> None:
    with pytest.raises(Invalid):
        checked_target(path)


@pytest.mark.parametrize(
    "path", ["/", "//", "/.", "/proc", "/proc/1/root", "/sys/fs", "/dev", "/dev/shm", "x", "/a\0"]
)
def test_a_source_that_is_the_host_itself_is_refused(path: str) -> None:
    with pytest.raises(Invalid):
        checked_source(path)


def test_a_volume_or_a_place_twice_is_refused() -> None:
    use = VolumeUse(volume="data", path="/srv")
    with pytest.raises(Invalid, match="given twice"):
        checked_uses(InstanceSpec(image="tiny", volumes=(use, VolumeUse(volume="data", path="/x"))))
    with pytest.raises(Invalid, match="mounted at `/srv`"):
        checked_uses(
            InstanceSpec(
                image="tiny",
                kind=Kind.CONTAINER,
                volumes=(use,),
                shares=(Share(source="/home", target="/srv/"),),
            )
        )


def test_a_container_needs_a_place_for_a_volume() -> None:
    spec = InstanceSpec(image="tiny", kind=Kind.CONTAINER, volumes=(VolumeUse(volume="data"),))
    with pytest.raises(Invalid, match="where"):
        checked_uses(spec)


@pytest.mark.parametrize(
    ("text", "volume", "path", "read_only"),
    [
        ("data", "data", "", False),
        ("data:/srv", "data", "/srv", False),
        ("data:/srv:ro", "data", "/srv", True),
        ("data:/srv:rw", "data", "/srv", False),
        ("data:/a:b:ro", "data", "/a:b", True),
        ("data:ro", "data", "", True),
    ],
)
def test_a_use_is_read_as_written(text: str, volume: str, path: str, read_only: bool) -> None:
    assert parse_use(text) == {"volume": volume, "path": path, "read_only": read_only}


@pytest.mark.parametrize("text", ["", ":/srv", "data:srv"])
def test_a_use_without_name_or_with_a_relative_place_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_use(text)


def test_sizes_have_defaults_by_form() -> None:
    assert resolved(VolumeSpec(name="a")).size_bytes == 10 << 30
    assert resolved(VolumeSpec(name="a", form=VolumeForm.FILESYSTEM)).size_bytes is None
    with pytest.raises(Invalid, match="sectors"):
        resolved(VolumeSpec(name="a", size_bytes=(1 << 30) + 1))


def test_a_disk_is_known_by_a_name_that_fits_its_serial_number() -> None:
    resolved(VolumeSpec(name="a" * 20))
    with pytest.raises(Invalid, match="too long"):
        resolved(VolumeSpec(name="a" * 21))
    resolved(VolumeSpec(name="a" * 21, form=VolumeForm.FILESYSTEM))


def test_volumes_only_grow() -> None:
    volume = Volume(id="1", name=Name("data"), form=VolumeForm.BLOCK, size_bytes=1 << 30)
    check_growth(volume, 2 << 30)
    for size in (1 << 30, 1 << 29):
        with pytest.raises(Invalid, match="only grow"):
            check_growth(volume, size)
    with pytest.raises(Unsupported):
        check_growth(Volume(id="1", name=Name("t"), form=VolumeForm.FILESYSTEM, size_bytes=0), 1 << 30)


def test_no_two_volumes_have_one_tag() -> None:
    """Names are longer than tags: two that begin alike were once one and the same share in a machine."""
    longest = "a" * 29
    names = (longest, f"{longest}-1", f"{longest}-2", "0" * 12)
    found = [
        Volume(id=f"{n:012x}", name=Name(name), form=VolumeForm.FILESYSTEM, size_bytes=0)
        for n, name in enumerate(names)
    ]
    tags = [volume_tag(volume) for volume in found]
    assert len(set(tags)) == len(names) and all(0 < len(tag) <= 36 for tag in tags)
    assert tags[0] == f"volume-{longest}"
