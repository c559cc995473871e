"""How much is asked for where not everything can be had."""

from __future__ import annotations

from oompolicy.backends.oom_score_adj.ranking import Member, Scope
from oompolicy.backends.oom_score_adj.search import Search
from oompolicy.backends.oom_score_adj.solve import Bounds, Problem
from oompolicy.policy.verdict import Band


def pair(first: int, second: int, bases: dict[int, int], unit: int) -> Scope:
    """A scope with two tasks that wants the first above the second."""
    members = (Member(number, bases[number], 0, None, Band.SCORE) for number in (first, second))
    return Scope("/a", unit * 1000, unit, None, tuple((member,) for member in members))


def search(*scopes: Scope, tasks: int) -> Search:
    return Search(Problem(scopes, tasks), Bounds([-999] * tasks, [999] * tasks))


BASES = {0: 100, 1: 0, 2: 0, 3: 0}
ONE_WAY = pair(0, 1, BASES, unit=1)
OTHER_WAY = pair(1, 0, BASES, unit=100)
APART = pair(2, 3, BASES, unit=10)


def test_those_who_are_in_each_other_s_way_do_not_hold_up_the_rest() -> None:
    found = search(ONE_WAY, OTHER_WAY, APART, tasks=4)
    one, other, apart = found.demands
    assert apart == found.best_alone[2]
    assert apart.margin_pages == APART.totalpages
    assert one.depth == other.depth == 2, "both hold, because a step weighs so differently in them"
    assert 0 < one.margin_pages < 100


def test_where_two_cannot_both_be_held_the_first_is() -> None:
    found = search(pair(0, 1, BASES, unit=10), pair(1, 0, BASES, unit=5), APART, tasks=4)
    assert [demand.depth for demand in found.demands] == [2, 0, 2]
    assert not found.has_all(0)


def test_what_cannot_be_had_even_alone_is_not_asked_for() -> None:
    found = search(pair(0, 1, {0: 0, 1: 5000}, unit=2), APART, tasks=4)
    assert [demand.depth for demand in found.demands] == [0, 2]
