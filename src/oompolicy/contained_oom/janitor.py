"""A process that cleans up after us, whatever becomes of us.

Belongs here: outliving the one it cleans up after. Must not know: what happened before.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import TracebackType

from oompolicy.contained_oom.own_memcg import remove_tree
from oompolicy.errors import OompolicyError


class Janitor:
    """Removes a cgroup directory when this process leaves the `with`, or dies in any way, kill -9 included.

    It waits for the end of a pipe that only we hold open; the kernel closes it however we end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pid: int | None = None
        self._lifeline: int | None = None

    def __enter__(self) -> Janitor:
        sys.stdout.flush()
        sys.stderr.flush()
        waiting, self._lifeline = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._lifeline)
            _wait_and_remove(waiting, self.path)
        os.close(waiting)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._pid is not None
        assert self._lifeline is not None
        os.close(self._lifeline)
        _, status = os.waitpid(self._pid, 0)
        if os.waitstatus_to_exitcode(status) != 0:
            raise OompolicyError(self.path, "could not be removed", f"end what runs in it, then: rmdir {self.path}")


def _wait_and_remove(waiting: int, path: Path) -> None:
    """The janitor's whole life; never returns."""
    try:
        os.setsid()  # a Ctrl-C on the terminal is not for us
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.read(waiting, 1)
        remove_tree(path)
    except BaseException:
        os._exit(1)
    os._exit(0)
