"""When to look again: what could make a condition true."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oompolicy.rules.condition import Memory
from oompolicy.rules.look import Look
from oompolicy.rules.readings import Pressure, Readings, Stall
from oompolicy.rules.syntax import parse_condition
from oompolicy.rules.watch import EventsWatch, PsiWatch, Sensors, WaitWatch, Watch, together, watches
from rules.readings_made_up import MIB, cgroup, machine, readings

FINE = readings(
    0,
    machine(),
    cgroup(
        "/a",
        100,
        max_bytes=700 * MIB,
        anon_bytes=10 * MIB,
        pids=7,
        events_high=0,
        events_local_oom=0,
        dying_descendants=7,
    ),
)
ON_ZRAM = readings(0, replace(machine(), zram_used_bytes=400 * MIB, zram_stored_bytes=1000 * MIB))


def watched(text: str, now: Readings = FINE, scope: str = "/a") -> tuple[Watch, ...]:
    condition, look = parse_condition(text), Look(now, scope)
    _, memory = condition.judge(look, Memory())
    return watches(condition.root, look, memory)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # Half of 20 % of a window of one second.
        ("psi.memory.full.avg10 > 20", PsiWatch("/", "memory", "full", 100_000)),
        ("20 <= psi.memory.full.avg10", PsiWatch("/", "memory", "full", 100_000)),
        ("cgroup.psi.memory.full.avg10 > 0", PsiWatch("/a", "memory", "full", 1000)),
        ("rate(cgroup.events.high) > 0", EventsWatch("/a", "memory.events")),
        ("growth(cgroup.events_local.oom, 60) > 1", EventsWatch("/a", "memory.events.local")),
        ("cgroup.dying_descendants > 1000", WaitWatch(10_000)),
        ("cgroup.is_frozen > 0", EventsWatch("/a", "cgroup.events")),
        # 80 % available of 10,000 MiB, at 6,000 MiB a second.
        ("mem_available_percent < 20", WaitWatch(1000)),
        ("mem_available_percent < 79.9", WaitWatch(100)),
        ("swap_free_mib < 200", WaitWatch(1000)),
        ("cgroup.current_percent_of_max > 100", WaitWatch(100)),
        ("rate(cgroup.current_mib) > 20", WaitWatch(1000)),
        ("growth(cgroup.current_mib, 2) > 20", WaitWatch(500)),
        ("scan_efficiency_percent < 10", WaitWatch(1000)),
        # Sums of amounts, products with numbers, and amounts of each other: what can change how fast is known.
        ("mem_free_mib + swap_free_mib < 20", WaitWatch(4980 * 1000 // (6000 + 800))),
        ("cgroup.current_mib + cgroup.anon_mib > mem_total_mib / 4", WaitWatch(2390 * 1000 // (6000 + 6000 + 1500))),
        ("cgroup.current_mib * 3 > 12000 + mem_free_mib", WaitWatch(15_700 * 1000 // (18_000 + 6000))),
        ("cgroup.current_mib / mem_free_mib > 10", WaitWatch(1000)),
        ("cgroup.dying_descendants + 1 > cgroup.pids + 100", WaitWatch(1000)),
        ("cgroup.current_percent_of_high > 90", WaitWatch(60_000)),
        ("psi.memory.full.avg10 < 0", WaitWatch(2000)),
    ],
)
def test_what_a_comparison_waits_for(text: str, found: Watch) -> None:
    assert watched(text) == (found,)


def test_the_memory_of_zram_is_a_level_that_the_machine_s_amounts_do_not_tell() -> None:
    """4 % of 10,000 MiB: 600 MiB away at 6,000 MiB a second, whatever /proc/meminfo says meanwhile."""
    for text in ("zram_used_percent > 10", "zram_used_mib > 1000"):
        found = together(watched(text, ON_ZRAM, "/"))
        assert (found.wait_ms, found.level_ms, found.other_ms) == (100, None, 100)
    level = together(watched("mem_available_percent < 20 or zram_used_percent > 40", ON_ZRAM, "/"))
    assert (level.level_ms, level.other_ms) == (1000, 600)


def test_of_parts_that_must_all_be_true_a_level_that_amounts_tell_is_waited_for() -> None:
    """A glance is by far cheaper than a look; a growth alone would be looked at twice a second, for ever."""
    level = together(watched("growth(cgroup.pids, 2) > 100 and mem_available_percent < 5"))
    assert level.level_ms is not None
    assert level.other_ms is None
    growth = together(watched("growth(cgroup.pids, 2) > 100 and mem_available_percent < 99"))
    assert (growth.level_ms, growth.other_ms) == (None, 500)


def test_a_cgroup_that_is_new_is_watched_at_its_first_look() -> None:
    """Nothing of it can be compared with the look before, which is no reason to think that nothing is known of it."""
    stalled = Pressure(some=Stall(), full=Stall())
    before = readings(0, machine())
    now = readings(1000, machine(), replace(cgroup("/new"), io=stalled, scanned_pages=1))
    for text, found in {
        "cgroup.psi.io.full.now > 20": PsiWatch("/new", "io", "full", 100_000),
        "cgroup.scan_pages_per_s > 20": WaitWatch(1000),
    }.items():
        condition, look = parse_condition(text), Look(now, "/new", before)
        answer, memory = condition.judge(look, Memory())
        assert answer.unknown == ()
        assert watches(condition.root, look, memory) == (found,)


def test_what_a_hierarchy_never_tells_of_is_not_looked_at_again() -> None:
    of_v1 = readings(0, machine(), replace(cgroup("/a"), memory=Pressure(), never=frozenset({"memory.pressure"})))
    pressure = "cgroup.psi.memory.full.avg10 > 20"
    assert watched(pressure, of_v1) == ()
    assert watched(f"{pressure} and mem_available_percent < 20", of_v1) == ()
    assert watched(f"{pressure} or mem_available_percent < 20", of_v1) == (WaitWatch(1000),)
    assert watched("cgroup.current_percent_of_max > 100", of_v1) == (WaitWatch(60_000),)  # a limit may be set later
    of_v2 = readings(0, machine(), replace(cgroup("/a"), memory=Pressure()))
    assert watched(pressure, of_v2) == (WaitWatch(60_000),)  # cgroup.pressure may be switched on


def test_what_is_true_waits_for_nothing() -> None:
    assert watched("mem_free_mib > 1 or psi.memory.full.avg10 > 20") == ()


def test_what_has_lasted_and_must_not_have_is_looked_at_now_and_then() -> None:
    text = "psi.memory.full.avg10 > 20 and not lasts(scan_pages_per_s == 0, 10)"
    calm = [readings(at, replace(machine(), scanned_pages=5)) for at in (0, 1000, 11_000)]
    condition, memory, before = parse_condition(text), Memory(), None
    found = []
    for now in calm:
        look = Look(now, "/", before)
        _, memory = condition.judge(look, memory)
        found.append(watches(condition.root, look, memory))
        before = now
    trigger = PsiWatch("/", "memory", "full", 100_000)
    assert found == [(trigger,), (trigger, WaitWatch(1000)), (trigger, WaitWatch(15_000))]


def test_of_what_must_all_be_true_the_cheapest_is_waited_for() -> None:
    trigger = (PsiWatch("/", "memory", "full", 100_000),)
    assert watched("mem_available_percent < 20 and psi.memory.full.avg10 > 20") == trigger
    assert watched("mem_free_mib > 1 and psi.memory.full.avg10 > 20 and rate(swap_free_mib) < -3") == trigger
    # The trigger will not help where the pressure is there already.
    pressed = readings(0, machine(full10=50.0))
    assert watched("mem_available_percent < 20 and psi.memory.full.avg10 > 20", pressed) == (WaitWatch(1000),)


def test_of_what_may_be_true_everything_is_waited_for() -> None:
    found = watched("mem_available_percent < 20 or psi.memory.full.avg10 > 20 or cgroup.psi.memory.full.avg10 > 4")
    assert together(found) == Sensors(
        (PsiWatch("/", "memory", "full", 100_000), PsiWatch("/a", "memory", "full", 20_000)), (), 1000
    )


def test_what_has_begun_to_last_is_looked_at() -> None:
    pressed = readings(0, machine(full10=50.0))
    assert watched("lasts(psi.memory.full.avg10 > 20, 2)", pressed) == (WaitWatch(500),)
    assert watched("lasts(psi.memory.full.avg10 > 20, 60)", pressed) == (WaitWatch(1000),)
    assert watched("lasts(psi.memory.full.avg10 > 20, 60)") == (PsiWatch("/", "memory", "full", 100_000),)
    assert watched("not lasts(psi.memory.full.avg10 > 20, 60)") == ()


def test_the_nearest_of_many_is_waited_for() -> None:
    many = (PsiWatch("/", "memory", "full", 9), WaitWatch(7), PsiWatch("/", "memory", "full", 5), WaitWatch(8))
    assert together(many) == Sensors((PsiWatch("/", "memory", "full", 5),), (), 7)
    assert together([]) == Sensors()


def test_a_trigger_in_the_kernel_s_words() -> None:
    assert PsiWatch("/", "memory", "some", 150_000).line == "some 150000 1000000"
