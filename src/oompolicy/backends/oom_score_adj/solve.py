"""Whole-number adjustments that hold an order: difference constraints, solved by longest paths.

Belongs here: the least and the greatest solution. Must not know: which orders are worth asking for, policies.

In a scope each member i must stand above each j of a lower class: base_i + a_i * unit > base_j + a_j * unit + margin,
or a_i >= floor((base_j + a_j * unit + margin - base_i) / unit) + 1. Raising each a_i just as far as it is asked, from
the bottom of the order to its top, ends in the least solution there is: longest paths in the graph of the
constraints. Solutions are a lattice: of two of them, the greater taken task by task is one too, and so is the smaller.
"""

from __future__ import annotations

from bisect import bisect_right
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


# Places are plain tuples, which the interpreter takes apart much faster than named ones: the sweeps read them a
# million times. Going up: scope, base pages, rank of the class, does it open the class (the one before is of a lower
# one). Going down the last is whether it closes it (the one before is of a higher one).
_Place: TypeAlias = "tuple[int, int, int, bool]"


@dataclass(frozen=True, slots=True)
class _Sweep:
    """Tasks with their places in some scopes: from the bottom of the order to its top, and from the top down."""

    scopes: Sequence[int]
    upwards: list[tuple[int, list[_Place]]]
    downwards: list[tuple[int, list[_Place]]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a demand asks for between neighbouring classes of a scope, in pages, by rank; None: nothing is asked."""

    below: list[int | None]
    above: list[int | None]
    last_rank: int  # the lowest class inside the order, -1 where there is none


_NOTHING_ASKED: Final = _Asked([], [], -1)


class Problem:
    """The constraints of several scopes over the same tasks."""

    def __init__(self, scopes: Sequence[Scope], number_of_tasks: int) -> None:
        self.scopes = scopes
        self.runs = [runs_of(scope) for scope in scopes]
        self._units = [scope.unit_pages for scope in scopes]
        self._least_points = [_NOBODY if scope.least_points is None else scope.least_points for scope in scopes]
        self._known: list[dict[Demand, _Asked]] = [{} for _ in scopes]
        orders = [_from_the_bottom(scope) for scope in scopes]
        self._from_the_bottom = [
            [
                (rank, [(m.number, m.base_pages) for m in scope.classes[rank]])
                for rank in reversed(range(len(scope.classes)))
            ]
            for scope in scopes
        ]
        # Scopes that agree on the order are swept together: one turn settles them.
        agreed = _agreed_order(orders, number_of_tasks)
        position = {number: index for index, number in enumerate(agreed)}
        weighed = [index for index, scope in enumerate(scopes) if scope.unit_pages > 0]
        together = [index for index in weighed if _agrees(orders[index], position)]
        self._sweeps = [_sweep(scopes, together, agreed)]
        self._sweeps += [
            _sweep(scopes, [index], [number for numbers in orders[index] for number in numbers])
            for index in weighed
            if index not in set(together)
        ]

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
        asked = _asked_of(self.scopes[index], self.runs[index], demand)
        lowest, highest, unit = bounds.lowest, bounds.highest, self._units[index]
        here = self._least_points[index]
        for rank, members in self._from_the_bottom[index]:
            below, margin = here, asked.below[rank]
            for number, base in members:
                value = lowest[number]
                if margin is not None:
                    value = max(value, (below + margin - base) // unit + 1)
                if value > highest[number]:
                    return False
                here = max(here, base + value * unit)
        return True

    def _asked(self, sweep: _Sweep, demands: Sequence[Demand]) -> list[_Asked]:
        """What the demands ask for in the sweep's scopes, by the scope's index."""
        asked = [_NOTHING_ASKED] * len(demands)
        for index in sweep.scopes:
            known = self._known[index].get(demands[index])
            if known is None:
                known = _asked_of(self.scopes[index], self.runs[index], demands[index])
                self._known[index][demands[index]] = known
            asked[index] = known
        return asked

    def _raise(self, sweep: _Sweep, demands: Sequence[Demand], bounds: Bounds, values: Values) -> bool:
        """Raise values, in place, as far as the sweep's scopes ask; False where a bound is in the way."""
        units, highest = self._units, bounds.highest
        margins = [asked.below for asked in self._asked(sweep, demands)]
        below, here = [_NOBODY] * len(units), list(self._least_points)
        for number, places in sweep.upwards:
            value = values[number]
            for scope, base, rank, opens in places:
                if opens:
                    below[scope] = here[scope]
                margin = margins[scope][rank]
                if margin is not None:
                    asked = (below[scope] + margin - base) // units[scope] + 1
                    if asked > value:  # not max(): a call is what takes the time here
                        value = asked
            if value > highest[number]:
                return False
            values[number] = value
            for scope, base, _, _ in places:
                points = base + value * units[scope]
                if points > here[scope]:
                    here[scope] = points
        return True

    def _lower(self, sweep: _Sweep, demands: Sequence[Demand], bounds: Bounds, values: Values) -> bool:
        """Lower values, in place, as far as the sweep's scopes ask; False where a bound is in the way."""
        units, lowest = self._units, bounds.lowest
        all_asked = self._asked(sweep, demands)
        above, here = [_EVERYBODY] * len(units), [_EVERYBODY] * len(units)
        for number, places in sweep.downwards:
            value = values[number]
            for scope, base, rank, closes in places:
                if closes:
                    above[scope] = here[scope]
                margin = all_asked[scope].above[rank]
                if margin is not None:
                    asked = (above[scope] - margin - base - 1) // units[scope]
                    if asked < value:
                        value = asked
            if value < lowest[number]:
                return False
            values[number] = value
            for scope, base, rank, _ in places:
                points = base + value * units[scope]
                if rank <= all_asked[scope].last_rank and points < here[scope]:
                    here[scope] = points
        return True


def _asked_of(scope: Scope, runs: Runs, demand: Demand) -> _Asked:
    """What a demand asks for in a scope."""
    depth, margin_pages, is_rigid = demand
    number = len(scope.classes)
    inside = bisect_right(runs.of_class, depth)  # so many classes are inside the order
    if depth == 0 or number < 2:
        return _Asked([None] * number, [None] * number, inside - 1)
    margins: list[int] = []
    for rank in range(min(inside, number - 1)):
        run = runs.of_class[rank]
        boundary = runs.boundaries[run - 1] if run != runs.of_class[rank + 1] else None
        if boundary is not None and boundary.most_pages != 0:
            margins.append(boundary.margin_pages(margin_pages))
        else:  # in one group: as far apart as the policy has them
            apart = scope.classes[rank][0].points - scope.classes[rank + 1][0].points - 1
            margins.append(apart if is_rigid else 0)
    below = [*margins, *[None] * (number - len(margins))]
    # All that are outside the order stand below its last class.
    above = [None, *margins, *[margins[-1]] * (number - 1 - len(margins))]
    return _Asked(below, above, inside - 1)


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


def _sweep(scopes: Sequence[Scope], indexes: Sequence[int], order: Sequence[int]) -> _Sweep:
    """The tasks in that order with their places in the scopes of these indexes."""
    position = {number: index for index, number in enumerate(order)}
    upwards: dict[int, list[_Place]] = {number: [] for number in order}
    downwards: dict[int, list[_Place]] = {number: [] for number in order}
    for index in indexes:
        for rank, members in enumerate(scopes[index].classes):
            by_position = sorted(members, key=lambda member: position[member.number])
            for member in by_position:
                upwards[member.number].append((index, member.base_pages, rank, member is by_position[0]))
                downwards[member.number].append((index, member.base_pages, rank, member is by_position[-1]))
    return _Sweep(
        indexes,
        [(number, upwards[number]) for number in order if upwards[number]],
        [(number, downwards[number]) for number in reversed(order) if downwards[number]],
    )
