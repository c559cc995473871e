"""A table of values: which memcgs and tasks get which opaque value, by pattern.

Belongs here: matching and the changed snapshot. Must not know: where the table was written, what a value means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from oompolicy.mm.sched import Task
from oompolicy.snapshot import Details, Snapshot


@dataclass(frozen=True, slots=True)
class Assignment:
    """One row: whom it matches, and the value they get. None matches anything; what is there must all match.

    cgroup is a glob on the path from the root ("*" crosses "/"), unit one on the name of a unit of the system's
    systemd, uid a user id. comm is a glob on the name; exe on the path of the program's file, cmdline on the
    arguments joined by spaces, environment on one NAME=TEXT. A row with only cgroup and unit gives the value to the
    memcg, so that its children inherit it; one that names more gives it to the task.
    """

    value: int
    cgroup: str | None = None
    comm: str | None = None
    uid: int | None = None
    unit: str | None = None
    exe: str | None = None
    cmdline: str | None = None
    environment: str | None = None

    @property
    def is_of_memcg(self) -> bool:
        """Does it give the value to the cgroup, rather than to single tasks?"""
        of_tasks = (self.comm, self.uid, self.exe, self.cmdline, self.environment)
        return all(asked is None for asked in of_tasks)

    def matches_path(self, path: str) -> bool:
        """Is the cgroup's path one of its own?"""
        return self.cgroup is None or fnmatchcase(path, "/" + self.cgroup.lstrip("/"))

    def matches_memcg(self, path: str) -> bool:
        """Does it give its value to this cgroup: is the path its own, and the cgroup the unit's, not one inside it?"""
        if not self.matches_path(path):
            return False
        return self.unit is None or (is_unit_itself(path) and self._matches_unit(path))

    def matches_task(self, task: Task, details: Details | None = None) -> bool:
        """Is the task one of its own? What costs a file is asked last; without details it is no match."""
        if self.comm is not None and not fnmatchcase(task.comm, self.comm):
            return False
        if self.uid is not None and task.uid != self.uid:
            return False
        path = None if task.memcg is None else task.memcg.path
        if self.cgroup is not None and (path is None or not self.matches_path(path)):
            return False
        if self.unit is not None and (path is None or not self._matches_unit(path)):
            return False
        return self._matches_details(task, details)

    def _matches_unit(self, path: str) -> bool:
        name = unit_of_system(path)
        return name is not None and self.unit is not None and fnmatchcase(name, self.unit)

    def _matches_details(self, task: Task, details: Details | None) -> bool:
        if self.exe is None and self.cmdline is None and self.environment is None:
            return True
        if details is None or task.is_kthread:
            return False
        if self.exe is not None and not _is_like(details.exe(task), self.exe):
            return False
        if self.cmdline is not None and not _is_like(details.cmdline(task), self.cmdline):
            return False
        pattern = self.environment
        return pattern is None or any(fnmatchcase(one, pattern) for one in details.environment(task))


def assigned(snapshot: Snapshot, table: Sequence[Assignment]) -> Snapshot:
    """The snapshot with the table's values; the last row that matches wins, and a value already set stays otherwise.

    Rows on exe, cmdline or environment ask snapshot.details, where it has them.
    """
    if not table:
        return snapshot
    of_memcgs = [row for row in table if row.is_of_memcg]
    of_tasks = [row for row in table if not row.is_of_memcg]
    memcgs = {
        memcg: row.value
        for memcg in snapshot.kernel.memcgs
        if (row := next((row for row in reversed(of_memcgs) if row.matches_memcg(memcg.path)), None)) is not None
    }
    tasks = {
        task: row.value
        for task in snapshot.kernel.tasks
        if (row := next((row for row in reversed(of_tasks) if row.matches_task(task, snapshot.details)), None))
        is not None
    }
    return snapshot.with_values(memcgs, tasks)


def unit_of_system(path: str) -> str | None:
    """The unit of the system's systemd that a cgroup is, or is in: the first on the way down that is no slice.

    What is below a unit was made by the unit, or by the user it was delegated to: a cgroup there that bears the name
    of another unit is not that unit. A name that could be taken for a file of the kernel's has "_" before it
    (cg_escape(), src/basic/cgroup-util.c of systemd).

    >>> unit_of_system("/system.slice/db.service/worker"), unit_of_system("/user.slice/user-7.slice")
    ('db.service', 'user-7.slice')
    >>> unit_of_system("/user.slice/user-7.slice/user@7.service/app.slice/db.service")
    'user@7.service'
    """
    name = None
    for part in path.strip("/").split("/"):
        name = part.removeprefix("_")
        if not name.endswith(".slice"):
            break
    return name or None


def is_unit_itself(path: str) -> bool:
    """Is it the unit's own cgroup?

    >>> is_unit_itself("/system.slice/db.service"), is_unit_itself("/system.slice/db.service/worker")
    (True, False)
    """
    above = path.strip("/").split("/")[:-1]
    return all(part.endswith(".slice") for part in above)


def _is_like(text: str | None, pattern: str) -> bool:
    return text is not None and fnmatchcase(text, pattern)
