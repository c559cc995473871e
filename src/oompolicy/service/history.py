"""The record of kills: what the daemon has ordered, and what the kernel's OOM killer has done, as lines of a file.

Belongs here: the file, its bounds, what a line holds. Must not know: rules, the kernel's log, how it is shown.
A line that cannot be written is dropped: no kill waits for its record.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from oompolicy.backends.state_folder import make_folder, open_private
from oompolicy.errors import OompolicyError, PrivilegeError, SourceError
from oompolicy.rules.rule import Victim

NAME: Final = "history"
LIMIT_BYTES: Final = 256 << 10  # of a file; the one before it is kept too
# A fork bomb has more victims than a line should have, and a policy's fault may be told at length.
VICTIMS_MAX: Final = 64
WORDS_MAX: Final = 4096
_TIME_MAX_MS: Final = 1 << 47  # what lies behind the year 6000 is a damaged line


class Entry(NamedTuple):
    """One kill, or what was done instead of one.

    time_ms: Unix time, None where it is not known. by: "rule" or "kernel"; rule: its name. scope: the cgroup whose
    memory it was about, "/" for the machine. victims: the first of them; killed: how many there were. cgroup: the
    victim's, or the one that the action was done to. why: the condition with its numbers, or the kernel's sentence.
    failed: why nothing, or too little, was done. dry_run: nothing was done, only said.
    """

    time_ms: int | None
    by: str
    rule: str | None
    action: str
    scope: str | None
    victims: tuple[Victim, ...]
    killed: int
    cgroup: str | None
    why: str
    freed_bytes: int | None
    failed: str | None
    dry_run: bool


class History:
    """The file, opened once, and appended to; it never raises. say: gets one line of trouble, once."""

    def __init__(self, folder: Path, say: Callable[[str], None], limit_bytes: int = LIMIT_BYTES) -> None:
        self._path = folder / NAME
        self._say = say
        self._limit_bytes = limit_bytes
        self._fd = -1
        self._is_trouble_said = False
        self._trying(self._open)

    def append(self, entry: Entry) -> None:
        """Write it down, if that goes."""
        line = (json.dumps(as_json(entry)) + "\n").encode()
        self._trying(lambda: self._write(line))

    def close(self) -> None:
        """Let go of the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _trying(self, do: Callable[[], None]) -> None:
        try:
            do()
        except (OSError, OompolicyError) as error:
            if not self._is_trouble_said:
                self._is_trouble_said = True
                why = error.strerror if isinstance(error, OSError) else error.why
                self._say(f"{self._path}: cannot be written ({why}): what happens meanwhile is not in the history")

    def _open(self) -> None:
        make_folder(self._path.parent)
        self._fd = open_private(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":  # who wrote it was killed meanwhile
            os.write(self._fd, b"\n")

    def _write(self, line: bytes) -> None:
        if self._fd >= 0 and os.fstat(self._fd).st_nlink == 0:  # somebody has removed it
            self.close()
        if self._fd < 0:
            self._open()
        size = os.fstat(self._fd).st_size
        if size and size + len(line) > self._limit_bytes:
            # Closed first: where there are no more descriptors, this one is had again.
            self.close()
            self._path.rename(_before(self._path))
            self._open()
            size = 0
        if os.write(self._fd, line) < len(line):
            os.ftruncate(self._fd, size)  # no half lines: the disk is full
            raise OSError(0, "there is no room")


def as_json(entry: Entry) -> dict[str, object]:
    """Its fields, as a line has them, and as `oompolicy history --json` shows them."""
    shown = [victim._asdict() for victim in entry.victims[:VICTIMS_MAX]]
    return entry._asdict() | {"victims": shown, "why": entry.why[:WORDS_MAX]}


def read_history(folder: Path) -> tuple[list[Entry], int]:
    """What a daemon has written there, oldest first, and how many lines cannot be read; nothing where there is none.

    Raises PrivilegeError, or SourceError, where the files cannot be read.
    """
    path = folder / NAME
    with contextlib.ExitStack() as stack:
        # The newer one first: where a new file is begun meanwhile, that is seen by having opened the same one twice.
        fds = [fd for fd in (_opened(path, stack), _opened(_before(path), stack)) if fd is not None]
        if len(fds) == 2 and os.path.samestat(os.fstat(fds[0]), os.fstat(fds[1])):
            del fds[0]
        texts = [_content(path, fd) for fd in reversed(fds)]
    found = [entries_of(text) for text in texts]
    return [entry for entries, _ in found for entry in entries], sum(broken for _, broken in found)


def last_change(folder: Path) -> object:
    """Equal as long as nothing was written there; None where nothing ever was, or it cannot be seen."""
    try:
        status = (folder / NAME).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def entries_of(text: bytes) -> tuple[list[Entry], int]:
    """The lines of a file, and how many of them are none; an unfinished last one is not counted.

    >>> entries_of(b'{"time_ms": 5, "by": "rule", "rule": "low"}\\nwhat\\n{"time_ms": 7')[1]
    1
    """
    *lines, rest = text.split(b"\n")
    found = [_entry(line) for line in lines if line.strip()]
    last = _entry(rest)
    entries = [entry for entry in (*found, last) if entry is not None]
    return entries, found.count(None)


def is_entry(line: bytes) -> bool:
    """Is it a line of such a file?"""
    return _entry(line) is not None


def _before(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _opened(path: Path, stack: contextlib.ExitStack) -> int | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise PrivilegeError(path, "cannot be read", "run as root, or name another state_dir") from None
    except OSError as error:
        raise SourceError(path, f"cannot be read: {error.strerror}", "is the state_dir the daemon's?") from None
    stack.callback(os.close, fd)
    return fd


def _content(path: Path, fd: int) -> bytes:
    blocks = []
    try:
        while block := os.read(fd, 1 << 18):
            blocks.append(block)
    except OSError as error:
        raise SourceError(path, f"cannot be read: {error.strerror}") from None
    return b"".join(blocks)


def _entry(line: bytes) -> Entry | None:
    """What a line says; None where it is none. A later version's has more keys, and may leave out some of these."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("by") not in ("rule", "kernel"):
        return None
    time_ms = _number(found, "time_ms")
    if time_ms is None or not 0 <= time_ms < _TIME_MAX_MS:
        return None
    victims = tuple(_victims(found.get("victims")))
    return Entry(
        time_ms,
        found["by"],
        _text(found, "rule"),
        _text(found, "action") or "kill",
        _text(found, "scope"),
        victims,
        max(_number(found, "killed") or 0, 0 if found.get("dry_run") else len(victims)),
        _text(found, "cgroup"),
        _text(found, "why") or "",
        _number(found, "freed_bytes"),
        _text(found, "failed"),
        found.get("dry_run") is True,
    )


def _victims(found: object) -> Iterable[Victim]:
    for one in found if isinstance(found, list) else ():
        if isinstance(one, dict) and isinstance(one.get("pid"), int):
            yield Victim(one["pid"], str(one.get("comm", "?")))


def _text(found: dict[str, Any], key: str) -> str | None:
    value = found.get(key)
    return value if isinstance(value, str) else None


def _number(found: dict[str, Any], key: str) -> int | None:
    value = found.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
