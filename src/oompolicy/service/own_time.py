"""The daemon's own time on a CPU, and its way to memory, where hundreds ask for both.

Belongs here: the scheduling class of the calling thread. Must not know: what runs, when there is haste.

A real-time thread runs before all that are none, and where memory is gone it may use what is left below the watermark
at which others begin to reclaim (ALLOC_MIN_RESERVE for a real-time task, gfp_to_alloc_flags(), mm/page_alloc.c).
It keeps nobody from running for long: of each second real-time threads have 950 ms (sched_rt_runtime_us; since commit
63ba8422f876 "sched/deadline: Introduce deadline servers", in v6.8, by a server for the others), and what can wait is
done in the old class.
"""

from __future__ import annotations

import os
from typing import Final

from oompolicy.backends.kill.reaper import PRIORITY as REAPER_PRIORITY

# On one CPU the next signal does not wait for the memory of the dead to be taken.
PRIORITY: Final = REAPER_PRIORITY + 1


class Turns:
    """Whether the calling thread goes before others, changed where it is not so yet. Children never do."""

    def __init__(self) -> None:
        self._is_allowed = False
        self._is_first = False

    def start(self) -> str | None:
        """From now on first() has an effect. None, or why it has none."""
        self._is_allowed = True
        try:
            self.first()
        except OSError as error:
            self._is_allowed = False
            return (
                f"the daemon is no real-time process ({error.strerror}): it may have to wait for a CPU, and for memory"
            )
        self.as_others()
        return None

    def first(self) -> None:
        """What cannot wait comes now."""
        if self._is_allowed and not self._is_first:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
            self._is_first = True

    def as_others(self) -> None:
        """What can wait comes now. Nice stays what it was."""
        if self._is_first:
            os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
            self._is_first = False
