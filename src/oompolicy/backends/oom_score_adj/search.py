"""How much of each scope's order to ask for, where the range does not allow for all of it.

Belongs here: depths and margins, and who gives way to whom. Must not know: policies, which solution is taken.

Kept first, in this order: the first victim of the machine; that of each limited memcg, from the smallest limit to the
largest; deeper ranks, and tasks that differ by badness alone as far apart as they are, where that leaves the first
victim at least half of the margin it could have; margins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from oompolicy.backends.oom_score_adj.solve import NOTHING, Bounds, Demand, Problem, Values

# Margins are tried in steps of totalpages / MARGIN_STEPS; more than all of totalpages is no use.
MARGIN_STEPS: Final = 1024
# What a scope could have alone is given to all scopes in the same parts, where they are in each other's way.
_PARTS: Final = 32
# After that those who can still have more go on, so many times, all together;
_ROUNDS: Final = 3
# and after so many found to be in the others' way, one by one, in a round, all behind them wait.
_IN_THE_WAY_MAX: Final = 6

_Ladder: TypeAlias = Callable[[int, int], Demand]  # scope, level -> what to ask of the scope at that level


class Search:
    """The demands that can be met together, for one problem and the bounds of its tasks."""

    def __init__(self, problem: Problem, bounds: Bounds) -> None:
        self.problem = problem
        self.bounds = bounds
        self.best_alone = [self._best_alone(index) for index in range(len(problem.scopes))]
        self.demands = [NOTHING] * len(problem.scopes)
        self.least: Values = list(bounds.lowest)  # meets the demands
        # A climb comes back to what it has just asked for; each answer is a sweep over all tasks.
        self._met = self.demands, self.least
        self._refused: set[tuple[Demand, ...]] = set()
        asking = [index for index, demand in enumerate(self.best_alone) if demand.depth > 0]
        self._climb(asking, 1, lambda index, level: Demand(level, 0))
        asking = [index for index in asking if self.demands[index].depth > 0]
        self._climb(asking, _PARTS, self._depth_in_parts)
        self._climb([index for index in asking if self.best_alone[index].is_rigid], 1, self._rigid)
        self._climb(asking, _PARTS, self._margin_in_parts)

    def has_all(self, enough_steps: int) -> bool:
        """Is every ordering asked for, with a margin of at least so many steps, or as much as has a meaning?"""
        return all(
            demand.depth >= runs.number and demand.margin_pages >= scope.totalpages * enough_steps // MARGIN_STEPS
            for scope, runs, demand in zip(self.problem.scopes, self.problem.runs, self.demands, strict=True)
            if len(scope.classes) > 1 and scope.unit_pages > 0
        )

    def _best_alone(self, index: int) -> Demand:
        """What a scope could have if there were no other."""
        scope, runs = self.problem.scopes[index], self.problem.runs[index]

        def demand(depth: int, steps: int, is_rigid: bool = False) -> Demand:
            return Demand(depth, scope.totalpages * steps // MARGIN_STEPS, is_rigid)

        def is_possible(depth: int, steps: int, is_rigid: bool = False) -> bool:
            return self.problem.is_possible_alone(index, demand(depth, steps, is_rigid), self.bounds)

        if len(scope.classes) < 2 or not is_possible(1, 0):
            return NOTHING
        first = runs.first_margin_run if is_possible(runs.first_margin_run, 0) else 1
        steps = _greatest(0, MARGIN_STEPS, lambda steps: is_possible(first, steps))
        depth = _greatest(first, runs.number, lambda depth: is_possible(depth, steps // 2))
        is_rigid = is_possible(depth, steps // 2, True)
        return demand(depth, _greatest(steps // 2, steps, lambda steps: is_possible(depth, steps, is_rigid)), is_rigid)

    def _depth_in_parts(self, index: int, level: int) -> Demand:
        return Demand(max(1, -(-self.best_alone[index].depth * level // _PARTS)), 0)

    def _rigid(self, index: int, level: int) -> Demand:
        return Demand(self.demands[index].depth, 0, level > 0)

    def _margin_in_parts(self, index: int, level: int) -> Demand:
        depth, _, is_rigid = self.demands[index]
        return Demand(depth, self.best_alone[index].margin_pages * level // _PARTS, is_rigid)

    def _climb(self, asking: list[int], top: int, ladder: _Ladder) -> None:
        """Raise all to the highest level they can share, then those who can go on, the first of them first."""
        level = 0
        self._refused.clear()
        for _ in range(_ROUNDS):
            level = self._common_level(asking, level, top, ladder)
            self._settle_on(asking, level, ladder)
            if level == top:
                return
            asking = self._going_on(asking, level + 1, ladder)
            level += 1
            if not asking:
                return

    def _going_on(self, asking: list[int], level: int, ladder: _Ladder) -> list[int]:
        """Those who can have a level that not all can have; who comes earlier goes first."""
        on: list[int] = []
        for _ in range(_IN_THE_WAY_MAX):
            first = self._fitting(asking, level, ladder)
            if first:
                self._settle_on(asking[:first], level, ladder)
            on += asking[:first]
            asking = asking[first + 1 :]
            if not asking:
                break
        return on

    def _common_level(self, asking: list[int], reached: int, top: int, ladder: _Ladder) -> int:
        return _greatest(reached, top, lambda level: self._meets(asking, level, ladder) is not None)

    def _fitting(self, asking: list[int], level: int, ladder: _Ladder) -> int:
        """How many, from the first on, can have the level together."""
        if self._meets(asking[:1], level, ladder) is None:
            return 0  # most often it is the first who is in the way
        return _greatest(0, len(asking), lambda number: self._meets(asking[:number], level, ladder) is not None)

    def _asked_of(self, asking: Iterable[int], level: int, ladder: _Ladder) -> list[Demand]:
        demands = list(self.demands)
        for index in asking:
            demands[index] = ladder(index, level)
        return demands

    def _meets(self, asking: Iterable[int], level: int, ladder: _Ladder) -> Values | None:
        demands = self._asked_of(asking, level, ladder)
        met_demands, values = self._met
        if demands == met_demands:
            return values
        key = tuple(demands)
        if key in self._refused:
            return None
        # Demands only ever grow, so what met the smaller ones is a start for the greater ones.
        met = self.problem.least(demands, self.bounds, self.least)
        if met is None:
            self._refused.add(key)
        else:
            self._met = demands, met
        return met

    def _settle_on(self, asking: list[int], level: int, ladder: _Ladder) -> None:
        met = self._meets(asking, level, ladder)
        if met is not None:
            self.demands, self.least = self._asked_of(asking, level, ladder), met


def _greatest(low: int, high: int, is_possible: Callable[[int], bool]) -> int:
    """The greatest number for which it is possible, low taken for granted; the search is by bisection.

    >>> _greatest(0, 10, lambda n: n <= 7)
    7
    """
    if low >= high or is_possible(high):
        return max(low, high)
    while high - low > 1:
        middle = (low + high) // 2
        if is_possible(middle):
            low = middle
        else:
            high = middle
    return low
