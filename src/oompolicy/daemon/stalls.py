"""Being told when tasks of the machine stall for want of memory, for those who are asked then: scorers.

Belongs here: one pressure trigger in the loop's poll(). Must not know: what follows from it.
"""

from __future__ import annotations

import select
from pathlib import Path
from typing import Final

from oompolicy.sources.pressure_trigger import EVENTS, UNPRIVILEGED_WINDOW_US, Asked, PressureTrigger, best_trigger

# 50 ms within a second; where short windows are not granted, the same share of two seconds.
WINDOW_US: Final = 1_000_000
SHARE: Final = 20


class Stalls:
    """Watched while open."""

    def __init__(self) -> None:
        self._poll: select.poll | None = None
        self._trigger: PressureTrigger | None = None

    def open(self, poll: select.poll, file: Path = Path("/proc/pressure/memory")) -> bool:
        """Have this poll() wait for them; False where the kernel does not tell. A second time does nothing."""
        if self._trigger is None:
            windows = (WINDOW_US, UNPRIVILEGED_WINDOW_US)
            self._trigger = best_trigger(file, *(Asked("some", window // SHARE, window) for window in windows))
            if self._trigger is not None:
                self._poll = poll
                poll.register(self._trigger.fd, EVENTS)
        return self._trigger is not None

    def owns(self, fd: int) -> bool:
        """Is it the trigger's descriptor?"""
        return self._trigger is not None and fd == self._trigger.fd

    def close(self) -> None:
        """No longer; a second time does nothing."""
        trigger, self._trigger = self._trigger, None
        if trigger is not None:
            if self._poll is not None:
                self._poll.unregister(trigger.fd)
            trigger.close()
