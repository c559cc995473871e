"""Signals as bytes in a pipe, so that none is lost between two looks at it.

Belongs here: catching and reading them. Must not know: what any of them asks for.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType, TracebackType
from typing import Final

STOP: Final = frozenset({signal.SIGTERM, signal.SIGINT})
RELOAD: Final = signal.SIGHUP
LOOK_NOW: Final = signal.SIGUSR1
_HANDLED: Final = STOP | {RELOAD, LOOK_NOW}


class Signals:
    """Caught from __enter__ to __exit__; fd is readable when one has come."""

    def __enter__(self) -> Signals:
        self.fd, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = {number: signal.signal(number, _noted) for number in _HANDLED}
        self._before_fd = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._before_fd)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.fd)
        os.close(self._writing)

    def take(self) -> bytes:
        """The numbers of those that came since the last time; SIGALRM, of a policy's time limit, is among them."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self.fd, 4096)
        return b""


def _noted(number: int, frame: FrameType | None) -> None:
    """Python has written the number into the pipe; nothing else may happen in a handler."""
