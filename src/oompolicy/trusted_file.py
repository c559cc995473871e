"""Files that decide who is killed: read once, and as root only where nobody else can have written them.

Belongs here: who may own and write such a file and the folders above it. Must not know: what is in the file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from oompolicy.errors import OompolicyError

_CHUNK = 1 << 16
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def read_trusted(path: str | Path) -> bytes:
    """The content of a regular file.

    It is opened once, and what is checked is what was opened. As root, raises OompolicyError where somebody else
    than root owns or can write the file or a folder on the way to it (a sticky folder like /tmp too), as sshd does
    with StrictModes; and for anybody, where it cannot be read.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not wait for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OompolicyError(path, "is a folder" if stat.S_ISDIR(found.st_mode) else "is not a regular file")
        if os.geteuid() == 0:
            _refuse_untrusted(path, found)
            _refuse_untrusted_folders(path, Path(f"/proc/self/fd/{fd}"))
        chunks = []
        while chunk := os.read(fd, _CHUNK):
            chunks.append(chunk)
        return b"".join(chunks)
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(fd)


def _unreadable(path: str | Path, error: OSError) -> OompolicyError:
    if isinstance(error, FileNotFoundError):
        return OompolicyError(path, "no such file")
    return OompolicyError(path, f"cannot be read: {error.strerror}")


def _refuse_untrusted_folders(asked: str | Path, opened: Path) -> None:
    """Every folder above the file, both as the path spells it and as it is behind symbolic links."""
    spelled = Path(os.path.abspath(asked)).parents  # noqa: PTH100 - resolve() would follow the links
    real = Path(os.path.realpath(opened)).parents
    for folder in {*spelled, *real}:
        _refuse_untrusted(folder, folder.stat(), within=asked)


def _refuse_untrusted(path: str | Path, found: os.stat_result, within: str | Path | None = None) -> None:
    where = "" if within is None else f"its folder {path} "
    subject = path if within is None else within
    if found.st_uid != 0:
        hint = f"chown root {path}"
        raise OompolicyError(subject, f"{where}belongs to uid {found.st_uid}: root would obey what they write", hint)
    if found.st_mode & _WRITABLE_BY_OTHERS:
        who = "everybody" if found.st_mode & stat.S_IWOTH else "its group"
        hint = f"chmod go-w {path}" if not found.st_mode & stat.S_ISVTX else "move the file, to /etc/oompolicy for one"
        raise OompolicyError(subject, f"{where}can be written by {who}: root would obey what they write", hint)
