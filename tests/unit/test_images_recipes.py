"""Recipes: the files that ship, the package sources they use, and how a finished tree is put in order."""

from pathlib import Path

import pytest

from yurt.errors import Invalid, NotFound
from yurt.host.data import data_path
from yurt.images.recipes import MMDEBSTRAP_STEPS, Recipe, finish_tree, read_recipe, recipe_names
from yurt.images.sources import host_sources, proxy_environment, without_secrets
from yurt.units import parse_size

SHIPPED = data_path("recipes")


@pytest.mark.parametrize("name", ["tiny", "debian"])
def test_each_recipe_that_ships_is_in_form(name: str) -> None:
    recipe = read_recipe(SHIPPED, name)
    assert recipe.description
    assert recipe.init == "/sbin/init"
    assert parse_size(recipe.needed) >= 1 << 20
    for path in (*recipe.remove, *recipe.empty, *recipe.directories, *recipe.links, *recipe.modes):
        assert not path.startswith("/")
        assert ".." not in path.split("/")
    for path in recipe.modes:
        assert (SHIPPED / name / "files" / path).is_file()


def test_only_debian_is_systemd() -> None:
    assert [name for name in recipe_names(SHIPPED) if read_recipe(SHIPPED, name).systemd] == ["debian"]


def test_progress_never_runs_backwards() -> None:
    shares = [share for _, _, share in MMDEBSTRAP_STEPS]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] < 1


@pytest.mark.parametrize("name", ["", "ubuntu", "../tiny", "tiny/..", "TINY"])
def test_an_unknown_recipe_names_the_known(name: str) -> None:
    with pytest.raises(NotFound) as caught:
        read_recipe(SHIPPED, name)
    assert "`tiny`" in caught.value.hint


def test_a_recipe_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "recipe.toml").write_text(
        'description = "x"\nbuilder = "busybox"\nneeded = "1M"\ncolour = "red"\n'
    )
    with pytest.raises(Invalid, match="colour"):
        read_recipe(tmp_path, "odd")


def test_a_tree_is_put_in_order(tmp_path: Path) -> None:
    tree, files = tmp_path / "tree", tmp_path / "files"
    for name in (
        "etc/hostname",
        "run/left/over",
        "etc/systemd/system/timers.target.wants/a.timer",
        "etc/shadow",
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("the host's")
    (files / "etc").mkdir(parents=True)
    (files / "etc/shadow").write_text("ours")
    (files / "etc/shadow").chmod(0o777)
    (files / "etc/plain").write_text("ours")
    recipe = Recipe(
        description="",
        builder="busybox",
        needed="1M",
        remove=("etc/hostname", "run/*", "not/there"),
        empty=("etc/machine-id",),
        directories=("tmp:1777", "srv"),
        links={"var/run": "../run"},
        modes={"etc/shadow": "640"},
        disable=("a.timer", "not-there.timer"),
        mask=("b.service",),
    )
    finish_tree(recipe, files, tree)
    assert sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir()) == [
        *("etc/machine-id", "etc/plain", "etc/shadow", "etc/systemd/system/b.service"),
    ]
    assert (tree / "etc/shadow").read_text() == "ours"
    assert (tree / "etc/shadow").stat().st_mode & 0o7777 == 0o640
    assert (tree / "etc/plain").stat().st_mode & 0o7777 == 0o644
    assert (tree / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (tree / "var/run").readlink() == Path("../run")
    assert (tree / "etc/systemd/system/b.service").readlink() == Path("/dev/null")
    assert list((tree / "run").iterdir()) == []


DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://one.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://third.example/
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 somebody else's
"""
LINES = """\
deb http://two.example/debian bookworm main # words
deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.gpg] https://docker.example/linux bookworm stable
deb-src http://src.example/debian bookworm main
deb cdrom:[Debian]/ bookworm main
deb http://old.example/debian bullseye main
"""


def sources(folder: Path, **files: str) -> str:
    (folder / "sources.list.d").mkdir(parents=True)
    for name, text in files.items():
        place = (
            folder / "sources.list" if name == "main" else folder / "sources.list.d" / name.replace("_", ".")
        )
        place.write_text(text)
    return host_sources(folder, "bookworm")


def test_the_hosts_own_debian_sources_are_found_in_both_forms(tmp_path: Path) -> None:
    found = sources(tmp_path / "apt", main=LINES, debian_sources=DEB822, old_disabled=DEB822)
    uris = [line for line in found.splitlines() if line.startswith("URIs")]
    assert uris == ["URIs: http://two.example/debian", "URIs: http://one.example/debian"]
    assert "Suites: bookworm bookworm-updates\nComponents: main contrib\n" in found
    assert found.count("Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg") == 2


def test_another_distribution_has_none(tmp_path: Path) -> None:
    assert sources(tmp_path / "apt", main="deb http://x.example/ubuntu noble main universe\n") == ""
    assert host_sources(tmp_path / "nowhere", "bookworm") == ""


def test_passwords_do_not_get_into_an_image() -> None:
    text = "URIs: https://me:secret@private.example/debian http://plain.example/debian\n"
    assert without_secrets(text) == "URIs: https://private.example/debian http://plain.example/debian\n"


def test_proxies_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert proxy_environment() == {}
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert proxy_environment() == {"http_proxy": "http://proxy.example:3128", "NO_PROXY": "localhost"}
