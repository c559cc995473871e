"""Whom no rule may kill, whatever its policy says.

Belongs here: the patterns of [protect] and the process ids that the daemon adds. Must not know: policies, files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from oompolicy.mm.sched import OOM_SCORE_ADJ_MIN, Task, is_global_init


@dataclass(frozen=True, slots=True)
class Protection:
    """[protect]: globs on the comm and on the cgroup's path ("*" crosses "/"), and user ids.

    A cgroup that matches protects all below it. pids are the daemon's own: itself, its helper, and the processes that
    it was started from (a shell, a terminal): to end these may end the daemon.
    """

    comm: tuple[str, ...] = ()
    cgroup: tuple[str, ...] = ()
    uid: frozenset[int] = frozenset()
    pids: frozenset[int] = frozenset()

    def with_pids(self, pids: Iterable[int]) -> Protection:
        """The same, and these process ids."""
        return replace(self, pids=self.pids | frozenset(pids))

    def why_not(self, task: Task) -> str | None:
        """Why this task is not to be killed, in words; None where it may be."""
        if is_global_init(task):
            return "init is never killed"
        if task.is_kthread:
            return "a kernel thread is never killed"
        if task.process_id in self.pids:
            return "oompolicy itself, or a process that it was started from"
        if task.oom_score_adj == OOM_SCORE_ADJ_MIN:
            return "oom_score_adj is -1000"
        return self._named(task)

    def _named(self, task: Task) -> str | None:
        for pattern in self.comm:
            if fnmatchcase(task.comm, pattern):
                return f'[protect] comm = "{pattern}"'
        path = None if task.memcg is None else task.memcg.path
        for pattern in self.cgroup if path is not None else ():
            if path is not None and is_path_matched(path, pattern):
                return f'[protect] cgroup = "{pattern}"'
        return f"[protect] uid = {task.uid}" if task.uid in self.uid else None


def is_path_matched(path: str, pattern: str) -> bool:
    """Is the cgroup, or one above it, one that the pattern names?

    >>> is_path_matched("/system.slice/sshd.service/inner", "/system.slice/ssh*.service")
    True
    >>> is_path_matched("/system.slice", "system.slice/sshd.service")
    False
    """
    pattern = "/" + pattern.lstrip("/")
    while path not in ("", "/"):
        if fnmatchcase(path, pattern):
            return True
        path = path.rpartition("/")[0]
    return pattern == "/"
