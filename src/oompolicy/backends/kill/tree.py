"""A process and all that descends from it.

Belongs here: finding descendants, and holding a tree still so that it cannot grow while it is felled.
Must not know: why, with which signal.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final

from oompolicy.backends.kill.ground import GONE, Ground, read_small
from oompolicy.backends.kill.process import End, Facts, Held, facts_of, open_pid

# A tree that still grows after so many looks forks faster than it can be stopped: what is held is felled then, and
# the next look finds the rest.
ROUNDS_MAX: Final = 64

MaySignal = Callable[[int, Facts], bool]


class Tree:
    """The root and those found below it: parents before children, older before younger.

    may_signal says of a pid whether it may be signalled; where not, it and all below it stay out.
    """

    def __init__(self, ground: Ground, root: Held, may_signal: MaySignal) -> None:
        self._ground = ground
        self._may_signal = may_signal
        self.held = [root]
        self._known = {root.pid}

    def look(self) -> int:
        """Find descendants that are not held yet; how many there were. Each is checked against its parent's word."""
        before = len(self.held)
        listed = _children_by_scan(self._ground) if not _has_children_file(self._ground) else None
        for parent in self.held:  # grows meanwhile: those found are asked for their children, too
            pids = _children(self._ground, parent.pid) if listed is None else listed.get(parent.pid, [])
            for pid in pids:
                if pid not in self._known:
                    self._take(pid, parent)
        return len(self.held) - before

    def hold_still(self) -> None:
        """SIGSTOP to all, parents first, until a look finds nobody new while all that were known stood still.

        A process that is being forked when its parent is stopped may still appear, and fork itself, until it is
        found; SIGKILL alone would leave it to init, and out of sight (copy_process(), kernel/fork.c).
        """
        stopped = 0
        for _ in range(ROUNDS_MAX):
            for one in self.held[stopped:]:
                one.send(signal.SIGSTOP)
            stopped = len(self.held)
            stood = all(self._stands(one) for one in self.held)
            if self.look() == 0 and stood:
                return

    def close(self) -> None:
        """Let go of all."""
        for one in self.held:
            one.close()

    def _take(self, pid: int, parent: Held) -> None:
        fd = open_pid(self._ground, pid)
        if isinstance(fd, End):
            return
        facts = _or_none(self._ground, pid)
        # Its parent lives: nobody else can have taken that pid, and the child be somebody else's.
        if facts is None or facts.ppid != parent.pid or facts.has_ended or parent.has_ended():
            os.close(fd)
            return
        self._known.add(pid)
        if not self._may_signal(pid, facts):
            os.close(fd)
            return
        self.held.append(Held(pid, fd, facts.start_ticks, facts.comm))

    def _stands(self, one: Held) -> bool:
        facts = _or_none(self._ground, one.pid)
        return facts is None or facts.start_ticks != one.start_ticks or facts.state in "TtZX"


def _or_none(ground: Ground, pid: int) -> Facts | None:
    try:
        return facts_of(ground, pid)
    except OSError:
        return None


def _has_children_file(ground: Ground) -> bool:
    """CONFIG_PROC_CHILDREN; without it everybody's parent has to be asked for."""
    return (ground.proc / "self/task" / str(os.getpid()) / "children").exists()


def _children(ground: Ground, pid: int) -> list[int]:
    """The children of all its threads; the kernel lists them in order of age for each (children_seq_show())."""
    found: list[int] = []
    folder = ground.proc / str(pid) / "task"
    try:
        for thread in os.listdir(folder):
            found += [int(word) for word in read_small(folder / thread / "children").split()]
    except OSError as error:
        if error.errno not in GONE:
            ground.spend_spare()
    return found


def _children_by_scan(ground: Ground) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    try:
        names = os.listdir(ground.proc)
    except OSError:  # no descriptors left
        return found
    for name in names:
        facts = _or_none(ground, int(name)) if name.isdecimal() else None
        if facts is not None:
            found.setdefault(facts.ppid, []).append(int(name))
    return found
