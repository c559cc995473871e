"""Whole messages out of pieces: what mail wrapped over several lines is put together again.

Belongs here: where a message can begin, and joining its parts. Must not know: what a message means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from oompolicy.sources.oom_report.physical import Piece

PARTS_AT_MOST: Final = 24

# How the kernel begins the lines of a report: where nothing stands before a line, only these begin a new message.
BEGINS: Final = re.compile(
    r"\[\s*(?:\d+|pid)\s*\]\s"
    r"|oom-kill:|oom_reaper:|(?:Memory cgroup o|O)ut of memory|Memory cgroup (?:stats|min)|Kill(?:ed)? process \d"
    r"|Tasks? in |Tasks state|(?:memory|memory\+swap|swap|kmem): usage|\d+ pages |Total swap|Free swap|Swap cache"
    r"|CPU: \d|Pid: \d|Call [Tt]race|Mem-Info|(?:Node \d+ )?(?:DMA|DMA32|Normal|HighMem|Movable)[ :]|lowmem_reserve"
    r"|\[?\.\.\.+\]?\s*$|…\s*$|<snip>|Kernel panic|Hardware name|Code: |R[A-Z0-9]{2}: "
    r"|\S.{0,40} invoked oom-killer|\S.{0,40} cpuset=\S+ mems_allowed="
)


@dataclass(frozen=True)
class Message:
    """One message of the log, in the parts it came in."""

    prefix: str | None
    parts: tuple[str, ...]
    line: int

    @cached_property
    def text(self) -> str:
        """Its parts with spaces between: right where the mailer broke between words."""
        return self.parts[0] if len(self.parts) == 1 else " ".join(part.strip() for part in self.parts)

    @cached_property
    def glued(self) -> str:
        """Its parts with nothing between: right where the mailer broke inside a word."""
        return self.parts[0] if len(self.parts) == 1 else "".join(part.strip() for part in self.parts)


class Assembler:
    """Takes pieces, gives back messages once they are whole."""

    def __init__(self) -> None:
        self._prefix: str | None = None
        self._parts: list[str] = []
        self._line = 0

    def add(self, piece: Piece, line: int) -> Message | None:
        """Add the next piece; the message before it, where the piece begins a new one."""
        if self._goes_on(piece):
            if piece.glued:
                self._parts[-1] += piece.text
            else:
                self._parts.append(piece.text)
            return None
        done = self.flush()
        self._prefix, self._parts, self._line = piece.prefix, [piece.text], line
        return done

    def flush(self) -> Message | None:
        """The message begun, as far as it has come; None where none is."""
        if not self._parts:
            return None
        done = Message(self._prefix, tuple(self._parts), self._line)
        self._parts = []
        return done

    def _goes_on(self, piece: Piece) -> bool:
        if not self._parts or piece.prefix is not None:
            return False
        if piece.glued:
            return len(self._parts[-1]) < 4096
        return len(self._parts) < PARTS_AT_MOST and BEGINS.match(piece.text) is None
