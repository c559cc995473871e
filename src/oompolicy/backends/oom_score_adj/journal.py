"""What was changed, on disk before it is changed.

Belongs here: the entries of the journal and how they are written. Must not know: what the values are for.

Each line is an entry; the last line of an identity counts, {"released": true} ends it (see state_folder.py for the
file). An unfinished last line is one whose value was not written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from oompolicy.backends.oom_score_adj.originals import Entries, Entry, Identity
from oompolicy.backends.state_folder import VERSION, Lines, boot_id, lock_folder

__all__ = ["VERSION", "Journal", "boot_id"]

_NAME: Final = "oom_score_adj.journal"
# The file is written anew, with what still counts, when it has this many lines more than entries.
_SLACK_LINES: Final = 4096


class Journal:
    """The journal of one state directory, held by one process at a time."""

    def __init__(self, folder: Path, boot_id: str) -> None:
        self.path = folder / _NAME
        self._folder = folder
        self._lines = Lines(self.path, boot_id)
        self._lock_fd: int | None = None

    def lock(self) -> None:
        """Make this process the only one. Raises BackendError where another is, PrivilegeError without the right."""
        self._lock_fd = lock_folder(self._folder)

    def read(self) -> dict[Identity, Entry]:
        """The entries of this boot; none where the file is of another one, which has taken its processes along.

        Raises BackendError where the file is of a version that this program does not know.
        """
        entries: dict[Identity, Entry] = {}
        for line in self._lines.read():
            try:
                identity, entry = _read(line)
            except (KeyError, TypeError, ValueError):
                continue  # damaged: the other lines still stand
            if entry is None:
                entries.pop(identity, None)
            else:
                entries[identity] = entry
        return entries

    def note(self, changed: Iterable[Entry], released: Iterable[Identity] = ()) -> None:
        """Append, and return once it is on disk. Raises BackendError where it is not: then nothing may be changed."""
        lines = [_line(entry) for entry in changed]
        lines += [json.dumps({"pid": pid, "start": start, "released": True}) for pid, start in released]
        self._lines.append(lines)

    def tidy(self, entries: Entries) -> None:
        """Write the file anew with these entries alone, if it has grown much beyond them."""
        if self._lines.is_begun and self._lines.number > len(entries) + _SLACK_LINES:
            self.replace(entries)

    def replace(self, entries: Entries) -> None:
        """Write the file anew, in one step. Raises BackendError where that fails; the old one stays then."""
        self._lines.replace(map(_line, entries.values()))

    def remove(self) -> None:
        """There is nothing left to put back."""
        self._lines.remove()

    def unlock(self) -> None:
        """Let others have the directory."""
        self._lines.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


def _line(entry: Entry) -> str:
    return json.dumps(
        {
            "pid": entry.identity.pid,
            "start": entry.identity.start_ticks,
            "comm": entry.comm,
            "original": entry.original,
            "written": entry.written,
            "since": entry.since_ticks,
            "cgroup": entry.cgroup,
            "left": entry.is_left,
        }
    )


def _read(line: dict[str, Any]) -> tuple[Identity, Entry | None]:
    identity = Identity(int(line["pid"]), int(line["start"]))
    if line.get("released"):
        return identity, None
    written = tuple(int(value) for value in line["written"])
    return identity, Entry(
        identity, line["comm"], int(line["original"]), written, int(line["since"]), line["cgroup"], bool(line["left"])
    )
