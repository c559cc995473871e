"""The state directory: whose it must be, and files in it that survive whoever wrote them.

Belongs here: making it, one owner at a time, lines that are on disk before what they tell of is done.
Must not know: what the lines say.

A journal is text, one JSON object a line: first {"journal": VERSION, "boot_id": …}, then what its owner writes.
Lines are appended and synced before anything they tell of is done; an unfinished last line tells of nothing.
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

from oompolicy.errors import BackendError, PrivilegeError

VERSION: Final = 1
_LOCK: Final = "lock"


class Lines:
    """A journal's lines, without their meaning."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self.path = path
        self.number = 0
        self._boot_id = boot_id
        self._fd: int | None = None

    @property
    def is_begun(self) -> bool:
        """Is it being appended to?"""
        return self._fd is not None

    def read(self) -> list[dict[str, Any]]:
        """The lines of this boot; none where the file is of another one, which has taken all it tells of along.

        Raises BackendError where the file is of a version that this program does not know.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BackendError(self.path, f"cannot be read: {error.strerror}") from None
        lines = [line for line in map(_parsed, content.split(b"\n")) if line is not None]
        if not lines:
            return []
        if lines[0].get("journal") != VERSION:
            raise BackendError(self.path, "is not a journal of this version", "restore with the version that wrote it")
        return lines[1:] if lines[0].get("boot_id") == self._boot_id else []

    def append(self, lines: Iterable[str]) -> None:
        """Append, and return once it is on disk. Raises BackendError where it is not: then nothing may be changed."""
        lines = list(lines)
        if not lines:
            return
        try:
            if self._fd is None:
                if not self.path.exists():
                    self.replace([])
                self._fd = open_private(self.path, os.O_WRONLY | os.O_APPEND)
            _write_all(self._fd, "".join(f"{line}\n" for line in lines).encode())
            os.fsync(self._fd)
        except OSError as error:
            self.close()
            raise BackendError(self.path, f"cannot be written ({error.strerror}): nothing is changed") from None
        self.number += len(lines)

    def replace(self, lines: Iterable[str]) -> None:
        """Write the file anew, in one step. Raises BackendError where that fails; the old one stays then."""
        lines = list(lines)
        temporary = self.path.with_suffix(".new")
        header = json.dumps({"journal": VERSION, "boot_id": self._boot_id})
        content = "".join(f"{line}\n" for line in (header, *lines))
        try:
            fd = open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                _write_all(fd, content.encode())
                os.fsync(fd)
            finally:
                os.close(fd)
            temporary.rename(self.path)
            _sync(self.path.parent)
        except OSError as error:
            raise BackendError(self.path, f"cannot be written ({error.strerror}): nothing is changed") from None
        self.close()
        self.number = len(lines)

    def remove(self) -> None:
        """There is nothing left to put back."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
            _sync(self.path.parent)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def lock_folder(folder: Path) -> int:
    """Make this process the only one at work there; the descriptor that holds it so.

    Raises BackendError where another one is, PrivilegeError without the right.
    """
    make_folder(folder)
    fd = open_private(folder / _LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(fd, 32).decode(errors="replace").strip() or "?"
        os.close(fd)
        raise BackendError(
            folder, f"another oompolicy (pid {holder}) is at work there", "stop it first, it puts all back"
        ) from None
    with contextlib.suppress(OSError):  # a full disk: it is the lock that counts, not whose it is said to be
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def boot_id(proc: Path = Path("/proc")) -> str:
    """The kernel's name for this boot."""
    return (proc / "sys/kernel/random/boot_id").read_text().strip()


def make_folder(folder: Path) -> None:
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


def open_private(path: Path, flags: int) -> int:
    """Open a file there for this user alone. Raises OSError, PrivilegeError without the right."""
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise PrivilegeError(path, "cannot be opened", "run as root, or name another state_dir") from None
        raise


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_all(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line as it was written; None for an empty or unfinished one."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
