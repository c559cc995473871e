"""Keeping a plan in force on the processes of a machine.

Belongs here: what is written in which order, and what is remembered of it. Must not know: when, which policy.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from oompolicy.backends.backend import TakeSnapshot
from oompolicy.backends.oom_score_adj.claims import Claim, measure
from oompolicy.backends.oom_score_adj.journal import Journal
from oompolicy.backends.oom_score_adj.kills import TakeKills, in_words
from oompolicy.backends.oom_score_adj.originals import (
    TICK_NS,
    Drift,
    Entry,
    Identity,
    Seen,
    identity_of,
    is_within,
    see,
    taken_over,
    to_restore,
)
from oompolicy.backends.oom_score_adj.plan import Plan, Room, plan_ranking
from oompolicy.backends.oom_score_adj.process import Written, may_lower, write_adj
from oompolicy.backends.oom_score_adj.ranking import Ranking, rank
from oompolicy.engine import Enforced, Looked, Standing
from oompolicy.mm.sched import Task
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit, Fault
from oompolicy.scoring.scene import PastKill
from oompolicy.snapshot import Snapshot

# Processes go on forking while their values are put back; their children are found by looking again.
_PUT_BACK_LOOKS: Final = 5
# The log is told so many of the orderings that a plan cannot hold; `run --once` has them all.
_UNMET_SAID: Final = 3


class Writer(Protocol):
    """Where values are written to."""

    may_lower: bool

    def as_written(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with what was written before."""

    def write(self, identity: Identity, comm: str, before: int, adj: int) -> Written:
        """Set one value."""


class ProcWriter:
    """The processes themselves."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self.may_lower = may_lower(proc)

    def as_written(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot of the machine has it already."""
        return snapshot

    def write(self, identity: Identity, comm: str, before: int, adj: int) -> Written:
        """Set one value."""
        return write_adj(identity, adj, self._proc)


class OomScoreAdj:
    """The backend oom_score_adj: originals in a journal first, then the plan on the processes.

    within: the only cgroup whose processes are touched; None for all. Without a journal nothing can be put back after
    a kill -9, so only a writer that changes nothing goes without one. kills tells whom the kernel has killed.
    """

    name = "oom_score_adj"
    bell = None  # without the hook the kernel tells nobody whom it has chosen

    def __init__(
        self,
        writer: Writer,
        journal: Journal | None,
        drift: Drift,
        within: str | None = None,
        kills: TakeKills = tuple,
    ) -> None:
        self.drift = drift
        self.plan: Plan | None = None
        self._writer = writer
        self._journal = journal
        self._within = within
        self._kills = kills
        self._policy = ""
        self._untold: tuple[str, ...] = ()
        self._seen = Seen()
        self._ranking: Ranking | None = None
        self._present: dict[int, Task] = {}
        self._refused: set[Identity] = set()
        self._looked_at_ticks = 0

    def start(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Lock the state directory and take over what an earlier daemon has left: it is changed where the policy is."""
        if self._journal is None:
            return ()
        self._journal.lock()
        left = self._journal.read()
        if left:
            self._journal.replace(left)
        else:
            self._journal.remove()  # of another boot, it would be continued with lines of this one
        self._seen = taken_over(left, snapshot.kernel.tasks)
        number = len(self._seen.entries)
        return (f"{number} processes are still as an earlier daemon has set them: taken over",) if number else ()

    def take_kills(self, snapshot: Snapshot) -> tuple[PastKill, ...]:
        """What the kernel's log says; each is told of at the next look, by the plan that was in force."""
        try:
            found = self._kills()
        except OSError as error:
            self._untold = (f"whom the kernel has killed cannot be read: {error.strerror}",)
            return ()
        told = [replace(kill, why=in_words(kill, self.plan, self._policy)) for kill in found]
        self._untold = tuple(kill.why for kill in told)
        return tuple(told)

    def look(self, snapshot: Snapshot, policy: Policy, limit: CallLimit) -> Looked:
        """Compare every process with what was written, and the order they are in with the policy's."""
        snapshot = self._writer.as_written(snapshot)
        self._policy = policy.name
        before, (untold, self._untold) = self._seen, (self._untold, ())
        tasks = snapshot.kernel.tasks
        seen = see(before.entries, tasks, self.drift, before.ghosts)
        if self._journal is not None:
            known = {*seen.entries, *seen.ghosts}
            let_go = [identity for identity in (*before.entries, *before.ghosts) if identity not in known]
            self._journal.note((*seen.inherited, *seen.drifted, *seen.left), let_go)
        self._seen = seen
        self._looked_at_ticks = (snapshot.taken_boottime_ns or 0) // TICK_NS
        self._present = {task.process_id: task for task in tasks}
        originals = tuple(_with_adj(task, seen.originals.get(task.process_id)) for task in tasks)
        unadjusted = replace(snapshot, kernel=replace(snapshot.kernel, tasks=originals))
        ranking = rank(unadjusted, policy, self._within, limit)
        self._ranking = ranking
        claims = measure(ranking, [self._present[task.process_id].oom_score_adj for task in ranking.tasks])
        return Looked(
            tuple(map(_standing, claims)),
            hash(frozenset((task.process_id, task.start_time_ns) for task in ranking.tasks)),
            (
                *untold,
                *ranking.notes,
                *(_fault_in_words(policy, fault) for fault in ranking.faults),
                *self._drift_in_words(),
            ),
            len(seen.drifted),
        )

    def enforce(self) -> Enforced:
        """Plan for what was looked at, and write what differs."""
        assert self._ranking is not None
        refused = {identity.pid for identity in self._refused if identity in map(identity_of, self._present.values())}
        room = Room(self._writer.may_lower, frozenset(self._seen.fixed | refused))
        self.plan = plan_ranking(self._ranking, room)
        changed = self._write(self._wanted(self.plan))
        if self._journal is not None:
            self._journal.tidy({**self._seen.ghosts, **self._seen.entries})
        return Enforced(tuple(map(_standing, self.plan.claims)), changed, _first_unmet_in_words(self.plan))

    def put_back(self, take_snapshot: TakeSnapshot) -> tuple[str, ...]:
        """Give every process that has a value of ours its original; look again until there is none left."""
        done: set[Identity] = set()
        refused: set[Identity] = set()
        is_clean = False
        for _ in range(_PUT_BACK_LOOKS):
            tasks = self._writer.as_written(take_snapshot()).kernel.tasks
            adj = {identity_of(task): task.oom_score_adj for task in tasks}
            left = to_restore(self._seen, tasks, self._within)
            is_clean = not left
            for identity, comm, original in left:
                outcome = self._writer.write(identity, comm, adj[identity], original)
                (refused if outcome is Written.REFUSED else done).add(identity)
            if all(identity in refused for identity, _, _ in left):
                break
        if self._journal is not None and is_clean:
            self._journal.remove()
        lines = [f"{len(done)} processes have their own oom_score_adj again"] if done else []
        if not is_clean:
            why = f" ({Written.REFUSED.value})" if refused else ""
            lines.append(f"{len(left)} processes could not be put back{why}: try `oompolicy restore` as root")
        return tuple(lines)

    def close(self) -> None:
        """Let others have the state directory."""
        if self._journal is not None:
            self._journal.unlock()

    def _wanted(self, plan: Plan) -> list[tuple[Task, int]]:
        """Each process whose value is to change, as it is now, with the new value; the next victim first."""
        wanted = {task.process_id: adj for task, adj in zip(plan.ranking.tasks, plan.values, strict=True)}
        for identity, entry in self._seen.entries.items():
            task = self._present[identity.pid]
            if not entry.is_left and not is_within(task, self._within):
                wanted[identity.pid] = entry.original
        return [(self._present[pid], adj) for pid, adj in wanted.items() if self._present[pid].oom_score_adj != adj]

    def _write(self, changes: list[tuple[Task, int]]) -> int:
        """Write new values, and note them before; how many were written."""
        noted = {entry.identity: entry for task, adj in changes if (entry := self._entry(task, adj)) is not None}
        if self._journal is not None:
            self._journal.note(noted.values())
        reverted, released, written = [], [], 0
        for task, adj in changes:
            identity = identity_of(task)
            if identity is None:
                continue
            outcome = self._writer.write(identity, task.comm, task.oom_score_adj, adj)
            before = self._seen.entries.pop(identity, None)
            if outcome is Written.DONE:
                written += 1
                if identity in noted:
                    self._seen.entries[identity] = noted[identity]
                elif before is not None:  # let go of; it may have children whom we have not seen yet
                    self._seen.ghosts[identity] = before
            elif outcome is Written.REFUSED:
                self._refused.add(identity)
                if before is None:
                    released.append(identity)
                else:
                    self._seen.entries[identity] = before
                    reverted.append(before)
            elif before is not None:
                self._seen.ghosts[identity] = before
        if self._journal is not None:
            self._journal.note(reverted, released)
        return written

    def _entry(self, task: Task, adj: int) -> Entry | None:
        """What is to be known of a process that gets this value; None where it is its original."""
        identity = identity_of(task)
        if identity is None or adj == self._seen.originals[identity.pid]:
            return None
        known = self._seen.entries.get(identity)
        if known is None:
            cgroup = None if task.memcg is None else task.memcg.path
            original = self._seen.originals[identity.pid]
            known = Entry(identity, task.comm, original, (), self._looked_at_ticks, cgroup)
        return known.with_written(adj)

    def _drift_in_words(self) -> list[str]:
        said = "{0.comm} ({0.identity.pid}): somebody set its oom_score_adj to {0.original}: {1}"
        lines = [said.format(entry, "set again") for entry in self._seen.drifted]
        lines += [said.format(entry, "left so") for entry in self._seen.left]
        lines += [
            f"pid {identity.pid}: oom_score_adj cannot be changed: {Written.REFUSED.value}"
            for identity in self._refused
        ]
        return lines


def restore_left_behind(
    journal: Journal, take_snapshot: TakeSnapshot, within: str | None = None, proc: Path = Path("/proc")
) -> tuple[str, ...]:
    """Put back what a killed daemon left, children of its processes included; the lines are for people.

    within bounds where children are looked for. Raises BackendError where a daemon is at work: it puts back itself
    when it is stopped.
    """
    backend = OomScoreAdj(ProcWriter(proc), journal, "leave", within)
    try:
        backend.start(take_snapshot())
        return backend.put_back(take_snapshot)
    finally:
        backend.close()


def _with_adj(task: Task, adj: int | None) -> Task:
    return task if adj is None or adj == task.oom_score_adj else replace(task, oom_score_adj=adj)


def _standing(claim: Claim) -> Standing:
    return Standing(claim.scope, claim.candidates, claim.held, claim.totalpages, claim.first_margin_pages)


def _first_unmet_in_words(plan: Plan) -> tuple[str, ...]:
    """For each scope, as long as they are few, the ordering with which it stops to hold."""
    firsts = {item.scope.path: item for item in reversed(plan.unmet)}
    return tuple(item.in_words(plan.ranking.page_size_bytes) for item in islice(reversed(firsts.values()), _UNMET_SAID))


def _fault_in_words(policy: Policy, fault: Fault) -> str:
    place = policy.name if fault.line is None else f"{policy.source_path or policy.name}:{fault.line}"
    return f"{place}: policy {policy.name} faulted: {fault.why}: counted as DEFER"
