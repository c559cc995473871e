"""Files of cgroups that are set for a time: on disk before, put back after, whatever happens between."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.kill.arena import Arena, arena_in, v2_hierarchy
from oompolicy.backends.kill.actions import restore_changes
from oompolicy.backends.kill.changes import JOURNAL_NAME, Changes
from oompolicy.backends.state_folder import boot_id, lock_folder
from oompolicy.errors import BackendError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what a v2 hierarchy looks like."""
    (tmp_path / "cgroups/batch").mkdir(parents=True)
    (tmp_path / "cgroups/batch/memory.high").write_text("max\n")
    return tmp_path


def opened(tree: Path, boot: str = "this boot") -> Changes:
    return Changes(tree / "cgroups", tree / "state", boot)


def high(tree: Path) -> str:
    return (tree / "cgroups/batch/memory.high").read_text().strip()


def test_what_was_set_is_undone_when_its_time_is_over_and_not_before(tree: Path) -> None:
    changes = opened(tree)
    changes.set("/batch", "memory.high", "4096", 1_000)
    assert high(tree) == "4096"
    assert changes.next_due_ms() == 1_000
    assert list(changes.undo_due(999)) == []
    assert list(changes.undo_due(1_000)) == ["cgroup /batch: memory.high is max again"]
    assert high(tree) == "max"
    assert changes.next_due_ms() is None
    assert list(changes.undo_all()) == []
    assert not (tree / "state" / JOURNAL_NAME).exists()


def test_set_again_the_first_original_counts(tree: Path) -> None:
    changes = opened(tree)
    changes.set("/batch", "memory.high", "8192", 1_000)
    changes.set("/batch", "memory.high", "4096", 2_000)
    assert list(changes.undo_due(1_500)) == []
    assert list(changes.undo_all()) == ["cgroup /batch: memory.high is max again"]
    assert high(tree) == "max"


def test_what_somebody_else_has_set_since_is_theirs(tree: Path) -> None:
    changes = opened(tree)
    changes.set("/batch", "memory.high", "4096", None)
    (tree / "cgroups/batch/memory.high").write_text("12345\n")
    assert list(changes.undo_all()) == ["cgroup /batch: somebody set memory.high to 12345: left so"]
    assert high(tree) == "12345"


def test_another_cgroup_of_that_path_is_not_touched(tree: Path) -> None:
    changes = opened(tree)
    changes.set("/batch", "memory.high", "4096", None)
    (tree / "cgroups/batch").rename(tree / "cgroups/old")
    shutil.copytree(tree / "cgroups/old", tree / "cgroups/batch")
    assert list(changes.undo_all()) == ["cgroup /batch: has gone, and memory.high with it"]
    assert high(tree) == "4096"


def test_a_cgroup_that_has_gone_is_no_trouble(tree: Path) -> None:
    changes = opened(tree)
    changes.set("/batch", "memory.high", "4096", None)
    shutil.rmtree(tree / "cgroups/batch")
    assert list(changes.undo_all()) == ["cgroup /batch: has gone, and memory.high with it"]
    with pytest.raises(FileNotFoundError):
        changes.set("/batch", "memory.high", "4096", None)


def test_after_a_kill_9_the_journal_puts_it_back(tree: Path) -> None:
    opened(tree).set("/batch", "memory.high", "4096", 1_000)
    assert restore_changes(opened(tree), tree / "state") == ("cgroup /batch: memory.high is max again",)
    assert high(tree) == "max"
    assert restore_changes(opened(tree), tree / "state") == ()


def test_killed_between_the_journal_and_the_file_nothing_is_wrong(tree: Path) -> None:
    opened(tree).set("/batch", "memory.high", "4096", 1_000)
    (tree / "cgroups/batch/memory.high").write_text("max\n")
    assert restore_changes(opened(tree), tree / "state") == ("cgroup /batch: memory.high is max again",)


def test_of_another_boot_nothing_is_left_to_undo(tree: Path) -> None:
    opened(tree).set("/batch", "memory.high", "4096", None)
    assert restore_changes(opened(tree, "next boot"), tree / "state") == ()
    assert high(tree) == "4096"


def test_the_next_daemon_takes_over_and_undoes(tree: Path) -> None:
    opened(tree).set("/batch", "memory.high", "4096", 1_000)
    second = opened(tree)
    assert second.take_over() == 1
    assert list(second.undo_all()) == ["cgroup /batch: memory.high is max again"]


def test_while_a_daemon_is_at_work_nothing_is_restored(tree: Path) -> None:
    opened(tree).set("/batch", "memory.high", "4096", None)
    lock = lock_folder(tree / "state")
    with pytest.raises(BackendError, match="is at work there: stop it first"):
        restore_changes(opened(tree), tree / "state")
    os.close(lock)
    assert high(tree) == "4096"


def test_a_full_disk_is_said_before_anything_is_changed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = opened(tree)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("oompolicy.backends.state_folder.os.fsync", full)
    with pytest.raises(BackendError, match="No space left on device"):
        changes.set("/batch", "memory.high", "4096", None)
    assert high(tree) == "max"


def test_damaged_and_hostile_lines_are_passed_over(tree: Path) -> None:
    opened(tree).set("/batch", "memory.high", "4096", None)
    journal = tree / "state" / JOURNAL_NAME
    (tree / "cgroups/x").mkdir()
    (tree / "cgroups/x/cgroup.procs").write_text("")
    for line in (
        '{"cgroup": "/x", "inode": 1}',
        '{"cgroup": "/x/../..", "inode": 1, "file": "memory.high", "original": "1", "written": "2"}',
        '{"cgroup": "/x", "inode": 1, "file": "cgroup.procs", "original": "1", "written": ""}',
        '{"cgroup": "/batch", "inode',
    ):
        journal.write_text(journal.read_text() + line + "\n")
    assert restore_changes(opened(tree), tree / "state") == ("cgroup /batch: memory.high is max again",)


@pytest.fixture
def v2() -> Iterator[Arena]:
    with arena_in(v2_hierarchy()) as arena:
        yield arena


@pytest.mark.root
def test_a_cgroup_frozen_by_a_daemon_that_was_killed_is_thawed(v2: Arena, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from oompolicy.backends.kill.changes import Changes\nfrom oompolicy.backends.state_folder import boot_id\n"
        "changes = Changes(Path(sys.argv[1]), Path(sys.argv[2]), boot_id())\n"
        "changes.set(sys.argv[3], 'cgroup.freeze', '1', None)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    state = tmp_path / "state"
    command = [sys.executable, "-c", program, str(v2.hierarchy.directory), str(state), v2.scope]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    frozen = v2.memcg.path / "cgroup.freeze"
    assert frozen.read_text() == "1\n"
    lines = restore_changes(Changes(v2.hierarchy.directory, state, boot_id()), state)
    assert lines == (f"cgroup {v2.scope}: cgroup.freeze is 0 again",)
    assert frozen.read_text() == "0\n"
