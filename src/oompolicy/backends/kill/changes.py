"""Files of cgroups that are set for a time, and get what they had before.

Belongs here: the journal of them, setting and undoing. Must not know: why a file is set.

What a file had is in the state directory before it is changed, so that `oompolicy restore` can undo it after a kill -9
of the daemon. A file that somebody else has changed since is theirs: it stays as it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from oompolicy.backends.kill.ground import GONE, read_small, write_small
from oompolicy.backends.state_folder import Lines, make_folder
from oompolicy.errors import BackendError

JOURNAL_NAME: Final = "cgroups.journal"


@dataclass(frozen=True, slots=True)
class Change:
    """One file: what it had, what we wrote. inode tells the cgroup from another one that has its path later.

    until_ms is when it is to be undone, by the clock of the daemon; None: when the daemon ends.
    """

    cgroup: str
    inode: int
    file: str
    original: str
    written: str
    until_ms: int | None = None

    @property
    def key(self) -> tuple[int, str]:
        """What it is the change of."""
        return self.inode, self.file

    @property
    def in_words(self) -> str:
        """For the log."""
        return f"cgroup {self.cgroup}: {self.file} is {self.original} again"


class Changes:
    """All that is set for a time, below one cgroup hierarchy."""

    def __init__(self, cgroups: Path, folder: Path, boot_id: str) -> None:
        self._cgroups = cgroups
        self._folder = folder
        self._lines = Lines(folder / JOURNAL_NAME, boot_id)
        self._changes: dict[tuple[int, str], Change] = {}

    def take_over(self) -> int:
        """What an earlier daemon has left set, by its journal; how many. It is undone with ours."""
        for line in self._lines.read():
            try:
                change = _read(line)
            except (KeyError, TypeError, ValueError):
                continue  # damaged: the other lines still stand
            if line.get("undone"):
                self._changes.pop(change.key, None)
            else:
                self._changes[change.key] = change
        return len(self._changes)

    def next_due_ms(self) -> int | None:
        """When the next is to be undone; None where none is, before the end."""
        return min((one.until_ms for one in self._changes.values() if one.until_ms is not None), default=None)

    def set(self, cgroup: str, file: str, text: str, until_ms: int | None) -> None:
        """Set a file for a time; set already, it is set anew and keeps its first original.

        Raises OSError where the cgroup has gone or the kernel refuses it, BackendError where it cannot be noted.
        """
        path = self._path(cgroup, file)
        inode = path.parent.stat().st_ino
        present = read_small(path).decode().strip()
        known = self._changes.get((inode, file))
        ours = known is not None and present == known.written
        original = known.original if known is not None and ours else present
        change = Change(cgroup, inode, file, original, text, until_ms)
        make_folder(self._folder)
        self._lines.append([_line(change)])
        write_small(path, text)
        # What is written and what is read back may differ: amounts are rounded to pages.
        self._changes[change.key] = replace(change, written=read_small(path).decode().strip())
        if self._changes[change.key].written != text:
            self._lines.append([_line(self._changes[change.key])])

    def is_set(self, cgroup: str, file: str) -> bool:
        """Is that file as we set it for a time?"""
        return any((one.cgroup, one.file) == (cgroup, file) for one in self._changes.values())

    def undo(self, cgroup: str, file: str) -> Iterator[str]:
        """Undo that one; a line for the log."""
        yield from self._undo([one for one in self._changes.values() if (one.cgroup, one.file) == (cgroup, file)])

    def undo_due(self, now_ms: int) -> Iterator[str]:
        """Undo those whose time is over; a line for the log of each."""
        due = [one for one in self._changes.values() if one.until_ms is not None and one.until_ms <= now_ms]
        yield from self._undo(due)

    def undo_all(self) -> Iterator[str]:
        """Undo everything, the last first; a line for the log of each."""
        yield from self._undo(list(reversed(self._changes.values())))
        if not self._changes:
            self._lines.remove()

    def close(self) -> None:
        """Let go of the journal."""
        self._lines.close()

    def _undo(self, changes: list[Change]) -> Iterator[str]:
        for change in changes:
            is_settled, said = self._put_back(change)
            if is_settled:
                self._changes.pop(change.key, None)
                try:
                    self._lines.append([_line(change, undone=True)])
                except BackendError as error:
                    yield str(error)
            else:  # once more when the daemon ends
                self._changes[change.key] = replace(change, until_ms=None)
            yield said

    def _put_back(self, change: Change) -> tuple[bool, str]:
        """Give one its original: is there nothing left to do, and the line for the log."""
        path = self._path(change.cgroup, change.file)
        has_gone = True, f"cgroup {change.cgroup}: has gone, and {change.file} with it"
        try:
            if path.parent.stat().st_ino != change.inode:
                return has_gone
            present = read_small(path).decode().strip()
            if present != change.written and present != change.original:
                return True, f"cgroup {change.cgroup}: somebody set {change.file} to {present}: left so"
            write_small(path, change.original)
        except OSError as error:
            if error.errno in GONE:
                return has_gone
            why = f"{change.file} could not be put back to {change.original}: {error.strerror}"
            return False, f"cgroup {change.cgroup}: {why}: try `oompolicy restore` as root"
        return True, change.in_words

    def _path(self, cgroup: str, file: str) -> Path:
        return self._cgroups / cgroup.lstrip("/") / file


def _line(change: Change, undone: bool = False) -> str:
    return json.dumps(
        {
            "cgroup": change.cgroup,
            "inode": change.inode,
            "file": change.file,
            "original": change.original,
            "written": change.written,
            "undone": undone,
        }
    )


def _read(line: dict[str, Any]) -> Change:
    file = str(line["file"])
    if file not in ("memory.high", "cgroup.freeze") or os.pardir in str(line["cgroup"]).split("/"):
        raise ValueError(file)
    return Change(str(line["cgroup"]), int(line["inode"]), file, str(line["original"]), str(line["written"]))
