"""The plan: which oom_score_adj to give to whom, and what that holds.

Belongs here: the plan as a whole, and which tasks are left alone.
Must not know: processes, files, when to plan.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

from oompolicy.backends.oom_score_adj.claims import Claim, Unmet, measure, unmet
from oompolicy.backends.oom_score_adj.nearest import nearest_values
from oompolicy.backends.oom_score_adj.ranking import Ranking, rank
from oompolicy.backends.oom_score_adj.search import MARGIN_STEPS, Search
from oompolicy.backends.oom_score_adj.solve import HIGHEST, LOWEST, Bounds, Problem
from oompolicy.mm.sched import Task
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit
from oompolicy.policy.verdict import Band
from oompolicy.snapshot import Snapshot

# A plan that leaves alone those on whom the policy DEFERs is good enough with this much of totalpages as a margin.
_ENOUGH_STEPS: Final = MARGIN_STEPS // 16


@dataclass(frozen=True, slots=True)
class Room:
    """What may be changed: may_lower is False without CAP_SYS_RESOURCE; fixed are process ids that are left alone."""

    may_lower: bool = True
    fixed: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A task's new oom_score_adj; the task carries its original one."""

    task: Task
    adj: int


@dataclass(frozen=True, slots=True)
class Plan:
    """adjustments are those that differ from the originals; values has one for each of the ranking's tasks."""

    ranking: Ranking
    values: tuple[int, ...]
    claims: tuple[Claim, ...]
    unmet: tuple[Unmet, ...]

    @property
    def adjustments(self) -> tuple[Adjustment, ...]:
        """Who gets another oom_score_adj than its original."""
        pairs = zip(self.ranking.tasks, self.values, strict=True)
        return tuple(Adjustment(task, adj) for task, adj in pairs if adj != task.oom_score_adj)


def plan(
    snapshot: Snapshot,
    policy: Policy | None,
    within: str | None = None,
    room: Room = Room(),
    limit: CallLimit = nullcontext,
) -> Plan:
    """Adjustments with which the kernel ranks as the policy does, as far as the range allows.

    The snapshot's tasks carry their original oom_score_adj, which is what the policy sees. Raises what rank() raises.
    """
    return plan_ranking(rank(snapshot, policy, within, limit), room)


def plan_ranking(ranking: Ranking, room: Room = Room()) -> Plan:
    """The same for a ranking already made.

    Tasks on which the policy DEFERs in every scope stay as they are, where that costs the others no ordering and no
    more than half of the margin.
    """
    problem = Problem(ranking.scopes, len(ranking.tasks))
    deferred = frozenset(
        task.process_id
        for task, bands in zip(ranking.tasks, ranking.bands, strict=True)
        if bands == frozenset((Band.DEFER,))
    )
    kept, has_enough = _plan_within(ranking, problem, room, deferred)
    if not deferred or has_enough:
        return kept
    free, _ = _plan_within(ranking, problem, room, frozenset())
    return free if _is_much_better(free, kept) else kept


def _plan_within(ranking: Ranking, problem: Problem, room: Room, pinned: frozenset[int]) -> tuple[Plan, bool]:
    """The best plan that leaves the pinned alone, and whether it has all that could be wished for."""
    bounds = _bounds(ranking, room, pinned)
    search = Search(problem, bounds)
    values = nearest_values(ranking, problem, bounds, search.demands, search.least)
    claims = measure(ranking, values)
    left = unmet(ranking, values, claims, _bounds(ranking, room, frozenset()))
    return Plan(ranking, tuple(values), claims, left), search.has_all(_ENOUGH_STEPS)


def _is_much_better(this: Plan, that: Plan) -> bool:
    def held(plan: Plan) -> tuple[int, int]:
        return sum(claim.holds_first for claim in plan.claims), sum(claim.held for claim in plan.claims)

    def margin(plan: Plan) -> float:
        """The smallest first margin, as a part of its scope; nothing grows beyond that."""
        margins = ((claim.first_margin_pages, claim.totalpages) for claim in plan.claims if claim.held)
        return min((1.0, *(pages / total for pages, total in margins if pages is not None)))

    return (*held(this), margin(this)) > (*held(that), 2 * margin(that))


def _bounds(ranking: Ranking, room: Room, pinned: frozenset[int]) -> Bounds:
    lowest, highest = [], []
    for task in ranking.tasks:
        original = task.oom_score_adj
        if task.process_id in room.fixed or task.process_id in pinned:
            lowest.append(original)
            highest.append(original)
        else:
            lowest.append(LOWEST if room.may_lower else original)
            highest.append(max(HIGHEST, lowest[-1]))
    return Bounds(lowest, highest)
