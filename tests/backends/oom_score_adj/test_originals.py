"""Telling our values from those of others: identity, inheritance, drift."""

from __future__ import annotations

import pytest

from oompolicy.backends.oom_score_adj.originals import (
    TICK_NS,
    Drift,
    Entry,
    Identity,
    Seen,
    see,
    taken_over,
    to_restore,
)
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.sched import Task

CGROUP = MemCgroup("/batch", MemCgroup("/"))


def process(pid: int, adj: int, ppid: int = 1, start: int | None = None, cgroup: MemCgroup | None = CGROUP) -> Task:
    ticks = pid if start is None else start
    return Task(pid, f"p{pid}", None, ppid=ppid, oom_score_adj=adj, start_time_ns=ticks * TICK_NS, memcg=cgroup)


def entry(
    pid: int, original: int, *written: int, start: int | None = None, since: int = 0, left: bool = False
) -> Entry:
    return Entry(Identity(pid, pid if start is None else start), f"p{pid}", original, written, since, "/batch", left)


def entries(*items: Entry) -> dict[Identity, Entry]:
    return {item.identity: item for item in items}


INIT = process(1, 0)


def test_a_process_of_its_own_is_its_own_original() -> None:
    seen = see({}, [INIT, process(100, 300)], "correct")
    assert seen.originals == {1: 0, 100: 300}
    assert seen.entries == {}


def test_one_of_ours_keeps_its_original() -> None:
    seen = see(entries(entry(100, 300, 999)), [process(100, 999)], "correct")
    assert seen.originals == {100: 300}
    assert not seen.drifted


def test_an_older_value_of_ours_is_no_drift() -> None:
    seen = see(entries(entry(100, 300, 500, 999)), [process(100, 500)], "leave")
    assert (seen.originals, seen.left) == ({100: 300}, [])


def test_a_reused_pid_is_somebody_else() -> None:
    seen = see(entries(entry(100, 300, 999, start=7)), [process(100, 999, start=50, cgroup=None)], "correct")
    assert seen.originals == {100: 999}
    assert to_restore(Seen(entries(entry(100, 300, 999, start=7))), [process(100, 999, start=50, cgroup=None)]) == []


def test_a_child_has_its_parent_s_original() -> None:
    seen = see(entries(entry(100, 300, 999)), [process(100, 999), process(101, 999, ppid=100)], "correct")
    assert seen.originals == {100: 300, 101: 300}
    assert [item.identity.pid for item in seen.inherited] == [101]


def test_a_child_born_before_its_parent_was_changed_is_its_own() -> None:
    seen = see(entries(entry(100, 300, 999)), [process(100, 999), process(101, 300, ppid=100)], "correct")
    assert seen.originals[101] == 300
    assert not seen.inherited


def test_a_child_born_between_two_changes_is_ours_too() -> None:
    seen = see(entries(entry(100, 300, 400, 999)), [process(100, 999), process(101, 400, ppid=100)], "correct")
    assert seen.originals[101] == 300


def test_a_grandchild_is_found_through_its_parent() -> None:
    tasks = [process(102, 999, ppid=101), process(101, 999, ppid=100), process(100, 999)]
    assert see(entries(entry(100, 300, 999)), tasks, "correct").originals == {100: 300, 101: 300, 102: 300}


def test_an_orphan_is_known_by_its_cgroup_and_the_value() -> None:
    seen = see(entries(entry(100, 300, 417)), [INIT, process(101, 417)], "correct")
    assert seen.originals[101] == 300


def test_an_orphan_is_known_for_one_more_look_after_its_parent_has_gone() -> None:
    first = see(entries(entry(100, 300, 417)), [INIT], "correct")
    assert set(first.ghosts) == {Identity(100, 100)}
    second = see(first.entries, [INIT, process(101, 417)], "correct", first.ghosts)
    assert second.originals[101] == 300
    assert second.ghosts == {}


def test_a_child_of_one_that_was_let_go_of_is_known_for_one_more_look() -> None:
    ghosts = entries(entry(100, 300, 999))
    seen = see({}, [process(100, 300), process(101, 999, ppid=100)], "correct", ghosts)
    assert seen.originals == {100: 300, 101: 300}


@pytest.mark.parametrize(
    "other",
    [
        process(101, 417, cgroup=MemCgroup("/web", MemCgroup("/"))),  # elsewhere
        process(99, 417),  # older than the one it would have it from
        process(101, 5),  # another value
        process(101, 417, cgroup=None),
        process(101, 417, ppid=77),  # nobody knows of its parent
    ],
)
def test_who_only_resembles_an_orphan_is_left_alone(other: Task) -> None:
    seen = see(entries(entry(100, 300, 417, 0)), [INIT, other], "correct")
    assert seen.originals[other.pid] == other.oom_score_adj


def test_who_has_its_own_parent_s_value_has_not_ours() -> None:
    """The shell that started it has 417, too, and always had."""
    seen = see(entries(entry(100, 300, 417)), [process(50, 417), process(101, 417, ppid=50)], "correct")
    assert seen.originals == {50: 417, 101: 417}


def test_drift_is_corrected_and_their_value_is_what_will_be_put_back() -> None:
    seen = see(entries(entry(100, 300, 999)), [process(100, -5)], "correct")
    assert seen.originals == {100: -5}
    assert [(item.original, item.is_left) for item in seen.drifted] == [(-5, False)]
    assert not seen.fixed


def test_drift_is_left_and_planned_around_from_then_on() -> None:
    seen = see(entries(entry(100, 300, 999)), [process(100, -5)], "leave")
    assert (seen.originals, seen.fixed) == ({100: -5}, {100})
    again = see(seen.entries, [process(100, 12)], "leave")
    assert (again.originals, again.fixed, again.left) == ({100: 12}, {100}, [])
    assert to_restore(again, [process(100, 12)]) == []


def test_who_was_born_before_we_wrote_anything_has_nothing_from_us() -> None:
    known = entries(entry(100, 300, 0, since=150))
    seen = see(known, [process(100, 0), process(120, 0, ppid=100), process(160, 0, ppid=100)], "correct")
    assert seen.originals == {100: 300, 120: 0, 160: 300}


def test_a_common_value_makes_nobody_an_heir_and_init_never_is_one() -> None:
    """An entry for 0 in the root cgroup, left by a process that is gone, must not spread over the machine."""
    root = MemCgroup("/")
    left = Entry(Identity(7, 3), "gone", 500, (0, 417), 0, "/")
    tasks = [
        process(1, 417, ppid=0, cgroup=root),
        process(100, 0, ppid=1, cgroup=root),
        process(101, 0, ppid=100, cgroup=root),
        process(102, 417, ppid=1, cgroup=root),
    ]
    seen = Seen(ghosts=entries(left))
    assert to_restore(seen, tasks) == []
    assert to_restore(seen, [process(1, 0, ppid=0, cgroup=root), *tasks[1:3]]) == []


def test_heirs_are_only_looked_for_within_the_cgroup() -> None:
    known = Seen(entries(entry(100, 300, 999)))
    away = process(101, 999, ppid=100, cgroup=MemCgroup("/web", MemCgroup("/")))
    assert len(to_restore(known, [process(100, 999), away])) == 2
    assert [identity.pid for identity, _, _ in to_restore(known, [process(100, 999), away], "/batch")] == [100]


@pytest.mark.parametrize("drift", ["correct", "leave"])
def test_who_has_become_unkillable_is_let_go_of(drift: Drift) -> None:
    seen = see(entries(entry(100, 300, 999)), [process(100, -1000)], drift)
    assert (seen.originals, seen.entries) == ({100: -1000}, {})


def test_put_back_are_ours_and_their_children_and_nobody_else() -> None:
    known = entries(entry(100, 300, 999), entry(200, 0, 500), entry(300, 0, 400), entry(400, 0, 1, left=True))
    tasks = [
        INIT,
        process(100, 999),
        process(101, 999, ppid=100),
        process(200, 77),  # somebody has set it since
        process(301, 400),  # its parent, 300, has died
        process(400, 1),
        process(500, 123),
    ]
    assert {(identity.pid, adj) for identity, _, adj in to_restore(Seen(known), tasks)} == {
        (100, 300),
        (101, 300),
        (301, 0),
    }


def test_what_was_announced_but_not_written_is_no_drift_at_the_next_start() -> None:
    known = entries(entry(100, 300, 999), entry(200, 0, 500), entry(300, 0, 7))
    seen = taken_over(known, [process(100, 300), process(200, 500)])
    assert set(seen.entries) == {Identity(200, 200)}
    assert set(seen.ghosts) == {Identity(100, 100), Identity(300, 300)}


def test_only_so_many_old_values_are_kept() -> None:
    item = entry(100, 0)
    for adj in range(100):
        item = item.with_written(adj)
    assert item.written[-1] == 99
    assert len(item.written) == 8
    assert item.with_written(95).written == (92, 93, 94, 96, 97, 98, 99, 95)
