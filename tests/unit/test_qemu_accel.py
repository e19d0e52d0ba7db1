"""The accelerator's verdict: kept for one boot, overruled by the user, and sound in its own image."""

import asyncio
import stat
import struct
from pathlib import Path

import pytest

from yurt.drivers.qemu import accel, guest64
from yurt.errors import Unsupported
from yurt.model.host import Accelerator
from yurt.model.instance import AccelMode

TCG = Accelerator(name="tcg", reason="/dev/kvm is there, but it hangs")
KVM = Accelerator(name="kvm", reason="works")


@pytest.fixture(autouse=True)
def no_jail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs in QEMU's place write down that they ran, which no jail lets them."""
    monkeypatch.setattr(accel, "jailed", lambda: False)


def fake_qemu(directory: Path, script: str) -> str:
    """A program in QEMU's place that counts its runs."""
    path = directory / "qemu"
    path.write_text(f'#!/bin/sh\necho run >> "{directory}/runs"\n{script}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def runs(directory: Path) -> int:
    return len((directory / "runs").read_text().splitlines()) if (directory / "runs").exists() else 0


def test_the_image_is_an_elf_with_a_pvh_entry() -> None:
    image = guest64.image()
    assert image[:6] == b"\x7fELF\x02\x01"
    count = struct.unpack_from("<H", image, 56)[0]
    headers = [struct.unpack_from("<IIQQQQQQ", image, 64 + 56 * n) for n in range(count)]
    (load,) = [h for h in headers if h[0] == 1]
    (note,) = [h for h in headers if h[0] == 4]
    assert len(image) == load[2] + load[5]
    assert image[note[2] :][: note[5]] == struct.pack("<III4sI", 4, 4, 18, b"Xen\0", load[4])
    assert image[load[2]] == 0xFC  # the entry is the first instruction, not padding


def test_the_code_fits_where_it_is_jumped_to() -> None:
    assert len(guest64.protected_mode_code()) <= guest64.LONG_MODE
    assert len(guest64.long_mode_code()) <= guest64.GDT - guest64.LONG_MODE


@pytest.mark.parametrize(
    ("script", "name", "words"),
    [
        (f"exit {guest64.GOOD_STATUS}", "kvm", "runs on KVM"),
        (f"exit {2 * guest64.BAD + 1}", "tcg", "fails (status 65)"),
        (
            "echo 'qemu: failed to initialize kvm: No such device' >&2; exit 1",
            "tcg",
            "failed to initialize kvm",
        ),
        ("exec sleep 60", "tcg", "hangs or crawls"),
    ],
)
def test_the_verdict_says_what_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, name: str, words: str
) -> None:
    monkeypatch.setattr(accel, "DEADLINE_S", 0.3)
    device = tmp_path / "kvm"
    device.touch()
    device.chmod(0o666)
    found = asyncio.run(accel.find_accelerator(fake_qemu(tmp_path, script), device))
    assert (found.name, found.probed) == (name, True)
    assert words in found.reason


def test_without_the_device_no_guest_is_run(tmp_path: Path) -> None:
    found = asyncio.run(accel.find_accelerator(fake_qemu(tmp_path, "exit 33"), tmp_path / "absent"))
    assert found.name == "tcg" and "absent" in found.reason
    assert runs(tmp_path) == 0


def test_the_verdict_holds_for_one_boot_and_one_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device, cache = tmp_path / "kvm", tmp_path / "accel.json"
    device.touch()
    device.chmod(0o666)
    monkeypatch.setattr(accel.find_accelerator, "__defaults__", (device,))
    qemu = fake_qemu(tmp_path, f"exit {guest64.GOOD_STATUS}")

    async def story() -> None:
        first = await accel.probe(qemu, cache, "boot-1")
        assert await accel.probe(qemu, cache, "boot-1") == first
        assert runs(tmp_path) == 1
        await accel.probe(qemu, cache, "boot-2")
        assert runs(tmp_path) == 2
        await accel.probe(qemu, cache, "boot-2", force=True)
        assert runs(tmp_path) == 3
        cache.write_bytes(b"{broken")
        assert await accel.probe(qemu, cache, "boot-2") == first
        assert runs(tmp_path) == 4

    asyncio.run(story())


def test_the_users_word_beats_the_verdict(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    device.touch()
    assert accel.choose(AccelMode.AUTO, TCG, device) == TCG
    assert accel.choose(AccelMode.TCG, KVM, device).name == "tcg"
    assert accel.choose(AccelMode.KVM, KVM, device) == KVM
    forced = accel.choose(AccelMode.KVM, TCG, device)
    assert forced.name == "kvm" and TCG.reason in forced.reason


def test_kvm_on_a_host_without_it_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(Unsupported) as refused:
        accel.choose(AccelMode.KVM, TCG, tmp_path / "absent")
    assert "--accel tcg" in refused.value.hint
