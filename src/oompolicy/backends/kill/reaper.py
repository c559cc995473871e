"""Taking the memory of those that have been sent SIGKILL, in a thread, because that may have to wait.

Belongs here: process_mrelease(2) and who waits for it. Must not know: who was killed, why.

process_mrelease() waits for the victim's mmap_lock, which a victim stuck in reclaim may hold, and takes as long as the
memory takes to free: neither may hold up the next signal. It fails where the memory is shared with one that lives, or
is on its way back already; then the process's end frees it, which is looked for anyway.
C: SYSCALL_DEFINE2(process_mrelease, int, pidfd, unsigned int, flags), mm/oom_kill.c; commit 884a7e5964e0 "mm:
introduce process_mrelease system call" (in v5.15).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterable
from queue import SimpleQueue
from typing import Final, Protocol

# include/uapi/asm-generic/unistd.h, the same on every architecture that counts from there, and on x86-64.
_PROCESS_MRELEASE: Final = 448
# Of SCHED_FIFO: hundreds that are dying would be before it for a CPU, and at the memory that its own work needs.
PRIORITY: Final = 1
_IS_NUMBER_KNOWN: Final = os.uname().machine in ("x86_64", "aarch64", "ppc64le", "s390x", "riscv64", "loongarch64")

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_long)


class Victim(Protocol):
    """A process by its pidfd; is_reaped is set when its memory has been taken."""

    fd: int
    is_reaped: bool


class Reaper:
    """One thread. Raises RuntimeError where none can be started: then victims free their memory by ending."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Victim | None, int] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="oompolicy-reaper", daemon=True)
        self._thread.start()

    def take(self, victim: Victim) -> None:
        """Take the memory of a victim as soon as may be."""
        with contextlib.suppress(OSError):  # no descriptors left: it ends without us
            self._queue.put((victim, os.dup(victim.fd)))

    def take_all(self, pids: Iterable[int]) -> None:
        """Take the memory of all these, as far as they are still there, one after the other.

        Of a pid that is another process's by now nothing is taken: the kernel refuses one that is not dying (EINVAL).
        """
        for pid in pids:
            self._queue.put((None, pid))

    def close(self, timeout_s: float = 1.0) -> None:
        """No more; one that hangs is left behind."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _work(self) -> None:
        with contextlib.suppress(OSError):  # where it is not allowed it has its share, as the others have
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
        while (one := self._queue.get()) is not None:
            victim, number = one
            if victim is None:
                with contextlib.suppress(OSError):
                    _release(os.pidfd_open(number))
            elif _release(number):
                victim.is_reaped = True


def _release(fd: int) -> bool:
    """Take the memory of the process that the descriptor is of, and close it."""
    try:
        return _IS_NUMBER_KNOWN and _syscall(_PROCESS_MRELEASE, fd, 0) == 0
    finally:
        os.close(fd)
