"""The line in the kernel's log: one, whatever is in it, and none where there is no log to write to."""

from __future__ import annotations

from pathlib import Path

from oompolicy.backends.hook.kernel_log import LONGEST, say


def test_it_is_one_line_of_ours(tmp_path: Path) -> None:
    (tmp_path / "kmsg").touch()
    say("policy mine (0000abcd)\n<0>panic \x1b[2J", tmp_path / "kmsg")
    assert (tmp_path / "kmsg").read_text() == "<5>oompolicy: policy mine (0000abcd)?<0>panic ?[2J\n"


def test_it_is_not_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    """Beyond LOG_LINE_MAX a write is refused as a whole (kernel/printk/printk.c, devkmsg_write())."""
    (tmp_path / "kmsg").touch()
    say("x" * 5000, tmp_path / "kmsg")
    assert len((tmp_path / "kmsg").read_bytes()) < LONGEST + 20 < 1000


def test_where_there_is_none_nothing_is_said(tmp_path: Path) -> None:
    say("policy mine", tmp_path / "kmsg")
    assert list(tmp_path.iterdir()) == []
