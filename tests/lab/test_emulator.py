"""A guest that died of its emulator is told from one that died of its kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import guest
from lab.emulator import emulator_fault, has_the_fault
from lab.guest import SCRIPT_STARTS, Ended, GuestResult, why_again

# A stock 6.12 in a storm of attaching; its last lines were kept, and the head is as that kernel words it. Where the
# trap was, memory held the call that had taken the breakpoint's place.
STALE = """\
lab: the script starts
[  280.775870] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI
[  280.775880] CPU: 1 UID: 0 PID: 31882 Comm: hog Tainted: G           OE      6.12.117+deb12-cloud-amd64 #1  Debian
[  280.775890] RIP: 0010:oom_policy_begin+0x5/0x10 [oom_policy]
[  280.775900] Code: 90 90 90 90 90 66 0f 1f 00 e8 <a7> 0e e0 ff c3 cc cc cc cc 66 90 90 90 90 90 90 90
[  280.792870] Kernel panic - not syncing: Fatal exception in interrupt
"""
KERNELS_OWN = STALE.replace("00 e8 <a7>", "00 cc <a7>")
OTHER = STALE.replace("int3: 0000", "general protection fault, probably for non-canonical address 0x1: 0000")
SECOND = OTHER + STALE.replace("[#1]", "[#2]")


def ended(console: str, how: Ended = Ended.DIED) -> GuestResult:
    return GuestResult(how, None, "6.12", "", "", console, 1.0)


def test_a_breakpoint_that_is_not_there_is_the_emulators() -> None:
    assert emulator_fault(STALE) == "Oops: int3: 0000 [#1] PREEMPT SMP NOPTI"
    assert emulator_fault(STALE.replace("Oops: int3", "int3")) == "int3: 0000 [#1] PREEMPT SMP NOPTI"  # before 6.11


@pytest.mark.parametrize("console", [KERNELS_OWN, OTHER, SECOND, "", SCRIPT_STARTS])
def test_all_else_is_the_kernels(console: str) -> None:
    assert emulator_fault(console) is None


@pytest.mark.parametrize(
    ("version", "is_old"), [("7.2.22 (Debian 1:7.2)", True), ("8.0.4", True), ("8.1.0", False), ("10.0.2", False)]
)
def test_the_version_tells_whether_it_can_be(tmp_path: Path, version: str, is_old: bool) -> None:
    emulator = tmp_path / "qemu"
    emulator.write_text(f"#!/bin/sh\necho 'QEMU emulator version {version}'\n")
    emulator.chmod(0o755)
    assert has_the_fault(str(emulator)) is is_old
    assert not has_the_fault(str(tmp_path / "none"))


def test_only_who_died_of_that_is_booted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "has_the_fault", lambda command: True)
    assert why_again(ended(STALE)) == "Oops: int3: 0000 [#1] PREEMPT SMP NOPTI"
    assert why_again(ended(STALE, Ended.TIME_LIMIT)) is None
    assert why_again(ended(STALE, Ended.SCRIPT_DONE)) is None
    assert why_again(ended(KERNELS_OWN)) is None
    assert why_again(ended("[ 0.1] nothing yet")) == "it did not come up"
    monkeypatch.setattr(guest, "has_the_fault", lambda command: False)
    assert why_again(ended(STALE)) is None
