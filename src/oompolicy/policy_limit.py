"""A limit on how long a policy may take, so that an endless loop is a fault and not a hang.

Belongs here: the timer. Must not know: what a policy is asked, what becomes of the fault.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from oompolicy.policy.decision import PolicyTimeoutError

CALL_LIMIT_S = 1.0


def call_limit(limit_s: float = CALL_LIMIT_S) -> Callable[[], AbstractContextManager[None]]:
    """A context for each call of a policy: PolicyTimeoutError is raised inside it after limit_s seconds.

    Wall-clock time by SIGALRM, so that a policy that sleeps is caught too; outside the main thread, where Python
    delivers no signals, there is no limit.
    """

    def ring(signum: int, frame: FrameType | None) -> None:
        raise PolicyTimeoutError(f"it took longer than {limit_s:g} s: does it loop?")

    @contextmanager
    def limited() -> Iterator[None]:
        try:
            before = signal.signal(signal.SIGALRM, ring)
        except ValueError:  # not the main thread
            yield
            return
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return limited
