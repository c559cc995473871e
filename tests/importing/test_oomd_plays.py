"""Rules imported from oomd over series of readings: they fire when oomd would, and the same cgroup goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from importing import oomd_in_words as words
from importing.played import MIB, Fired, at, cgroup, machine, played
from oompolicy.importing.imported import Imported
from oompolicy.importing.oomd import import_oomd
from oompolicy.rules.readings import Readings

EVERY_S = words.INTERVAL_S


def ruleset(action: dict[str, object], *groups: list[dict[str, object]]) -> Imported:
    detectors = [[f"group {number}", *group] for number, group in enumerate(groups)]
    return import_oomd(json.dumps({"rulesets": [{"name": "r", "detectors": detectors, "actions": [action]}]}), "o")


def plugin(name: str, **args: str) -> dict[str, object]:
    return {"name": name, "args": args}


def pressure(path: str, threshold: int, duration_s: int) -> dict[str, object]:
    args = {"threshold": str(threshold), "duration": str(duration_s)}
    return plugin("pressure_above", cgroup=path, resource="memory", **args)


# In the shape of the configuration that oomd ships for desktops: one cgroup is watched, others are killed in.
DESKTOP = ruleset(
    plugin("kill_by_pg_scan", cgroup="system.slice/*,user.slice/user-*.slice/session-*.scope"),
    [pressure("user.slice", 60, 15), plugin("memory_reclaim", cgroup="user.slice", duration="10")],
    [pressure("system.slice", 80, 30), plugin("memory_reclaim", cgroup="system.slice", duration="10")],
)
KILLABLE = ("/system.slice/a.service", "/system.slice/b.service", "/user.slice/user-1.slice/session-1.scope")
WATCHED = ("/user.slice", "/system.slice")


def desktop_look(place: int, pressures: tuple[int, int], scans: Sequence[int]) -> Readings:
    """scans: how often each was scanned by now, the watched ones first."""
    full10 = dict(zip(WATCHED, pressures, strict=True))
    paths = zip((*WATCHED, *KILLABLE), scans, strict=True)
    return at(place * EVERY_S, None, *(cgroup(path, full10=full10.get(path, 0), scanned=n) for path, n in paths))


PRESSURES = st.sampled_from([59, 61, 81, 82])
LOOKS = st.tuples(st.tuples(PRESSURES, PRESSURES), st.lists(st.integers(0, 2), min_size=5, max_size=5))


def series_of(looks: list[tuple[tuple[int, int], list[int]]]) -> list[Readings]:
    """A few looks in which nothing happens go before: a series does not begin with the machine."""
    steps = [((0, 0), [0] * 5)] * 4 + looks
    scans = accumulate(
        (more for _, more in steps), lambda before, more: [one + each for one, each in zip(before, more, strict=True)]
    )
    return [
        desktop_look(place, pressures, scanned)
        for place, ((pressures, _), scanned) in enumerate(zip(steps, scans, strict=True))
    ]


@given(st.lists(LOOKS, min_size=5, max_size=20))
@settings(max_examples=300, deadline=None)
def test_it_fires_when_oomd_would_and_takes_whom_it_would(series: list[tuple[tuple[int, int], list[int]]]) -> None:
    looks = series_of(series)
    users = words.pressure_above(looks, "/user.slice", 60, 15), words.memory_reclaim(looks, ["/user.slice"], 10)
    systems = words.pressure_above(looks, "/system.slice", 80, 30), words.memory_reclaim(looks, ["/system.slice"], 10)
    fires = [any(all(one[place] for one in group) for group in (users, systems)) for place in range(len(looks))]
    kills = words.rested(fires, delay_s=15)
    found = played(DESKTOP, looks)
    assert [fired.at_s // EVERY_S for fired in found] == kills
    for fired, place in zip(found, kills, strict=True):
        scanned = words.scanned(looks[place - 1], looks[place], KILLABLE)
        assert scanned[fired.victim] == max(scanned.values())


LOW_SWAP = ruleset(plugin("kill_by_swap_usage", cgroup="a.slice/*,b.slice"), [plugin("swap_free", threshold_pct="10")])
SWAPPING = ("/a.slice/x", "/a.slice/y", "/b.slice")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(5, 15), st.tuples(*[st.integers(0, 3)] * 3)), min_size=1, max_size=6))
def test_low_swap_takes_whoever_swaps_most(series: list[tuple[int, tuple[int, int, int]]]) -> None:
    looks = [
        at(
            EVERY_S * place,
            machine(swap_free_percent=free),
            *(cgroup(path, swap_mib=mib) for path, mib in zip(SWAPPING, mibs, strict=True)),
        )
        for place, (free, mibs) in enumerate(series)
    ]
    low = words.swap_free(looks, 10)
    kills = words.rested([low[place] and any(series[place][1]) for place in range(len(looks))], delay_s=15)
    found = played(LOW_SWAP, looks)
    assert [fired.at_s // EVERY_S for fired in found] == kills
    for fired, place in zip(found, kills, strict=True):
        swaps = dict(zip(SWAPPING, series[place][1], strict=True))
        assert swaps[fired.victim] == max(swaps.values())


def test_it_rests_for_its_delay_whichever_group_fires() -> None:
    looks = [desktop_look(place, (61, 81), [place] * 5) for place in range(13)]
    found = played(DESKTOP, looks)
    assert [fired.at_s for fired in found] == [15, 30, 45, 60]


SIZE = ruleset(plugin("kill_by_memory_size_or_growth", cgroup="s/*"), [plugin("swap_free", threshold_pct="10")])


def sizes(at_s: int, **mibs: float) -> Readings:
    low = machine(swap_free_percent=5 if at_s >= 40 else 50)
    return at(at_s, low, *(cgroup(f"/s/{name}", mib) for name, mib in mibs.items()))


def test_who_holds_half_of_all_goes_though_another_grows() -> None:
    looks = [sizes(at_s, big=600, grows=100 + 5 * at_s, other=100) for at_s in range(0, 45, EVERY_S)]
    assert played(SIZE, looks) == [Fired(40, "r", "/s/big")]


def test_else_who_grows_goes_if_it_is_one_of_the_largest() -> None:
    others = {f"o{number}": 100.0 for number in range(7)}
    looks = [sizes(at_s, big=400, grows=100 + 7 * at_s, **others) for at_s in range(0, 45, EVERY_S)]
    assert played(SIZE, looks) == [Fired(40, "r", "/s/grows")]
    looks = [sizes(at_s, big=400, grows=1 + 2 * at_s, **others) for at_s in range(0, 45, EVERY_S)]
    assert played(SIZE, looks) == [Fired(40, "r", "/s/big")]  # too small to be asked for its growth


def test_else_the_one_furthest_above_its_protection_goes() -> None:
    protected = cgroup("/s/protected", 300)
    others = [cgroup(f"/s/{name}", 200 + number) for number, name in enumerate("abc")]
    looks = [at(at_s, machine(swap_free_percent=5), protected, *others) for at_s in (0,)]
    assert played(SIZE, looks) == [Fired(0, "r", "/s/protected")]
    low = replace(protected, low_bytes=150 * MIB)
    assert played(SIZE, [at(0, machine(swap_free_percent=5), low, *others)]) == [Fired(0, "r", "/s/c")]


def test_recursive_kills_a_leaf_below_the_worst() -> None:
    kill = plugin("kill_by_swap_usage", cgroup="s/*", recursive="true")
    swaps = {"/s/a": 9, "/s/a/1": 4, "/s/a/2": 5, "/s/b": 8}
    now = at(0, machine(swap_free_percent=5), *(cgroup(path, swap_mib=mib) for path, mib in swaps.items()))
    assert played(ruleset(kill, [plugin("swap_free", threshold_pct="10")]), [now]) == [Fired(0, "r", "/s/a/2")]
