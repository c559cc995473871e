"""Whole-number adjustments that hold an order: difference constraints, solved by longest paths.

Belongs here: the least and the greatest solution. Must not know: which orders are worth asking for, policies.

In a scope each member i must stand above each j of a lower class: base_i + a_i * unit > base_j + a_j * unit + margin,
or a_i >= floor((base_j + a_j * unit + margin - base_i) / unit) + 1. Raising each a_i just as far as it is asked, from
the bottom of the order to its top, ends in the least solution there is: longest paths in the graph of the
constraints. Solutions are a lattice: of two of them, the greater taken task by task is one too, and so is the smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

from oompolicy.backends.oom_score_adj.ranking import Scope
from oompolicy.backends.oom_score_adj.runs import Runs, runs_of

Values: TypeAlias = "list[int]"

LOWEST: Final = -999  # -1000 would make a task unkillable, and a policy spares nobody for good
HIGHEST: Final = 999

# Scopes whose orders contradict each other are swept in turn until nothing moves. What has not settled by then is
# taken to be impossible: a cycle of constraints would only end at the edge of the range, one step a turn.
_TURNS: Final = 12
_NOBODY: Final = -(1 << 62)  # less than the points of any task
_EVERYBODY: Final = 1 << 62


class Demand(NamedTuple):
    """What is asked of a scope: the order inside its first `depth` runs, and each of them above all that is below it.

    margin_pages is the margin of its first boundary; runs.Boundary gives that of the others. Inside a run members
    are only kept in order, which growth may change too early, or, where is_rigid, as far apart as the policy has them.
    """

    depth: int
    margin_pages: int
    is_rigid: bool = False


NOTHING: Final = Demand(0, 0)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the adjustment of each task may go, ends included."""

    lowest: Values
    highest: Values


class _Place(NamedTuple):
    """A task's place in the order of one scope, and what lies between it and its neighbours there."""

    scope: int
    base: int
    run: int
    opens_class: bool  # the one below is of a lower class
    is_over_boundary: bool  # between its class and the one below lies a boundary,
    gap_below: int  # or, in one group, so many pages less one
    closes_class: bool  # the one above is of a higher class
    is_under_boundary: bool
    gap_above: int


@dataclass(frozen=True, slots=True)
class _Sweep:
    """Tasks with their places in some scopes, from the bottom of the order to its top."""

    scopes: Sequence[int]
    tasks: list[tuple[int, list[_Place]]]


class Problem:
    """The constraints of several scopes over the same tasks."""

    def __init__(self, scopes: Sequence[Scope], number_of_tasks: int) -> None:
        self.scopes = scopes
        self.runs = [runs_of(scope) for scope in scopes]
        self._units = [scope.unit_pages for scope in scopes]
        self._least_points = [_NOBODY if scope.least_points is None else scope.least_points for scope in scopes]
        self._known_margins: dict[tuple[int, Demand], list[int]] = {}
        orders = [_from_the_bottom(scope) for scope in scopes]
        self._alone = [
            _sweep(scopes, self.runs, [index], [number for numbers in order for number in numbers])
            for index, order in enumerate(orders)
        ]
        # Scopes that agree on the order are swept together: one turn settles them.
        agreed = _agreed_order(orders, number_of_tasks)
        position = {number: index for index, number in enumerate(agreed)}
        weighed = [index for index, scope in enumerate(scopes) if scope.unit_pages > 0]
        together = [index for index in weighed if _agrees(orders[index], position)]
        self._sweeps = [_sweep(scopes, self.runs, together, agreed)]
        self._sweeps += [self._alone[index] for index in weighed if index not in set(together)]

    def least(self, demands: Sequence[Demand], bounds: Bounds, start: Values) -> Values | None:
        """The least solution at or above start; None where there is none within the bounds."""
        values = list(start)
        for _ in range(_TURNS):
            before = list(values)
            if not all(self._raise(sweep, demands, bounds, values) for sweep in self._sweeps):
                return None
            if len(self._sweeps) == 1 or values == before:
                return values
        return None

    def greatest(self, demands: Sequence[Demand], bounds: Bounds, start: Values) -> Values | None:
        """The greatest solution at or below start; None where there is none within the bounds."""
        values = list(start)
        for _ in range(_TURNS):
            before = list(values)
            if not all(self._lower(sweep, demands, bounds, values) for sweep in self._sweeps):
                return None
            if len(self._sweeps) == 1 or values == before:
                return values
        return None

    def is_possible_alone(self, index: int, demand: Demand, bounds: Bounds) -> bool:
        """Could the demand of one scope be met if there were no other?"""
        if self._units[index] == 0:
            return False  # a limit below 1000 pages: no adjustment weighs anything in it
        demands = [NOTHING] * index + [demand]
        return self._raise(self._alone[index], demands, bounds, list(bounds.lowest))

    def _margins(self, sweep: _Sweep, demands: Sequence[Demand]) -> list[list[int]]:
        """The margin below each run of the sweep's scopes, by the run's number, as deep as the demand goes."""
        margins: list[list[int]] = [[]] * len(demands)
        for index in sweep.scopes:
            known = self._known_margins.get((index, demands[index]))
            if known is None:
                depth, margin_pages, _ = demands[index]
                boundaries = self.runs[index].boundaries[:depth]
                known = [0, *(boundary.margin_pages(margin_pages) for boundary in boundaries), 0]
                self._known_margins[index, demands[index]] = known
            margins[index] = known
        return margins

    def _raise(self, sweep: _Sweep, demands: Sequence[Demand], bounds: Bounds, values: Values) -> bool:
        """Raise values, in place, as far as the sweep's scopes ask; False where a bound is in the way."""
        units, least_points, highest = self._units, self._least_points, bounds.highest
        margins = self._margins(sweep, demands)
        below, here = [_NOBODY] * len(units), [_NOBODY] * len(units)
        for number, places in sweep.tasks:
            value = values[number]
            for scope, base, run, opens, over_boundary, gap, _, _, _ in places:
                if opens:
                    below[scope] = here[scope]
                depth, _, is_rigid = demands[scope]
                if run <= depth:
                    margin = margins[scope][run] if over_boundary else gap if is_rigid else 0
                    asked = (below[scope] + margin - base) // units[scope] + 1
                    if asked > value:
                        value = asked
            if value > highest[number]:
                return False
            values[number] = value
            for scope, base, _, _, _, _, _, _, _ in places:
                points = base + value * units[scope]
                if points > here[scope]:  # not max(): this runs a million times
                    here[scope] = points
                if least_points[scope] > here[scope]:
                    here[scope] = least_points[scope]
        return True

    def _lower(self, sweep: _Sweep, demands: Sequence[Demand], bounds: Bounds, values: Values) -> bool:
        """Lower values, in place, as far as the sweep's scopes ask; False where a bound is in the way."""
        units, lowest = self._units, bounds.lowest
        margins = self._margins(sweep, demands)
        above, here = [_EVERYBODY] * len(units), [_EVERYBODY] * len(units)
        for number, places in reversed(sweep.tasks):
            value = values[number]
            for scope, base, run, _, _, _, closes, under_boundary, gap in places:
                if closes:
                    above[scope] = here[scope]
                depth, _, is_rigid = demands[scope]
                if depth > 0:
                    is_boundary = under_boundary or run > depth
                    margin = margins[scope][min(run - 1, depth)] if is_boundary else gap if is_rigid else 0
                    asked = (above[scope] - margin - base - 1) // units[scope]
                    if asked < value:
                        value = asked
            if value < lowest[number]:
                return False
            values[number] = value
            for scope, base, run, *_ in places:
                if run <= demands[scope].depth:
                    here[scope] = min(here[scope], base + value * units[scope])
        return True


def _from_the_bottom(scope: Scope) -> list[list[int]]:
    """The tasks of each class, the class that dies last first."""
    return [[member.number for member in members] for members in reversed(scope.classes)]


def _agreed_order(orders: Sequence[list[list[int]]], number_of_tasks: int) -> list[int]:
    """All tasks from the bottom to the top, as the first scope orders them; its ties as the others do."""
    ranks: list[list[int]] = [[] for _ in range(number_of_tasks)]
    for order in (*orders[:1], *reversed(orders[1:])):  # wider scopes before those inside them
        for rank, numbers in enumerate(order):
            for number in numbers:
                ranks[number].append(rank)
    return sorted(range(number_of_tasks), key=ranks.__getitem__)


def _agrees(order: list[list[int]], position: dict[int, int]) -> bool:
    """Do all of a class come before all of the next higher one?"""
    flat = [[position[number] for number in numbers] for numbers in order]
    return all(max(low) < min(high) for low, high in pairwise(flat))


def _sweep(scopes: Sequence[Scope], runs: Sequence[Runs], indexes: Sequence[int], order: Sequence[int]) -> _Sweep:
    """The tasks in that order with their places in the scopes of these indexes."""
    position = {number: index for index, number in enumerate(order)}
    places: dict[int, list[_Place]] = {number: [] for number in order}
    for index in indexes:
        for rank, members in enumerate(scopes[index].classes):
            by_position = sorted(members, key=lambda member: position[member.number])
            over, gap_below = _border(scopes[index], runs[index], rank)
            under, gap_above = _border(scopes[index], runs[index], rank - 1)
            run = runs[index].of_class[rank]
            for member in by_position:
                opens, closes = member is by_position[0], member is by_position[-1]
                place = _Place(index, member.base_pages, run, opens, over, gap_below, closes, under, gap_above)
                places[member.number].append(place)
    return _Sweep(indexes, [(number, places[number]) for number in order if places[number]])


def _border(scope: Scope, runs: Runs, rank: int) -> tuple[bool, int]:
    """Between a class and the one below: is it a boundary, and if not, the pages between their points less one."""
    if not 0 <= rank < len(scope.classes) - 1:
        return False, 0
    run = runs.of_class[rank]
    if run != runs.of_class[rank + 1] and runs.boundaries[run - 1].most_pages != 0:
        return True, 0
    return False, scope.classes[rank][0].points - scope.classes[rank + 1][0].points - 1
