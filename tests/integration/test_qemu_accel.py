"""The probe's guest under real QEMU: TCG proves the guest, and this host's KVM gets an honest verdict."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from yurt.drivers.qemu import accel, guest64

QEMU = shutil.which("qemu-system-x86_64") or ""
pytestmark = pytest.mark.skipif(not QEMU, reason="needs qemu-system-x86_64")


def test_the_guest_itself_is_right() -> None:
    assert asyncio.run(accel.run_guest(QEMU, "tcg", deadline_s=60)) == ""


def test_a_guest_that_sees_the_wrong_page_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest64, "FIRST", guest64.SECOND)  # both windows show one page: the check must notice
    assert "fails (status 65)" in asyncio.run(accel.run_guest(QEMU, "tcg", deadline_s=60))


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="needs a /dev/kvm that opens")
def test_this_hosts_kvm_gets_a_verdict_with_a_reason(tmp_path: Path) -> None:
    found = asyncio.run(accel.probe(QEMU, tmp_path / "accel.json", "this-boot"))
    assert found.probed
    if found.name == "tcg":
        assert "/dev/kvm is there, but" in found.reason
    else:
        assert found.reason == "a 64-bit guest with paging runs on KVM"
