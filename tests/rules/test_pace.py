"""When to look next: a pure function of what was seen, so no test sleeps."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from oompolicy.rules.pace import Glances, Pace, Seen, glance_wait_ms, glanced, left_ms, looked, told

CALM = Seen()


def looks(pace: Pace, until_ms: int, seen: Callable[[int], Seen], now_ms: int = 0) -> list[int]:
    """When looks happen from now on, each at the time that the one before gave."""
    times: list[int] = []
    next_ms: int | None = now_ms
    while next_ms is not None and next_ms <= until_ms:
        times.append(next_ms)
        pace, next_ms = looked(pace, seen(next_ms), next_ms)
    return times


def test_while_nobody_tells_anything_nobody_looks() -> None:
    assert looks(Pace(), 3_600_000, lambda now_ms: CALM) == [0]


def test_a_single_stall_is_looked_at_for_three_seconds_and_no_more() -> None:
    assert looks(told(Pace(), 1000), 60_000, lambda now_ms: CALM, 1000) == [1000, 1500, 2000, 2500, 3000, 3500, 4000]


def test_what_stalls_on_is_looked_at_twenty_times_a_second() -> None:
    pace = told(told(Pace(), 1000), 1500)
    times = looks(pace, 60_000, lambda now_ms: CALM, 1500)
    assert times[:4] == [1500, 1550, 1600, 1650]
    assert times[-1] == 4500


def test_far_from_a_threshold_it_sleeps_until_memory_could_be_there() -> None:
    assert looks(Pace(), 5_000, lambda now_ms: Seen(earliest_ms=1300)) == [0, 1300, 2600, 3900]
    assert looks(Pace(), 25_000, lambda now_ms: Seen(earliest_ms=900_000)) == [0, 10_000, 20_000]


def test_near_a_threshold_where_nothing_moves_it_looks_ten_times_a_second() -> None:
    assert looks(Pace(), 350, lambda now_ms: Seen(earliest_ms=3)) == [0, 100, 200, 300]


@pytest.mark.parametrize("step_ms", [1, 50])
def test_the_crossing_is_seen_within_10_ms_though_memory_comes_in_steps(step_ms: int) -> None:
    """Memory falls at a fourth of what is possible: the last look before the crossing is near it."""

    def falling(now_ms: int) -> Seen:
        return Seen(earliest_ms=max((2000 - now_ms // step_ms * step_ms) // 4, 0))

    times = looks(Pace(), 2100, falling)
    assert min(time for time in times if time >= 2000) <= 2010
    assert len(times) < 60


def test_at_the_fastest_it_never_looks_late() -> None:
    times = looks(Pace(), 1400, lambda now_ms: Seen(earliest_ms=max(1300 - now_ms, 0)))
    assert times[:2] == [0, 1300]


def test_what_has_to_last_is_judged_when_it_has() -> None:
    assert looks(Pace(), 40_000, lambda now_ms: Seen(due_ms=30_000 if now_ms < 30_000 else None)) == [0, 30_000]


def test_without_triggers_it_looks_by_the_clock() -> None:
    assert looks(Pace(), 3000, lambda now_ms: Seen(is_blind=True)) == [0, 1000, 2000, 3000]


def test_a_costly_look_is_not_repeated_until_it_is_a_small_part_of_the_time() -> None:
    assert looks(Pace(), 9000, lambda now_ms: Seen(earliest_ms=0, took_ms=40)) == [0, 4000, 8000]
    assert looks(Pace(), 9000, lambda now_ms: Seen(earliest_ms=0, took_ms=4000)) == [0, 5000]
    pace = told(told(Pace(), 0), 1)
    assert looks(pace, 900, lambda now_ms: Seen(took_ms=40), 1)[:3] == [1, 401, 801]


def test_time_that_jumps_does_no_harm() -> None:
    """SIGSTOP for an hour, then on: the alert is over, and nothing counts as falling."""
    pace, _ = looked(told(Pace(), 0), Seen(earliest_ms=500), 0)
    pace, next_ms = looked(pace, Seen(earliest_ms=400), 3_600_000)
    assert next_ms == 3_600_400
    assert not pace.is_falling


def test_what_amounts_alone_say_is_reckoned_without_a_look() -> None:
    """1 GiB away is 170 ms away at the fastest; after half of it, half of that is left."""
    before = (8 << 30, 3 << 30, 1 << 30, 2 << 30, 2 << 30)
    used = (8 << 30, (3 << 30) - (512 << 20), 1 << 30, 2 << 30, 2 << 30)
    swapped = (8 << 30, 3 << 30, 1 << 30, 2 << 30, (2 << 30) - (80 << 20))
    assert left_ms(170, before, before) == 170
    assert left_ms(170, before, used) == pytest.approx(85, abs=1)
    assert left_ms(170, before, swapped) == pytest.approx(70, abs=1)
    assert left_ms(50, before, used) == 0
    assert left_ms(170, before, (8 << 30, 3 << 30, 1 << 30, 1 << 30, 1 << 30)) == 0  # swapoff


def test_a_glance_is_good_for_what_is_left_and_shorter_where_memory_falls() -> None:
    assert glance_wait_ms(1300, is_falling=False) == 1300
    assert glance_wait_ms(50_000, is_falling=False) == 10_000
    assert glance_wait_ms(30, is_falling=False) == 100
    assert glance_wait_ms(30, is_falling=True) == 30
    assert glance_wait_ms(3, is_falling=True) == 10


def test_memory_that_goes_in_steps_is_seen_to_fall_between_them() -> None:
    """10 ms apart, most glances see the same amount; the first wait after that would be 100 ms long."""
    glances, seen = Glances(((0, 60.0),)), []
    for now_ms in range(10, 400, 10):
        glances = glanced(glances, 60 - now_ms // 40 * 4, now_ms)
        seen.append(glances.is_falling)
    assert seen.index(True) <= 10
    assert all(seen[10:])
    for now_ms in range(400, 700, 10):
        glances = glanced(glances, 24, now_ms)
    assert not glances.is_falling


def test_after_a_long_calm_the_speed_of_late_counts() -> None:
    glances = glanced(glanced(Glances(((0, 4000.0),)), 3999, 3800), 150, 3900)
    assert glances.is_falling
