"""Who is never killed by us, whatever a rule says.

Belongs here: matching. Must not know: where it was written, what a rule wants.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from oompolicy.mm.sched import Task
from oompolicy.rules.scopes import matches


@dataclass(frozen=True, slots=True)
class Protect:
    """Patterns: cgroups (each with all that is below it), comms; uids, and pids of user space (tgids)."""

    cgroups: tuple[str, ...] = ()
    comms: tuple[str, ...] = ()
    uids: tuple[int, ...] = ()
    pids: tuple[int, ...] = ()

    def why_not(self, task: Task) -> str | None:
        """Why it may not be killed, in words; None where it may."""
        if task.process_id in self.pids:
            return f"pid {task.process_id} is protected"
        if task.uid in self.uids:
            return f"uid {task.uid} is protected"
        for pattern in self.comms:
            if fnmatchcase(task.comm, pattern):
                return f"comm {pattern} is protected"
        return None if task.memcg is None else self.why_not_cgroup(task.memcg.path)

    def why_not_cgroup(self, path: str) -> str | None:
        """The same of a whole cgroup; what only lies below it is not looked at."""
        for pattern in self.cgroups:
            if any(matches(pattern, above) for above in _with_those_above(path)):
                return f"cgroup {pattern} is protected"
        return None


def _with_those_above(path: str) -> list[str]:
    """
    >>> _with_those_above("/a/b")
    ['/a/b', '/a', '/']
    """
    found = [path]
    while path not in ("", "/"):
        path = path.rpartition("/")[0] or "/"
        found.append(path)
    return found
