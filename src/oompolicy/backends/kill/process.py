"""One process, held by a descriptor so that no other can be hit in its stead.

Belongs here: opening, verifying, signalling one process. Must not know: why it, what else goes.
"""

from __future__ import annotations

import enum
import errno
import os
import select
import signal
from dataclasses import dataclass
from typing import Final

from oompolicy.backends.kill.ground import GONE, OUT_OF_FDS, Ground, read_small
from oompolicy.mm.sched import OOM_SCORE_ADJ_MIN, Task
from oompolicy.rules.rule import Victim

# /proc/PID/stat counts start times in clock ticks of USER_HZ (include/asm-generic/param.h).
TICK_NS: Final = 10_000_000
_PF_KTHREAD: Final = 0x00200000  # include/linux/sched.h


class End(enum.Enum):
    """How an attempt on a process ended; the value is the sentence a person reads."""

    DONE = "signalled"
    GONE = "it has ended by itself"
    ANOTHER = "its pid is another process's by now"
    CHANGED = "it is another program by now"
    MOVED = "it has left its cgroup"
    SPARED = "its oom_score_adj is -1000 by now"
    REFUSED = "the kernel refuses it: another user's process needs CAP_KILL"
    NO_FDS = "no file descriptors are left"
    TOO_OLD = "this kernel has no pidfds (they are in v5.3): nothing can be killed safely"


@dataclass(frozen=True, slots=True)
class Facts:
    """What /proc/PID/stat says now."""

    comm: str
    state: str
    ppid: int
    is_kthread: bool
    threads: int
    start_ticks: int

    @property
    def is_leader_gone(self) -> bool:
        """Has the thread that gives the pid exited, while others live on? It has no cgroup or memory to tell of."""
        return self.state in "ZX" and self.threads > 1

    @property
    def has_ended(self) -> bool:
        """Is there nothing left but the exit status?"""
        return self.state in "ZX" and self.threads <= 1


class Held:
    """A process by its pidfd. private_bytes: what it alone holds, and so what its end gives back at least.

    is_reaped: its memory has been taken (reaper.py).
    """

    def __init__(self, pid: int, fd: int, start_ticks: int, comm: str, private_bytes: int = 0) -> None:
        self.pid = pid
        self.fd = fd
        self.start_ticks = start_ticks
        self.comm = comm
        self.private_bytes = private_bytes
        self.is_reaped = False

    @property
    def victim(self) -> Victim:
        """Who it is, once it is signalled."""
        return Victim(self.pid, self.comm)

    def has_ended(self) -> bool:
        """Is the process dead? A pidfd is readable from exit_notify() on, kernel/exit.c, after exit_mm()."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(0))

    def send(self, number: int) -> End:
        """Signal it; whoever has the pid, only the process that was opened can be hit."""
        try:
            signal.pidfd_send_signal(self.fd, number)
        except OSError as error:
            return End.GONE if error.errno == errno.ESRCH else End.REFUSED
        return End.DONE

    def close(self) -> None:
        """Let go of it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_pid(ground: Ground, pid: int) -> int | End:
    """A pidfd, with the spare descriptors where there are no others."""
    for _ in range(2):
        try:
            return os.pidfd_open(pid)
        except OSError as error:
            if error.errno in OUT_OF_FDS and ground.spend_spare():
                continue
            if error.errno in OUT_OF_FDS:
                return End.NO_FDS
            # EINVAL: the pid is a thread's that is no leader, so the process is another one.
            return End.TOO_OLD if error.errno == errno.ENOSYS else End.GONE
    return End.NO_FDS


def hold(ground: Ground, task: Task, within: str | None) -> Held | End:
    """Open the process that the task was when it was seen, and make sure that it still is.

    The descriptor comes first: whoever has the pid and the start time after it, had the pid when it was opened.
    within: the cgroup it must still be in, itself or below; None for anywhere.
    """
    fd = open_pid(ground, task.process_id)
    if isinstance(fd, End):
        return fd
    mm = task.mm
    pages = 0 if mm is None else (mm.rss_pages if mm.rss_anon_pages is None else mm.rss_anon_pages) + mm.swap_pages
    size = os.sysconf("SC_PAGE_SIZE")
    held = Held(task.process_id, fd, (task.start_time_ns or 0) // TICK_NS, task.comm, pages * size)
    end = verify(ground, held, within)
    if end is not End.DONE:
        held.close()
        return end
    return held


def verify(ground: Ground, held: Held, within: str | None) -> End:
    """Is what is held still the process that was chosen: start time, name, cgroup? DONE where it is."""
    try:
        facts = facts_of(ground, held.pid)
        if facts is None or facts.has_ended or held.has_ended():
            return End.GONE
        if facts.start_ticks != held.start_ticks:
            return End.ANOTHER
        if facts.is_leader_gone:
            return End.DONE
        if facts.comm != held.comm:
            return End.CHANGED
        if within is not None and not is_within(cgroup_of(ground, held.pid), within):
            return End.MOVED
        if adj_of(ground, held.pid) == OOM_SCORE_ADJ_MIN:
            return End.SPARED
    except OSError as error:
        if error.errno in GONE:
            return End.GONE
        return End.NO_FDS if error.errno in OUT_OF_FDS else End.REFUSED
    return End.DONE


def facts_of(ground: Ground, pid: int) -> Facts | None:
    """What is known of a pid now; None where nobody has it. Raises OSError for anything else than that."""
    try:
        line = read_small(ground.proc / str(pid) / "stat")
    except OSError as error:
        if error.errno in GONE:
            return None
        if error.errno not in OUT_OF_FDS or not ground.spend_spare():
            raise
        return facts_of(ground, pid)
    first, last = line.index(b"("), line.rindex(b")")
    fields = line[last + 2 :].split()
    comm = line[first + 1 : last].decode("utf-8", "surrogateescape")
    is_kthread = bool(int(fields[6]) & _PF_KTHREAD)
    return Facts(comm, chr(fields[0][0]), int(fields[1]), is_kthread, int(fields[17]), int(fields[19]))


def cgroup_of(ground: Ground, pid: int) -> str | None:
    """The path of its memory cgroup; None where it cannot be told. Raises OSError."""
    return ground.path_of(read_small(ground.proc / str(pid) / "cgroup"))


def adj_of(ground: Ground, pid: int) -> int:
    """Its oom_score_adj. Raises OSError."""
    return int(read_small(ground.proc / str(pid) / "oom_score_adj"))


def is_within(path: str | None, within: str) -> bool:
    """Is the cgroup that one, or below it?"""
    return within == "/" or (path is not None and (path == within or path.startswith(f"{within}/")))
