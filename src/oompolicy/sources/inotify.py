"""inotify(7) through ctypes: being woken when files and folders change, cgroups among them.

Belongs here: the three calls and the format of what is read. Must not know: what is watched, why.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final, NamedTuple

IN_MODIFY: Final = 0x00000002
IN_ATTRIB: Final = 0x00000004
IN_CLOSE_WRITE: Final = 0x00000008
IN_MOVED_FROM: Final = 0x00000040
IN_MOVED_TO: Final = 0x00000080
IN_CREATE: Final = 0x00000100
IN_DELETE: Final = 0x00000200
IN_DELETE_SELF: Final = 0x00000400
IN_MOVE_SELF: Final = 0x00000800
IN_Q_OVERFLOW: Final = 0x00004000
IN_IGNORED: Final = 0x00008000
IN_ONLYDIR: Final = 0x01000000
IN_ISDIR: Final = 0x40000000

_HEADER: Final = struct.Struct("iIII")  # struct inotify_event, include/uapi/linux/inotify.h
_BUFFER_BYTES: Final = 64 * 1024


class Happened(NamedTuple):
    """One event: of which watch (-1: of all, events were lost), what, and the name in the watched directory."""

    watch: int
    mask: int
    name: bytes


class Inotify:
    """An inotify descriptor. It is for poll(); reading takes what there is, and never waits."""

    def __init__(self) -> None:
        """Raises OSError where the kernel gives none."""
        libc = ctypes.CDLL(None, use_errno=True)
        self._add_watch, self._rm_watch = libc.inotify_add_watch, libc.inotify_rm_watch
        self._add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
        self._rm_watch.argtypes = [ctypes.c_int, ctypes.c_int]
        self.fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise _error("inotify_init1")

    def add(self, path: str | bytes, mask: int) -> int:
        """Watch a path; the number of the watch. Raises OSError (ENOSPC: fs.inotify.max_user_watches is reached)."""
        watch = int(self._add_watch(self.fd, os.fsencode(path), mask))
        if watch < 0:
            raise _error(path)
        return watch

    def remove(self, watch: int) -> None:
        """Watch it no longer; where it went by itself, nothing happens."""
        self._rm_watch(self.fd, watch)

    def read(self) -> list[Happened]:
        """What has happened since the last time. Raises OSError."""
        happened: list[Happened] = []
        while True:
            try:
                data = os.read(self.fd, _BUFFER_BYTES)
            except BlockingIOError:
                return happened
            at = 0
            while at < len(data):
                watch, mask, _, length = _HEADER.unpack_from(data, at)
                at += _HEADER.size
                happened.append(Happened(watch, mask, data[at : at + length].rstrip(b"\0")))
                at += length
            if len(data) < _BUFFER_BYTES // 2:
                return happened

    def close(self) -> None:
        """Let go of it; a second time does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _error(what: str | bytes) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number) if number != errno.ENOSPC else "no more watches", what)
