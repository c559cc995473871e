"""Of all adjustments that meet the demands, those that are least of a surprise.

Belongs here: what each task would get if there were only itself to think of, and keeping together what differs by
badness alone. Must not know: how much is asked for, and why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from oompolicy.backends.oom_score_adj.ranking import Member, Ranking
from oompolicy.backends.oom_score_adj.solve import HIGHEST, LOWEST, Bounds, Demand, Problem, Values

_Group: TypeAlias = "list[Member]"


def nearest_values(ranking: Ranking, problem: Problem, bounds: Bounds, demands: list[Demand], least: Values) -> Values:
    """Adjustments that meet the demands, near to what gives each task its policy points; least is one solution.

    The least solution above what is wished for, or above the greatest solution where that is lower, exists whatever
    is wished for: so wishes cost no ordering and no margin.
    """
    greatest = problem.greatest(demands, bounds, bounds.highest)
    if greatest is None:  # contradicting scopes that have not settled downwards: what was found stands
        return least
    ceiling = greatest

    def near(wishes: Values) -> Values | None:
        start = [max(low, min(wish, high)) for low, wish, high in zip(bounds.lowest, wishes, ceiling, strict=True)]
        return problem.least(demands, bounds, start)

    groups = _groups(ranking, bounds)
    wishes = _wishes(ranking, groups)
    # A member that cannot have its wish takes its group along, down first, then up, so that the group keeps its order
    # while its members grow.
    wishes = _moved_together(groups, wishes, ceiling, min)
    found = near(wishes)
    if found is None:
        return least
    together = near(_moved_together(groups, wishes, found, max))
    return found if together is None else together


def _groups(ranking: Ranking, bounds: Bounds) -> list[_Group]:
    """The tasks that can be moved, by their policy's offset from the kernel's badness; alone where there is none."""
    by_offset: dict[int, _Group] = {}
    alone = []
    for members in ranking.scopes[0].classes:  # the machine: it has all tasks
        for member in members:
            if bounds.lowest[member.number] == bounds.highest[member.number]:
                continue
            if member.offset is None:
                alone.append([member])
            else:
                by_offset.setdefault(member.offset, []).append(member)
    return [*by_offset.values(), *alone]


def _wishes(ranking: Ranking, groups: list[_Group]) -> Values:
    """For each task what would give it its policy points in an OOM of the machine, as far as the range goes.

    A group is moved as one, so that it keeps its own order.
    """
    wishes = [task.oom_score_adj for task in ranking.tasks]
    unit = ranking.scopes[0].unit_pages
    for group in groups if unit else ():
        first = group[0]
        shift = (first.points - first.base_pages) // unit - wishes[first.number]
        originals = [wishes[member.number] for member in group]
        shift = max(LOWEST - min(originals), min(shift, HIGHEST - max(originals)))
        for member in group:
            wishes[member.number] += shift
    return wishes


def _moved_together(groups: list[_Group], wishes: Values, allowed: Values, most: Callable[[list[int]], int]) -> Values:
    """Each group moved as far as the member that must move the farthest, down (min) or up (max)."""
    moved = list(wishes)
    for group in groups:
        by = most([0, *(allowed[member.number] - wishes[member.number] for member in group)])
        for member in group:
            moved[member.number] += by
    return moved
