"""Who, among those that would go along with a victim, must stay.

Belongs here: asking the shield about processes, from the snapshot where it knows them, from /proc where not.
Must not know: who is chosen.
"""

from __future__ import annotations

from oompolicy.backends.kill.choose import preference_of
from oompolicy.backends.kill.ground import Ground, read_small
from oompolicy.backends.kill.process import TICK_NS, Facts, adj_of, cgroup_of, is_within
from oompolicy.backends.kill.shield import Shield
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.sched import Task
from oompolicy.rules.preference import Preference, Preferences
from oompolicy.rules.rule import Victim
from oompolicy.snapshot import Snapshot


class Guard:
    """Shield and preferences, for every process that there is or will be."""

    def __init__(self, ground: Ground, snapshot: Snapshot, shield: Shield, preferences: Preferences) -> None:
        self._ground = ground
        self._shield = shield
        self._preferences = preferences
        self._tasks = {task.process_id: task for task in snapshot.kernel.tasks}
        self._page_bytes = snapshot.page_size_bytes

    def may_signal(self, pid: int, facts: Facts) -> bool:
        """May it go along? Who cannot be read may not."""
        task = self._tasks.get(pid)
        if task is None or (task.start_time_ns or 0) // TICK_NS != facts.start_ticks:
            task = self._read(pid, facts)
        return task is not None and self._may_go(task)

    def as_seen(self, pid: int, path: str) -> tuple[Victim, bool] | None:
        """Who that was in the snapshot, in words, and may it go along; None where it was not in or below that cgroup.

        It is not looked at again: a file of /proc for each of hundreds takes seconds where memory is short. Another
        process with its pid could only be one that was born there since, when all pids had been used up meanwhile.
        """
        task = self._tasks.get(pid)
        if task is None or task.memcg is None or not is_within(task.memcg.path, path):
            return None
        return Victim(pid, task.comm), self._may_go(task)

    def private_bytes(self, pid: int, start_ticks: int) -> int:
        """What the process alone held in the snapshot; 0 where it was not there."""
        task = self._tasks.get(pid)
        if task is None or task.mm is None or (task.start_time_ns or 0) // TICK_NS != start_ticks:
            return 0
        rss_pages = task.mm.rss_pages if task.mm.rss_anon_pages is None else task.mm.rss_anon_pages
        return (rss_pages + task.mm.swap_pages) * self._page_bytes

    def _may_go(self, task: Task) -> bool:
        if self._shield.why_not(task) is not None:
            return False
        return preference_of(task.memcg, self._preferences) is not Preference.OMIT

    def _read(self, pid: int, facts: Facts) -> Task | None:
        """One that was born since the snapshot."""
        try:
            status = read_small(self._ground.proc / str(pid) / "status")
            path = cgroup_of(self._ground, pid)
            adj = adj_of(self._ground, pid)
        except OSError:
            return None
        uid = next((int(line.split()[1]) for line in status.split(b"\n") if line.startswith(b"Uid:")), 0)
        memcg = None if path is None else MemCgroup(path)
        return Task(pid, facts.comm, None, uid=uid, oom_score_adj=adj, memcg=memcg, is_kthread=facts.is_kthread)
