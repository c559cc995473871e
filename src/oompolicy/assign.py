"""A table of values: which memcgs and tasks get which opaque value, by pattern.

Belongs here: matching and the changed snapshot. Must not know: where the table was written, what a value means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from oompolicy.mm.sched import Task
from oompolicy.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Assignment:
    """One row: whom it matches, and the value they get.

    cgroup is a glob on the path from the root ("*" crosses "/"), comm a glob on the name, uid a user id; None
    matches anything. A row with only a cgroup gives the value to the memcg, so that its children inherit it; a row
    that also names comm or uid gives it to the task.
    """

    value: int
    cgroup: str | None = None
    comm: str | None = None
    uid: int | None = None

    @property
    def is_of_memcg(self) -> bool:
        """Does it give the value to the cgroup, rather than to single tasks?"""
        return self.comm is None and self.uid is None

    def matches_path(self, path: str) -> bool:
        """Is the cgroup's path one of its own?"""
        return self.cgroup is None or fnmatchcase(path, "/" + self.cgroup.lstrip("/"))

    def matches_task(self, task: Task) -> bool:
        """Is the task one of its own?"""
        if self.comm is not None and not fnmatchcase(task.comm, self.comm):
            return False
        if self.uid is not None and task.uid != self.uid:
            return False
        return self.cgroup is None or (task.memcg is not None and self.matches_path(task.memcg.path))


def assigned(snapshot: Snapshot, table: Sequence[Assignment]) -> Snapshot:
    """The snapshot with the table's values; the last row that matches wins, and a value already set stays otherwise."""
    if not table:
        return snapshot
    of_memcgs = [row for row in table if row.is_of_memcg]
    of_tasks = [row for row in table if not row.is_of_memcg]
    memcgs = {
        memcg: row.value
        for memcg in snapshot.kernel.memcgs
        if (row := next((row for row in reversed(of_memcgs) if row.matches_path(memcg.path)), None)) is not None
    }
    tasks = {
        task: row.value
        for task in snapshot.kernel.tasks
        if (row := next((row for row in reversed(of_tasks) if row.matches_task(task)), None)) is not None
    }
    return snapshot.with_values(memcgs, tasks)
