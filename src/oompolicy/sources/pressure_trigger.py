"""PSI triggers: the kernel wakes whoever polls when tasks have stalled for so long in such a window.

Belongs here: how a trigger is asked for, and what the kernel grants to whom. Must not know: what follows from it.
Source: Documentation/accounting/psi.rst, psi_trigger_create() in kernel/sched/psi.c.
"""

from __future__ import annotations

import os
import select
from typing import Final, Literal, NamedTuple

# Since commit d82caa273565 "sched/psi: Allow unprivileged polling of N*2s period" (in v6.5) those without
# CAP_SYS_RESOURCE may have a trigger with a window of a multiple of 2 s, which is the rhythm of the averages. Such a
# trigger costs no thread of its own either (psimon), which one with CAP_SYS_RESOURCE does.
UNPRIVILEGED_WINDOW_US: Final = 2_000_000

EVENTS: Final = select.POLLPRI

Kind = Literal["some", "full"]


class Asked(NamedTuple):
    """A trigger: stall_us of waiting, of some task or of all (full), within any window_us."""

    kind: Kind
    stall_us: int
    window_us: int


class PressureTrigger:
    """One trigger, for as long as its descriptor is open. poll() says POLLPRI when it fires, at most once a window.

    POLLERR: the cgroup is gone.
    """

    __slots__ = ("asked", "fd")

    def __init__(self, path: str | os.PathLike[str], asked: Asked) -> None:
        """Raises OSError where the kernel refuses it: no PSI, no right (EPERM, EINVAL), a read-only mount."""
        self.asked = asked
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # The kernel puts its NUL over the last byte that is written.
            os.write(self.fd, f"{asked.kind} {asked.stall_us} {asked.window_us}\0".encode())
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of it; a second time does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def best_trigger(path: str | os.PathLike[str], *wishes: Asked) -> PressureTrigger | None:
    """The first of these that the kernel grants; None where it grants none: then one has to look by the clock."""
    for asked in wishes:
        try:
            return PressureTrigger(path, asked)
        except OSError:
            continue
    return None
