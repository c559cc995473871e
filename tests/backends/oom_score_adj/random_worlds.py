"""Random machines and random policies over them, and a plan applied to the model.

Belongs here: what the plan's properties are checked on. Must not know: the properties.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import strategies as st

from oompolicy import DEFER, KILL, SPARE, OomControl, Policy, Task, Verdict, policy
from oompolicy.mm.rules import NEWEST, RootBonus, Rules, Ties
from oompolicy.mm.sched import Mm
from oompolicy.snapshot import Snapshot

from worlds import MemcgSpec, TaskSpec, machine, memcg, task

RULES = [
    NEWEST,
    Rules(clamp_to_one=True, ties=Ties.FIRST),
    Rules(root_bonus=RootBonus.PERCENT_3, clamp_to_one=True),
    Rules(root_bonus=RootBonus.ADJ_30, counts_pgtables=False),
]
ORIGINALS = st.sampled_from([0, 0, 0, 0, -1000, -999, -500, -17, 1, 300, 500, 999, 1000])
SIZES = st.integers(0, 60_000) | st.integers(0, 900_000)


@st.composite
def tasks(draw: st.DrawFn) -> TaskSpec:
    return task(
        f"t{draw(st.integers(0, 999))}",
        rss=draw(SIZES),
        swap=draw(st.integers(0, 5000)),
        oom_score_adj=draw(ORIGINALS),
        uid=draw(st.sampled_from([0, 1000])),
        value=draw(st.integers(0, 5)),
    )


@st.composite
def memcgs(draw: st.DrawFn, name: str, depth: int = 2) -> MemcgSpec:
    children = draw(st.integers(0, 2)) if depth else 0
    return memcg(
        name,
        *(draw(memcgs(f"m{number}", depth - 1)) for number in range(children)),
        tasks=draw(st.lists(tasks(), max_size=4)),
        limit=draw(st.none() | st.sampled_from([500, 20_000, 100_000, 300_000])),
        value=draw(st.none() | st.integers(-3, 3)),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    return machine(
        *(draw(memcgs(f"m{number}")) for number in range(draw(st.integers(0, 3)))),
        *draw(st.lists(tasks(), max_size=4)),
        totalpages=draw(st.sampled_from([400_000, 1_000_000, 6_000_123])),
        rules=draw(st.sampled_from(RULES)),
    )


def _named(function: object) -> Policy:
    return policy(function)  # type: ignore[arg-type]


def _table(task: Task, oc: OomControl) -> int | Verdict:
    """Anything at all, by the task's own value."""
    answers: list[int | Verdict] = [KILL, SPARE, DEFER, task.badness + 100_000, 7, -(1 << 40)]
    return answers[task.value or 0]


def _priority(task: Task, oc: OomControl) -> int | Verdict:
    value = None if task.memcg is None else task.memcg.value
    return DEFER if value is None else task.badness - value * (1 << 36)


def _strict(task: Task, oc: OomControl) -> int | Verdict:
    return -task.pid


def _by_scope(task: Task, oc: OomControl) -> int | Verdict:
    """The machine wants one order, every second memcg the other."""
    return task.pid if oc.memcg is not None and oc.memcg.id % 2 else -task.pid


def _twice(task: Task, oc: OomControl) -> int | Verdict:
    return 2 * task.badness


def _spare_all(task: Task, oc: OomControl) -> int | Verdict:
    return SPARE


def _fault_some(task: Task, oc: OomControl) -> int | Verdict:
    return 1 // (task.pid % 2)  # ZeroDivisionError for every second task


def _few(task: Task, oc: OomControl) -> int | Verdict:
    return DEFER if task.value else KILL


POLICIES = st.sampled_from(
    [None, *map(_named, [_table, _priority, _strict, _by_scope, _twice, _spare_all, _fault_some, _few])]
)
# Of these the answer for a task stays what it is, or moves with its badness one to one, as it grows.
STEADY = st.sampled_from([None, *map(_named, [_table, _priority, _strict, _by_scope, _spare_all, _few])])


def adjusted(snapshot: Snapshot, adj_by_pid: Mapping[int, int]) -> Snapshot:
    """The machine with other adjustments."""
    changed = tuple(
        replace(task, oom_score_adj=adj_by_pid.get(task.process_id, task.oom_score_adj))
        for task in snapshot.kernel.tasks
    )
    return replace(snapshot, kernel=replace(snapshot.kernel, tasks=changed))


def grown(snapshot: Snapshot, pid: int, by_pages: int) -> Snapshot:
    """The machine with one task grown."""

    def grow(mm: Mm | None) -> Mm | None:
        return None if mm is None else replace(mm, rss_pages=mm.rss_pages + by_pages)

    changed = tuple(
        replace(task, mm=grow(task.mm)) if task.process_id == pid else task for task in snapshot.kernel.tasks
    )
    return replace(snapshot, kernel=replace(snapshot.kernel, tasks=changed))


def without(snapshot: Snapshot, pids: set[int]) -> Snapshot:
    """The machine with some tasks gone."""
    left = tuple(task for task in snapshot.kernel.tasks if task.process_id not in pids)
    return replace(snapshot, kernel=replace(snapshot.kernel, tasks=left))
