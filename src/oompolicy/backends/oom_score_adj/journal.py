"""What was changed, on disk before it is changed.

Belongs here: the state directory, its lock, and the file in it. Must not know: what the values are for.

The file is text, one JSON object a line: first {"journal": 1, "boot_id": …}, then an entry each; the last line of an
identity counts, {"released": true} ends it. Lines are appended and synced before any value they tell of is written;
an unfinished last line is one whose value was not written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from oompolicy.backends.oom_score_adj.originals import Entries, Entry, Identity
from oompolicy.errors import BackendError, PrivilegeError

VERSION: Final = 1
_NAME: Final = "oom_score_adj.journal"
_LOCK: Final = "lock"
# The file is written anew, with what still counts, when it has this many lines more than entries.
_SLACK_LINES: Final = 4096


class Journal:
    """The journal of one state directory, held by one process at a time."""

    def __init__(self, folder: Path, boot_id: str) -> None:
        self.path = folder / _NAME
        self._folder = folder
        self._boot_id = boot_id
        self._lock_fd: int | None = None
        self._fd: int | None = None
        self._lines = 0

    def lock(self) -> None:
        """Make this process the only one. Raises BackendError where another is, PrivilegeError without the right."""
        _make_folder(self._folder)
        fd = _open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 32).decode(errors="replace").strip() or "?"
            os.close(fd)
            raise BackendError(
                self._folder, f"another oompolicy (pid {holder}) is at work there", "stop it first, it puts all back"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._lock_fd = fd

    def read(self) -> dict[Identity, Entry]:
        """The entries of this boot; none where the file is of another one, which has taken its processes along.

        Raises BackendError where the file is of a version that this program does not know.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise BackendError(self.path, f"cannot be read: {error.strerror}") from None
        lines = [line for line in map(_parsed, content.split(b"\n")) if line is not None]
        if not lines:
            return {}
        if lines[0].get("journal") != VERSION:
            raise BackendError(self.path, "is not a journal of this version", "restore with the version that wrote it")
        if lines[0].get("boot_id") != self._boot_id:
            return {}
        entries: dict[Identity, Entry] = {}
        for line in lines[1:]:
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
        if not lines:
            return
        try:
            if self._fd is None:
                self._begin()
            assert self._fd is not None
            _write_all(self._fd, "".join(f"{line}\n" for line in lines).encode())
            os.fsync(self._fd)
        except OSError as error:
            self._close()
            raise BackendError(self.path, f"cannot be written ({error.strerror}): nothing is changed") from None
        self._lines += len(lines)

    def tidy(self, entries: Entries) -> None:
        """Write the file anew with these entries alone, if it has grown much beyond them."""
        if self._fd is not None and self._lines > len(entries) + _SLACK_LINES:
            self.replace(entries)

    def replace(self, entries: Entries) -> None:
        """Write the file anew, in one step. Raises BackendError where that fails; the old one stays then."""
        temporary = self.path.with_suffix(".new")
        header = json.dumps({"journal": VERSION, "boot_id": self._boot_id})
        content = "".join(f"{line}\n" for line in (header, *map(_line, entries.values())))
        try:
            fd = _open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                _write_all(fd, content.encode())
                os.fsync(fd)
            finally:
                os.close(fd)
            temporary.rename(self.path)
            self._sync_folder()
        except OSError as error:
            raise BackendError(self.path, f"cannot be written ({error.strerror}): nothing is changed") from None
        self._close()
        self._lines = len(entries)

    def remove(self) -> None:
        """There is nothing left to put back."""
        self._close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
            self._sync_folder()

    def unlock(self) -> None:
        """Let others have the directory."""
        self._close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _begin(self) -> None:
        if not self.path.exists():
            self.replace({})
        self._fd = _open(self.path, os.O_WRONLY | os.O_APPEND)

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _sync_folder(self) -> None:
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def boot_id(proc: Path = Path("/proc")) -> str:
    """The kernel's name for this boot."""
    return (proc / "sys/kernel/random/boot_id").read_text().strip()


def _make_folder(folder: Path) -> None:
    """Make the state directory, or refuse one into which others can put what root would obey."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except PermissionError:
        raise PrivilegeError(folder, "cannot be made", "run as root, or name another state_dir") from None
    except OSError as error:
        raise BackendError(folder, f"cannot be made: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise BackendError(folder, "is not a folder")
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BackendError(folder, "others can write there: what it says cannot be trusted", f"chmod 700 {folder}")


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise PrivilegeError(path, "cannot be opened", "run as root, or name another state_dir") from None
        raise


def _write_all(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]


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


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line as it was written; None for an empty or unfinished one."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _read(line: dict[str, Any]) -> tuple[Identity, Entry | None]:
    identity = Identity(int(line["pid"]), int(line["start"]))
    if line.get("released"):
        return identity, None
    written = tuple(int(value) for value in line["written"])
    return identity, Entry(
        identity, line["comm"], int(line["original"]), written, int(line["since"]), line["cgroup"], bool(line["left"])
    )
