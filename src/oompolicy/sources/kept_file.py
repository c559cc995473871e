"""A small file of /proc or /sys that is read again and again: opened once, read from its start each time.

Belongs here: the descriptor that stays open. Must not know: what is written in the file.

A kept descriptor makes a look cheap (no path walk), and works when no new one is to be had (EMFILE, a memcg at its
limit that cannot pay for a struct file): what is needed when memory is gone is held before it is.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from oompolicy.sources.kernel_file import is_gone

# One read gives all of most files; /proc/vmstat and large memory.stat come in pieces of at most a page
# (seq_read_iter(), fs/seq_file.c), so that a short piece is not the end.
_PIECE_BYTES: Final = 8192
_A_PAGE: Final = 4096
_NEARLY_A_PAGE: Final = _A_PAGE - 512

_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class KeptFile:
    """One file. Where it is not there, it is looked for again at each reading."""

    __slots__ = ("_fd", "_is_closed", "_path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open it, if it is there. Raises OSError where it is there but refused."""
        self._path = path
        self._is_closed = False
        self._fd = self._opened()

    def read(self) -> bytes | None:
        """All of it; None where there is no such file. Raises OSError, one of GONE where what it told of is gone."""
        if self._fd < 0 and not self._is_closed:
            try:
                self._fd = self._opened()
            except OSError as error:
                if error.errno not in _NO_DESCRIPTOR:
                    raise
                return None  # it was not there before, and whether it is now cannot be told
        if self._fd < 0:
            return None
        data = os.pread(self._fd, _PIECE_BYTES, 0)
        return data if len(data) < _NEARLY_A_PAGE else self._whole(data)

    def _whole(self, data: bytes) -> bytes:
        pieces, size = [data], len(data)
        while piece := os.pread(self._fd, _PIECE_BYTES, size):
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    def _opened(self) -> int:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if is_gone(error):
                return -1
            raise

    def close(self) -> None:
        """Let go of it; a second time does nothing."""
        self._is_closed = True
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def number_of(lines: bytes, key: bytes) -> int | None:
    """The number on the line that begins with key, in a text that begins with a newline; None where it has none.

    >>> number_of(b"\\nTotal:  16 kB\\nFree: 5 kB\\n", b"\\nFree:"), number_of(b"\\nanon 4\\n", b"\\nfile ")
    (5, None)
    """
    at = lines.find(key)
    if at < 0:
        return None
    end = lines.find(b"\n", at + 1)
    word = lines[at + len(key) : end if end >= 0 else len(lines)]
    return int(word.removesuffix(b" kB"))
