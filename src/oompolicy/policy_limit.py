"""A limit on how long a policy may take, so that an endless loop is a fault and not a hang.

Belongs here: the timer. Must not know: what a policy is asked, what becomes of the fault.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from oompolicy.policy.decision import PolicyTimeoutError

CALL_LIMIT_S = 1.0
LOOK_LIMIT_S = 3.0


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


def look_limit(together_s: float = LOOK_LIMIT_S) -> Callable[[], AbstractContextManager[None]]:
    """The same for all calls of one look, which may take together_s seconds: a policy is asked thousands of times.

    When they are over no call is begun any more: it is PolicyTimeoutError at once. Time on a processor counts, not
    what the machine makes everybody wait: a policy in force must not be given up because memory is short.
    """
    limited = call_limit()
    left_s = together_s

    @contextmanager
    def counted() -> Iterator[None]:
        nonlocal left_s
        if left_s <= 0:
            raise PolicyTimeoutError(f"all calls of one look took longer than {together_s:g} s: is it slow?")
        began_s = time.thread_time()
        try:
            with limited():
                yield
        finally:
            left_s -= time.thread_time() - began_s

    return counted
