"""Values that somebody has told a running daemon, for a cgroup or a process, for good or for a time.

Belongs here: keeping them, and letting go of those whose time is over. Must not know: how they were told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.sched import Task
from oompolicy.snapshot import Snapshot

# So many at most: a client that only ever adds must not fill the daemon's memory.
MOST: Final = 10_000
_TICK_NS: Final = 10_000_000  # of /proc/PID/stat: USER_HZ is 100 on every architecture that Linux still has


@dataclass(frozen=True, slots=True)
class OfCgroup:
    """A cgroup, by its path from the root and its id: one that is made anew under the same path is another."""

    path: str
    id: int


@dataclass(frozen=True, slots=True)
class OfProcess:
    """A process, by its id and when it started, in clock ticks from boot (field 22 of /proc/PID/stat)."""

    pid: int
    start_ticks: int


Whom: TypeAlias = OfCgroup | OfProcess


@dataclass(frozen=True, slots=True)
class GivenValue:
    """until_ms: on the clock of the daemon; None: as long as the cgroup, the process, or the daemon."""

    value: int
    until_ms: int | None = None


class GivenValues:
    """All that has been told."""

    def __init__(self) -> None:
        self._values: dict[Whom, GivenValue] = {}

    def give(self, whom: Whom, value: GivenValue) -> bool:
        """From now on; False where there are too many already."""
        if whom not in self._values and len(self._values) >= MOST:
            return False
        self._values[whom] = value
        return True

    def take_back(self, whom: Whom) -> bool:
        """Was there any?"""
        return self._values.pop(whom, None) is not None

    def of(self, whom: Whom, now_ms: int) -> GivenValue | None:
        """What was told, while it counts."""
        found = self._values.get(whom)
        return None if found is None or _is_over(found, now_ms) else found

    def all(self, now_ms: int) -> dict[Whom, GivenValue]:
        """Those that count."""
        self._values = {whom: each for whom, each in self._values.items() if not _is_over(each, now_ms)}
        return dict(self._values)

    @property
    def next_end_ms(self) -> int | None:
        """When the next of them is over."""
        return min((each.until_ms for each in self._values.values() if each.until_ms is not None), default=None)

    def valued(self, snapshot: Snapshot, now_ms: int) -> Snapshot:
        """The snapshot with them; those whose cgroup or process is not there any more are forgotten."""
        if not self._values:
            return snapshot
        values = self.all(now_ms)
        memcgs = {
            memcg: found.value
            for memcg in snapshot.kernel.memcgs
            if memcg.id is not None and (found := values.get(OfCgroup(memcg.path, memcg.id))) is not None
        }
        tasks = {
            task: found.value for task in snapshot.kernel.tasks if (found := values.get(process_of(task))) is not None
        }
        self._forget_all_but(memcgs, tasks)
        return snapshot.with_values(memcgs, tasks)

    def _forget_all_but(self, memcgs: dict[MemCgroup, int], tasks: dict[Task, int]) -> None:
        there: set[Whom] = {process_of(task) for task in tasks}
        there.update(OfCgroup(memcg.path, memcg.id) for memcg in memcgs if memcg.id is not None)
        if len(there) < len(self._values):
            self._values = {whom: each for whom, each in self._values.items() if whom in there}


def process_of(task: Task) -> OfProcess:
    """The name of a task's process here."""
    return OfProcess(task.process_id, (task.start_time_ns or 0) // _TICK_NS)


def _is_over(value: GivenValue, now_ms: int) -> bool:
    return value.until_ms is not None and value.until_ms <= now_ms
