"""The journal: on disk before anything is changed, and readable whatever cut it short."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oompolicy.backends.oom_score_adj import journal as module
from oompolicy.backends.oom_score_adj.journal import Journal, boot_id
from oompolicy.backends.oom_score_adj.originals import Entry, Identity
from oompolicy.errors import BackendError


def entry(pid: int, *written: int, comm: str = "sort") -> Entry:
    return Entry(Identity(pid, 7), comm, 0, written, 12, "/a\nb", is_left=pid % 2 == 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def journal(folder: Path) -> Journal:
    opened = Journal(folder, "this boot")
    opened.lock()
    return opened


def read(folder: Path, boot: str = "this boot") -> dict[Identity, Entry]:
    return Journal(folder, boot).read()


def test_what_is_noted_is_read_again_and_the_last_line_counts(journal: Journal, folder: Path) -> None:
    odd = entry(3, 5, comm='a"\udcff\n')
    journal.note([entry(2, 999), odd])
    journal.note([entry(2, 999, 400)])
    assert read(folder) == {Identity(2, 7): entry(2, 999, 400), Identity(3, 7): odd}


def test_what_is_released_is_gone(journal: Journal, folder: Path) -> None:
    journal.note([entry(2, 999), entry(4, 1)])
    journal.note([], [Identity(2, 7)])
    assert set(read(folder)) == {Identity(4, 7)}


def test_another_boot_has_other_processes(journal: Journal, folder: Path) -> None:
    journal.note([entry(2, 999)])
    assert read(folder, "next boot") == {}


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_an_unfinished_last_line_does_not_count(journal: Journal, folder: Path, cut: int) -> None:
    journal.note([entry(2, 999), entry(4, 1)])
    journal.path.write_bytes(journal.path.read_bytes()[:-cut])
    assert Identity(2, 7) in read(folder)


def test_a_damaged_line_leaves_the_others(journal: Journal, folder: Path) -> None:
    journal.note([entry(2, 999), entry(4, 1), entry(6, 1)])
    lines = journal.path.read_bytes().split(b"\n")
    lines[2] = b"\0" * 40
    lines.insert(3, b'{"pid": 1}')
    journal.path.write_bytes(b"\n".join(lines))
    assert set(read(folder)) == {Identity(2, 7), Identity(6, 7)}


def test_a_file_of_another_version_is_not_guessed_at(folder: Path, journal: Journal) -> None:
    journal.path.write_text('{"journal": 2}\n')
    with pytest.raises(BackendError, match="the version that wrote it"):
        read(folder)


def test_no_file_is_no_entries(folder: Path) -> None:
    assert read(folder) == {}


def test_replacing_and_tidying_keep_what_counts(
    journal: Journal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLACK_LINES", 3)
    for adj in range(9):
        journal.note([entry(2, adj)])
    journal.tidy({Identity(2, 7): entry(2, 8)})
    assert len(journal.path.read_text().splitlines()) == 2
    journal.note([entry(4, 1)])
    assert set(read(folder)) == {Identity(2, 7), Identity(4, 7)}


def test_removing(journal: Journal, folder: Path) -> None:
    journal.note([entry(2, 9)])
    journal.remove()
    assert read(folder) == {}
    journal.remove()
    journal.note([entry(4, 9)])
    assert set(read(folder)) == {Identity(4, 7)}


def test_a_full_disk_is_said_before_anything_is_changed(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(BackendError, match="No space left on device"):
        journal.note([entry(2, 9)])


def test_two_at_once_are_refused_and_the_first_is_named(journal: Journal, folder: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom oompolicy.backends.oom_score_adj.journal import Journal\n"
        "try: Journal(Path(sys.argv[1]), '').lock()\nexcept Exception as error: print(error)"
    )
    command = [sys.executable, "-c", program, str(folder)]
    refused = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"another oompolicy (pid {os.getpid()}) is at work there" in refused
    journal.unlock()
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_a_folder_that_others_can_write_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(BackendError, match="others can write there"):
        Journal(folder, "").lock()


def test_a_link_or_a_file_in_its_place_is_refused(folder: Path, tmp_path: Path) -> None:
    folder.symlink_to(tmp_path)
    with pytest.raises(BackendError):
        Journal(folder, "").lock()
    (tmp_path / "file").touch()
    with pytest.raises(BackendError):
        Journal(tmp_path / "file", "").lock()


def test_this_boot_has_a_name() -> None:
    assert len(boot_id()) == 36
