"""A file descriptor of a BPF object, with an owner that closes it.

Belongs here: owning and closing. Must not know: what kind of object it is.
"""

from __future__ import annotations

import os
import warnings
from types import TracebackType
from typing import Self


class Descriptor:
    """Owns one file descriptor; closing it lets go of the object, which lives on while others hold or pin it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """The descriptor's number. Raises ValueError after close()."""
        if self._fd < 0:
            raise ValueError(f"{type(self).__name__}: closed")
        return self._fd

    @property
    def closed(self) -> bool:
        """Has it been closed?"""
        return self._fd < 0

    def close(self) -> None:
        """Let go; a second time does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(fd={self._fd})"
