"""What is true of a condition over made-up time series."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oompolicy.rules.condition import GAP_MS, Memory
from oompolicy.rules.look import Look
from oompolicy.rules.readings import MachineReading, Pressure, Stall
from oompolicy.rules.syntax import parse_condition
from rules.readings_made_up import MIB, answers, cgroup, machine, readings


def one(text: str, of_machine: MachineReading) -> tuple[bool, str]:
    (answer,) = answers(text, [readings(0, of_machine)])
    return answer.holds, answer.why


def test_why_has_the_numbers() -> None:
    assert one("mem_available_percent < 5", machine(available=420)) == (True, "mem_available_percent 4.2 < 5")
    assert one("mem_available_mib < 1 * GiB and swap_free_percent <= 10", machine(420, swap_free=100)) == (
        True,
        "mem_available_mib 420 < 1 * GiB and swap_free_percent 10 <= 10",
    )


def test_why_leaves_out_what_is_not_true() -> None:
    text = "mem_available_percent < 5 or swap_free_percent < 20 or mem_free_mib < 1"
    assert one(text, machine(9000, swap_free=100)) == (True, "swap_free_percent 10 < 20")
    assert one(text, machine()) == (False, "")


def test_no_swap_is_no_free_swap_and_none_used() -> None:
    bare = machine(swap_total=0, swap_free=0)
    assert one("swap_free_percent == 0 and swap_used_percent == 0", bare)[0]


def test_what_is_not_known_is_false_both_ways_and_is_told() -> None:
    for text in ("cgroup.psi.io.some.avg10 > 3", "not cgroup.psi.io.some.avg10 > 3", "oom_kills + 1 > 0"):
        (answer,) = answers(text, [readings(0, None, cgroup("/a"))], "/a")
        assert not answer.holds
        assert answer.unknown == (text.removeprefix("not ").split(" ")[0],)
    (answer,) = answers("oom_kills > 0 or mem_free_mib > 0", [readings(0)])
    assert (answer.holds, answer.why, answer.unknown) == (True, "mem_free_mib 4000 > 0", ("oom_kills",))


def test_division_by_nothing_is_not_known() -> None:
    assert not one("mem_free_mib / (swap_total_mib - 1000) > 0 or 1 / (swap_total_mib - 1000) == 0", machine())[0]


def test_lasting_needs_every_look() -> None:
    low, fine = machine(100), machine(9000)
    at = [(0, low), (4000, low), (4500, fine), (5000, low), (9000, low), (10_000, low)]
    found = list(answers("lasts(mem_available_percent < 5, 5)", [readings(*each) for each in at]))
    assert [answer.holds for answer in found] == [False] * 5 + [True]
    assert found[-1].why == "mem_available_percent 1 < 5 for 5 s"
    assert [answer.due_ms for answer in found] == [5000, 5000, None, 10_000, 10_000, None]


def test_lasting_goes_on_while_another_part_is_false() -> None:
    series = [readings(0, machine(100)), readings(6000, machine(100, swap_free=0))]
    text = "swap_free_mib < 1 and lasts(mem_available_percent < 5, 5)"
    assert [answer.holds for answer in answers(text, series)] == [False, True]


def test_nothing_lasts_over_a_gap() -> None:
    series = [readings(at, machine(100)) for at in (0, GAP_MS + 1, GAP_MS + 5001)]
    found = answers("lasts(mem_available_percent < 5, 5)", series)
    assert [answer.holds for answer in found] == [False, False, True]


def test_not_to_have_lasted() -> None:
    series = [readings(at, machine(100)) for at in (0, 5000)]
    found = list(answers("not lasts(mem_available_percent < 5, 5)", series))
    assert [answer.holds for answer in found] == [True, False]
    assert found[0].why == "not for 5 s: mem_available_percent < 5"


def test_rate_is_of_the_look_before() -> None:
    series = [readings(at, None, cgroup("/a", events_high=count)) for at, count in ((0, 5), (2000, 9), (3000, 9))]
    found = list(answers("rate(cgroup.events.high) > 0", series, "/a"))
    assert [answer.holds for answer in found] == [False, True, False]
    assert found[1].why == "rate(cgroup.events.high) 2 > 0"
    assert found[0].unknown == ()


def test_growth_is_of_its_span() -> None:
    series = [readings(at * 1000, None, cgroup("/a", current=100 + 10 * at)) for at in range(13)]
    found = list(answers("growth(cgroup.current_mib, 10) >= 100", series, "/a"))
    assert [answer.holds for answer in found] == [False] * 10 + [True] * 3
    assert found[-1].why == "growth(cgroup.current_mib, 10) 100 >= 100"


def test_growth_over_rare_looks_is_brought_down_to_the_span() -> None:
    series = [readings(at, None, cgroup("/a", current=now)) for at, now in ((0, 0), (20_000, 150))]
    assert [answer.holds for answer in answers("growth(cgroup.current_mib, 10) == 75", series, "/a")] == [False, True]


def test_growth_between_two_looks_is_reckoned_as_even() -> None:
    """20 s ago 0, 4 s ago 80, now 280: 10 s ago it was 50."""
    looks = ((0, 0), (16_000, 80), (20_000, 280))
    series = [readings(at, None, cgroup("/a", current=now)) for at, now in looks]
    found = list(answers("growth(cgroup.current_mib, 10) == 230", series, "/a"))
    assert [answer.holds for answer in found] == [False, False, True]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=300))
def test_growth_remembers_little(steps: list[int]) -> None:
    condition, memory, now = parse_condition("growth(mem_free_mib, 2) > 1"), Memory(), 0
    for step in steps:
        now += step
        _, memory = condition.judge(Look(readings(now)), memory)
        assert len(memory.series[0]) <= 2 + 32 * 2


def test_pressure_now_does_not_lag() -> None:
    def stalled(at_ms: int, total_us: int) -> MachineReading:
        return replace(machine(), memory=Pressure(full=Stall(avg10=90.0, total_us=total_us)))

    series = [readings(at, stalled(at, total)) for at, total in ((0, 0), (1000, 600_000), (2000, 600_000))]
    found = list(answers("psi.memory.full.now > 50", series))
    assert [answer.holds for answer in found] == [False, True, False]
    assert found[1].why == "psi.memory.full.now 60 > 50"


def test_reclaim_and_its_efficiency() -> None:
    def reclaimed(scanned: int, got: int) -> MachineReading:
        return replace(machine(), scanned_pages=scanned, reclaimed_pages=got, refaulted_pages=0)

    series = [readings(0, reclaimed(0, 0)), readings(1000, reclaimed(1000, 50)), readings(2000, reclaimed(1000, 50))]
    found = list(answers("scan_efficiency_percent < 10 and reclaim_pages_per_s < 100", series))
    assert [answer.holds for answer in found] == [False, True, False]
    assert found[1].why == "scan_efficiency_percent 5 < 10 and reclaim_pages_per_s 50 < 100"


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("cgroup.current_percent_of_max > 90", True),
        ("cgroup.current_percent_of_high > 90", False),  # there is no memory.high
        ("cgroup.over_low_mib == 45", True),
        ("cgroup.swap_percent_of_max == 50", True),
        ("cgroup.is_frozen == 0 and cgroup.dying_descendants == 7", True),
    ],
)
def test_a_cgroup_against_its_limits(text: str, holds: bool) -> None:
    of = cgroup("/a", 95, max_bytes=100 * MIB, low_bytes=50 * MIB, swap_current_bytes=5, swap_max_bytes=10,
                dying_descendants=7)  # fmt: skip
    (answer,) = answers(text, [readings(0, None, of)], "/a")
    assert answer.holds is holds


def test_a_cgroup_that_is_gone_is_not_known() -> None:
    (answer,) = answers("cgroup.current_mib >= 0", [readings(0)], "/gone")
    assert (answer.holds, answer.unknown) == (False, ("cgroup.current_mib",))


@given(st.lists(st.tuples(st.integers(1, 3000) | st.just(GAP_MS + 1), st.booleans()), max_size=30), st.integers(1, 9))
def test_lasting_is_having_been_true_at_every_look_of_the_span(steps: list[tuple[int, bool]], span_s: int) -> None:
    series, now = [], 0
    for step_ms, is_low in steps:
        now += step_ms
        series.append((now, is_low))
    found = answers(
        f"lasts(mem_available_percent < 5, {span_s})",
        [readings(at, machine(100 if is_low else 9000)) for at, is_low in series],
    )
    for place, answer in enumerate(found):
        begins = place
        while (
            begins >= 0
            and series[begins][1]
            and (begins == place or series[begins + 1][0] - series[begins][0] <= GAP_MS)
        ):
            begins -= 1
        has_lasted = begins < place and series[place][0] - series[begins + 1][0] >= span_s * 1000
        assert answer.holds is has_lasted
