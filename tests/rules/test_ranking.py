"""Cgroups compared with each other: their numbers, and in which order they go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from oompolicy.rules.judge import State, armed, looked
from oompolicy.rules.preference import Preference
from oompolicy.rules.ranking import Numbers, within, worst_first
from oompolicy.rules.readings import CgroupReading, Readings
from oompolicy.rules.rule import Kill, Rule
from oompolicy.rules.scopes import named
from rules.readings_made_up import MIB, cgroup, machine, readings

ALWAYS = "mem_available_percent >= 0"


def rule(*by: str, among: tuple[str, ...] = ("/s/*",), recursive: bool = False) -> Rule:
    return Rule("r", ALWAYS, action=Kill.CGROUP, among=among, by=by, is_recursive=recursive, cooldown_ms=0)


def ranked(rule: Rule, *series: Readings) -> list[tuple[str, Numbers]]:
    """What the order of the last of these looks compares, the worst first."""
    state, rules, order = State(), [armed(rule)], None
    for now in series:
        judgement = looked(state, rules, now, now.at_ms, {"r": ["/"]})
        (order,) = judgement.orders
        state = replace(judgement.state, cases={})  # as if nothing had been ordered
    assert order is not None
    numbers = dict(order.compared)
    return [(path, numbers[path]) for path in worst_first(numbers, {}, rule.is_recursive, lambda path: False)]


def paths(found: list[tuple[str, Numbers]]) -> list[str]:
    return [path for path, _ in found]


def test_the_largest_number_goes_first_and_what_is_not_known_last() -> None:
    now = readings(
        0,
        None,
        cgroup("/s/a", swap_current_bytes=5 * MIB),
        cgroup("/s/b", swap_current_bytes=7 * MIB),
        cgroup("/s/c"),
        cgroup("/elsewhere", swap_current_bytes=70 * MIB),
    )
    assert ranked(rule("cgroup.swap_mib"), now) == [("/s/b", (7.0,)), ("/s/a", (5.0,)), ("/s/c", (None,))]


def test_of_several_numbers_the_first_that_differs_decides() -> None:
    now = readings(0, None, cgroup("/s/a", 10, full10=3), cgroup("/s/b", 20, full10=3), cgroup("/s/c", 99, full10=1))
    assert paths(ranked(rule("cgroup.psi.memory.full.avg10", "cgroup.current_mib"), now)) == ["/s/b", "/s/a", "/s/c"]


def test_a_rate_is_told_from_two_looks() -> None:
    def scanned(at_ms: int, a: int, b: int) -> Readings:
        return readings(at_ms, None, cgroup("/s/a", scanned_pages=a), cgroup("/s/b", scanned_pages=b))

    series = [scanned(0, 9000, 0), scanned(1000, 9100, 500)]
    assert ranked(rule("cgroup.scan_pages_per_s"), *series) == [("/s/b", (500.0,)), ("/s/a", (100.0,))]


def test_a_growth_is_remembered_from_look_to_look() -> None:
    looks = [
        readings(at_s * 1000, None, cgroup("/s/a", 1000), cgroup("/s/b", 100 + 10 * at_s)) for at_s in range(0, 31, 5)
    ]
    assert ranked(rule("growth(cgroup.current_mib, 15)"), *looks) == [("/s/b", (150.0,)), ("/s/a", (0.0,))]


SIZE_OR_GROWTH = (
    "cgroup.current_mib if cgroup.current_mib >= 0.5 * total(cgroup.current_mib) else 0",
    "cgroup.psi.memory.full.avg10 if cgroup.current_mib >= percentile(cgroup.current_mib, 80) else 0",
)


@pytest.mark.parametrize(
    ("sizes", "worst"),
    [
        ({"a": 60, "b": 20, "c": 20}, "/s/a"),  # half of all
        ({"a": 40, "b": 30, "c": 30}, "/s/a"),  # the largest of three alone is of the largest fifth
        ({"a": 40, "b": 39, "c": 20, "d": 20, "e": 20, "f": 20}, "/s/b"),  # two of six are
    ],
)
def test_numbers_of_all_that_are_compared(sizes: dict[str, int], worst: str) -> None:
    found = [cgroup(f"/s/{name}", size, full10=ord(name) - ord("a") + 1) for name, size in sizes.items()]
    assert paths(ranked(rule(*SIZE_OR_GROWTH), readings(0, None, *found)))[0] == worst


TREE = [
    cgroup("/s/a", 60),
    cgroup("/s/a/1", 35),
    cgroup("/s/a/2", 25),
    cgroup("/s/b", 50),
    cgroup("/s/b/1", 50),
    cgroup("/s/c", 40),
]


def test_of_cgroups_in_each_other_the_innermost_are_compared() -> None:
    found = ranked(rule("cgroup.current_mib", among=("/s/**",)), readings(0, None, *TREE))
    assert paths(found) == ["/s/b/1", "/s/c", "/s/a/1", "/s/a/2"]


def test_recursive_goes_down_from_the_worst() -> None:
    found = ranked(rule("cgroup.current_mib", recursive=True), readings(0, None, *TREE))
    assert paths(found) == ["/s/a/1", "/s/a/2", "/s/b/1", "/s/c"]


def test_recursive_compares_siblings_alone() -> None:
    share = rule("cgroup.current_mib / total(cgroup.current_mib)", recursive=True)
    numbers = dict(ranked(share, readings(0, None, *TREE)))
    assert [numbers[path] for path in ("/s/b/1", "/s/c")] == [(1.0,), (40 / 150,)]


NUMBERS: dict[str, Numbers] = {"/s/a": (3.0,), "/s/a/1": (3.0,), "/s/b": (2.0,), "/s/c": (1.0,)}


@pytest.mark.parametrize(
    ("is_whole", "ordered"),
    [(lambda path: path == "/s/a", ["/s/c", "/s/a", "/s/b"]), (lambda path: False, ["/s/c", "/s/a/1", "/s/b"])],
)
def test_wishes_go_before_numbers_and_an_oom_group_goes_whole(
    is_whole: Callable[[str], bool], ordered: list[str]
) -> None:
    wishes = {"/s/c": Preference.PREFER, "/s/b": Preference.AVOID}
    assert worst_first(NUMBERS, wishes, True, is_whole) == ordered


def test_only_what_is_in_the_scope_is_compared() -> None:
    assert within(NUMBERS, "/s/a").keys() == {"/s/a", "/s/a/1"}
    assert within(NUMBERS, "/").keys() == NUMBERS.keys()


def test_what_is_compared_is_read() -> None:
    found = armed(rule("cgroup.swap_mib", recursive=True))
    paths = ("/s/a", "/s/a/1", "/s", "/t/a")
    assert named(found.besides, paths) == ["/s/a", "/s/a/1"]
    assert {field.name for field in armed(rule("cgroup.swap_mib")).fields} == {
        "mem_available_percent",
        "cgroup.swap_mib",
    }


def test_nothing_to_compare_is_an_order_for_nobody() -> None:
    assert ranked(rule("cgroup.swap_mib"), readings(0, machine())) == []


def test_a_cgroup_that_has_gone_is_forgotten() -> None:
    growing = armed(rule("growth(cgroup.current_mib, 5)"))
    state = looked(State(), [growing], readings(0, None, cgroup("/s/a")), 0, {"r": ["/"]}).state
    assert next(iter(state.ranked.values())).keys() == {"/s/a"}
    gone = readings(1000, None, CgroupReading("/s/b"))
    state = looked(state, [growing], gone, 1000, {"r": ["/"]}).state
    assert next(iter(state.ranked.values())).keys() == {"/s/b"}
