"""Of all adjustments that meet the demands, those that are least of a surprise.

Belongs here: what each task would get if there were only itself to think of. Must not know: how much is asked for, and
why.
"""

from __future__ import annotations

from collections.abc import Callable

from oompolicy.backends.oom_score_adj.ranking import Offset, Ranking
from oompolicy.backends.oom_score_adj.solve import HIGHEST, LOWEST, Bounds, Demand, Problem, Values


def nearest_values(ranking: Ranking, problem: Problem, bounds: Bounds, demands: list[Demand], least: Values) -> Values:
    """Adjustments that meet the demands, near to what gives each task its policy points; least is one solution.

    The least solution above what is wished for, or above the greatest solution where that is lower, exists whatever
    is wished for: so wishes cost no ordering and no margin.
    """
    greatest = problem.greatest(demands, bounds, bounds.highest)
    if greatest is None:  # contradicting scopes that have not settled downwards: what was found stands
        return least
    ceiling = greatest

    def near(wishes: Values) -> Values:
        start = list(map(max, bounds.lowest, map(min, wishes, ceiling)))
        return problem.least(demands, bounds, start) or least

    values = near(_wishes(ranking))
    for farthest in (min, max):
        values = near(_moved_together(ranking, bounds, values, farthest))
    return values


def _wishes(ranking: Ranking) -> Values:
    """For each task what would give it its policy points in an OOM of the machine, as far as the range goes.

    That is its original one where the policy DEFERs, and an end of the range where it says KILL or SPARE.
    """
    wishes = [task.oom_score_adj for task in ranking.tasks]
    machine = ranking.scopes[0]  # it has all tasks
    for members in machine.classes if machine.unit_pages else ():
        for member in members:
            wish = (member.points - member.base_pages) // machine.unit_pages
            wishes[member.number] = max(LOWEST, min(wish, HIGHEST))
    return wishes


def _moved_together(ranking: Ranking, bounds: Bounds, values: Values, farthest: Callable[[int, int], int]) -> Values:
    """Tasks that differ by badness alone moved as far as the one of them that is moved the farthest down, or up.

    As long as they keep their distances, the kernel's order of them follows their growth just as the policy's does.
    """
    movable = [
        member
        for members in ranking.scopes[0].classes
        for member in members
        if member.offset is not None and bounds.lowest[member.number] < bounds.highest[member.number]
    ]
    shifts: dict[Offset | None, int] = {}
    for member in movable:
        shift = values[member.number] - ranking.tasks[member.number].oom_score_adj
        shifts[member.offset] = farthest(shift, shifts.get(member.offset, shift))
    together = list(values)
    for member in movable:
        together[member.number] = ranking.tasks[member.number].oom_score_adj + shifts[member.offset]
    return together
