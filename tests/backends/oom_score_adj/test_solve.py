"""Difference constraints: the solver against trying everything."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from oompolicy.backends.oom_score_adj.ranking import Member, Scope
from oompolicy.backends.oom_score_adj.solve import Bounds, Demand, Problem
from oompolicy.policy.verdict import Band

RANGE = range(-3, 4)
TASKS = 3


@st.composite
def scopes(draw: st.DrawFn) -> Scope:
    """Any order of the tasks, or of some of them, ties included."""
    bases = draw(st.lists(st.integers(0, 40), min_size=TASKS, max_size=TASKS))
    points = {number: draw(st.integers(0, 60)) for number in draw(st.sets(st.integers(0, TASKS - 1), min_size=1))}
    moves = draw(st.booleans())
    classes = [
        tuple(
            Member(number, bases[number], value, value - bases[number] if moves else None, Band.SCORE)
            for number in points
            if points[number] == value
        )
        for value in sorted(set(points.values()), reverse=True)
    ]
    unit = draw(st.integers(1, 12))
    return Scope(None, unit * 1000, unit, draw(st.sampled_from([None, 1])), tuple(classes))


def is_met(problem: Problem, demands: list[Demand], values: tuple[int, ...]) -> bool:
    """The demand in the plainest words: every pair of members, one by one."""
    for scope, runs, demand in zip(problem.scopes, problem.runs, demands, strict=True):
        for rank in range(len(scope.classes) - 1):
            run = runs.of_class[rank]
            if run > demand.depth:
                break
            margin = 0
            if runs.of_class[rank + 1] != run:
                margin = runs.boundaries[run - 1].margin_pages(demand.margin_pages)
            lower = [member for members in scope.classes[rank + 1 :] for member in members]
            for above in scope.classes[rank]:
                for below in lower:
                    high = scope.kernel_points(above, values[above.number])
                    if high <= scope.kernel_points(below, values[below.number]) + margin:
                        return False
    return True


@settings(max_examples=150, deadline=None)
@given(st.lists(scopes(), min_size=1, max_size=3), st.data())
def test_the_least_and_the_greatest_solution_are_found(parts: list[Scope], data: st.DataObject) -> None:
    problem = Problem(parts, TASKS)
    demands = [Demand(data.draw(st.integers(0, 4)), data.draw(st.integers(0, 30))) for _ in parts]
    bounds = Bounds([RANGE[0]] * TASKS, [RANGE[-1]] * TASKS)
    solutions = [values for values in product(RANGE, repeat=TASKS) if is_met(problem, demands, values)]
    least = problem.least(demands, bounds, list(bounds.lowest))
    if not solutions:
        assert least is None
        return
    assert least == [min(values[number] for values in solutions) for number in range(TASKS)]
    greatest = problem.greatest(demands, bounds, list(bounds.highest))
    assert greatest == [max(values[number] for values in solutions) for number in range(TASKS)]
