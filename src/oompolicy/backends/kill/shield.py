"""Whom nothing here may kill: what the configuration protects, what the kernel would not kill, and the daemon.

Belongs here: the reasons, in their order. Must not know: who is asked about, and why.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from oompolicy.backends.kill.ground import Ground, read_small
from oompolicy.mm.sched import OOM_SCORE_ADJ_MIN, Task, is_global_init
from oompolicy.rules.protect import Protect


@dataclass(frozen=True, slots=True)
class Shield:
    """protect is the configuration's; own are the daemon, its helper, and the processes that it was started from.

    These last are a shell, a terminal: to end them may end the daemon.
    """

    protect: Protect = field(default_factory=Protect)
    own: frozenset[int] = frozenset()

    def why_not(self, task: Task) -> str | None:
        """Why this task is not to be killed, in words; None where it may be."""
        if is_global_init(task):
            return "init is never killed"
        if task.is_kthread:
            return "a kernel thread is never killed"
        if task.process_id in self.own:
            return "oompolicy itself, or a process that it was started from"
        if task.oom_score_adj == OOM_SCORE_ADJ_MIN:
            return "oom_score_adj is -1000"
        return self.protect.why_not(task)

    def is_vital(self, task: Task) -> bool:
        """Must it not even be slowed down?"""
        return is_global_init(task) or task.process_id in self.own


def own_pids(ground: Ground) -> frozenset[int]:
    """This process, and those it was started from, up to init."""
    found: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            line = read_small(ground.proc / str(pid) / "stat")
        except OSError:
            break
        pid = int(line[line.rindex(b")") + 2 :].split()[1])
    return frozenset(found)
