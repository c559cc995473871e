"""The record of kills: what is appended is read again, whatever has happened to the file meanwhile."""

from __future__ import annotations

import json
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kill_entries import KILL
from oompolicy.errors import SourceError
from oompolicy.rules.rule import Victim
from oompolicy.service.history import (
    VICTIMS_MAX,
    WORDS_MAX,
    Entry,
    History,
    entries_of,
    last_change,
    read_history,
)

KEYS = [
    "time_ms", "by", "rule", "action", "scope", "victims", "killed", "cgroup", "why", "freed_bytes", "failed",
    "dry_run",
]  # fmt: skip


@pytest.fixture
def said() -> list[str]:
    return []


@contextmanager
def history(folder: Path, said: list[str], limit_bytes: int = 256 << 10) -> Iterator[History]:
    found = History(folder, said.append, limit_bytes)
    try:
        yield found
    finally:
        found.close()


def number(of: int) -> Entry:
    return KILL._replace(time_ms=of)


def times(folder: Path) -> list[int | None]:
    return [entry.time_ms for entry in read_history(folder)[0]]


def test_a_line_has_all_fields_and_is_read_as_it_was(tmp_path: Path, said: list[str]) -> None:
    with history(tmp_path, said) as kept:
        kept.append(KILL)
    (line,) = (tmp_path / "history").read_text().splitlines()
    assert list(json.loads(line)) == KEYS
    assert json.loads(line)["victims"] == [{"pid": 42, "comm": "sort"}]
    assert read_history(tmp_path) == ([KILL], 0)
    assert said == []


def test_only_its_user_may_read_it(tmp_path: Path, said: list[str]) -> None:
    with history(tmp_path, said) as kept:
        kept.append(KILL)
    assert stat.S_IMODE((tmp_path / "history").stat().st_mode) == 0o600


def test_nothing_is_read_where_nothing_ever_was(tmp_path: Path) -> None:
    assert read_history(tmp_path / "never") == ([], 0)
    assert last_change(tmp_path / "never") is None


def test_another_daemon_goes_on_where_the_one_before_ended(tmp_path: Path, said: list[str]) -> None:
    for at_ms in (1, 2):
        with history(tmp_path, said) as kept:
            kept.append(number(at_ms))
    assert times(tmp_path) == [1, 2]


def test_an_unfinished_line_spoils_neither_the_one_before_nor_the_one_after(tmp_path: Path, said: list[str]) -> None:
    with history(tmp_path, said) as kept:
        kept.append(number(1))
    with (tmp_path / "history").open("ab") as file:
        file.write(b'{"time_ms": 2, "by": "ru')
    assert read_history(tmp_path) == ([number(1)], 0)  # its writer may be at it
    with history(tmp_path, said) as kept:
        kept.append(number(3))
    assert read_history(tmp_path) == ([number(1), number(3)], 1)


def test_lines_of_a_later_version_are_read_as_far_as_they_are_known() -> None:
    text = b'{"version": 9, "time_ms": 7, "by": "kernel", "victims": [{"pid": 3, "comm": "a", "uid": 0}], "new": []}\n'
    (entry,), broken = entries_of(text)
    assert broken == 0
    assert entry.victims == (Victim(3, "a"),)
    assert (entry.killed, entry.why, entry.freed_bytes, entry.dry_run) == (1, "", None, False)


@pytest.mark.parametrize(
    "line",
    [
        b"what",
        b"[]",
        b"{}",
        b'{"time_ms": "7", "by": "rule"}',
        b'{"time_ms": true, "by": "rule"}',
        b'{"time_ms": 7, "by": "nobody"}',
        b'{"time_ms": 99999999999999999999, "by": "rule"}',
        b"\xff\x00" * 9,
        b"[" * 100_000,
    ],
)
def test_a_broken_line_is_counted_and_the_others_are_read(line: bytes) -> None:
    good = json.dumps({"time_ms": 5, "by": "rule", "victims": 7}).encode()
    entries, broken = entries_of(b"\n".join((good, line, good, b"")))
    assert [entry.time_ms for entry in entries] == [5, 5]
    assert broken == 1


def test_the_files_stay_small_and_the_newest_lines_are_there(tmp_path: Path, said: list[str]) -> None:
    with history(tmp_path, said, limit_bytes=4096) as kept:
        for at_ms in range(1000):
            kept.append(number(at_ms))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history", "history.1"]
    assert all(path.stat().st_size <= 4096 for path in tmp_path.iterdir())
    found = times(tmp_path)
    assert found == list(range(1000 - len(found), 1000))
    assert len(found) > 4096 // 300


def test_read_while_a_new_file_is_begun_no_line_comes_twice(tmp_path: Path, said: list[str]) -> None:
    """What was opened as the newer file may have become the older one when that is opened."""
    with history(tmp_path, said) as kept:
        kept.append(number(1))
    os.link(tmp_path / "history", tmp_path / "history.1")
    assert times(tmp_path) == [1]


def test_thousands_of_victims_are_one_line_of_bounded_length(tmp_path: Path, said: list[str]) -> None:
    many = tuple(Victim(pid, "\udcff" * 15) for pid in range(10_000))
    with history(tmp_path, said) as kept:
        kept.append(KILL._replace(victims=many, killed=len(many), why="why" * 10_000))
    (entry,), _ = read_history(tmp_path)
    assert entry.victims == many[:VICTIMS_MAX]
    assert entry.killed == 10_000
    assert len(entry.why) == WORDS_MAX
    assert (tmp_path / "history").stat().st_size < 16_384


def test_where_there_is_no_room_lines_are_dropped_and_it_is_said_once(tmp_path: Path, said: list[str]) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with history(tmp_path, said) as kept:
        kept.append(number(1))
        size = (tmp_path / "history").stat().st_size
        try:
            # As on a disk with room for a third of a line: the write is short, and the next one fails (EFBIG).
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
            kept.append(number(2))
            kept.append(number(3))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        kept.append(number(4))
    assert read_history(tmp_path) == ([number(1), number(4)], 0)
    assert len(said) == 1
    assert "cannot be written" in said[0]


def test_without_a_folder_of_its_own_nothing_is_written_and_nothing_raised(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "file").write_text("")
    with history(tmp_path / "file", said) as kept:
        kept.append(KILL)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with history(tmp_path / "open", said) as kept:
        kept.append(KILL)
    assert list((tmp_path / "open").iterdir()) == []
    assert len(said) == 2


def test_a_link_that_somebody_has_put_there_is_not_followed(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "state/history").symlink_to(tmp_path / "victim")
    with history(tmp_path / "state", said) as kept:
        kept.append(KILL)
    assert (tmp_path / "victim").read_text() == "precious"
    assert len(said) == 1
    with pytest.raises(SourceError, match="cannot be read"):
        read_history(tmp_path / "state")


def test_a_file_that_was_removed_is_begun_anew(tmp_path: Path, said: list[str]) -> None:
    with history(tmp_path, said) as kept:
        kept.append(number(1))
        (tmp_path / "history").unlink()
        kept.append(number(2))
    assert times(tmp_path) == [2]


def test_a_change_is_seen(tmp_path: Path, said: list[str]) -> None:
    with history(tmp_path, said) as kept:
        kept.append(number(1))
        before = last_change(tmp_path)
        assert last_change(tmp_path) == before
        kept.append(number(2))
        assert last_change(tmp_path) != before
