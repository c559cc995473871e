"""Replaying: real reports against what truly happened, and a sentence wherever the comparison fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oom_logs import FIXTURES, HEADERS, SHARED, as_log, global_report, memcg_report, report_of, reports_of
from oompolicy.assign import Assignment
from oompolicy.policy import KILL, SPARE, OomControl, Task, Verdict, policy
from oompolicy.replay import Replayed, replay
from oompolicy.sources.oom_report import LogFile, read_reports


def played(path: Path) -> list[Replayed]:
    return [replay(report) for report in read_reports(LogFile(str(path)).blocks())]


# Reports of our own guests, with a truth of their own.

LOGS = sorted(FIXTURES.glob("*.log"))
# The child in the middle of vfork has its parent's numbers in the table: see tests/fixtures/README.md.
NOT_TOLD_BY_THE_TABLE = "vfork"


@pytest.mark.parametrize("path", LOGS, ids=[path.stem for path in LOGS])
def test_what_happened_in_our_guests_is_reproduced(path: Path) -> None:
    truth = json.loads(path.with_suffix(".json").read_text())
    victims = {victim["pid"] for victim in truth["victims"]}
    replays = played(path)
    named = {kill.pid for played in replays for kill in played.report.kills}
    threads = {task["pid"]: task["tgid"] for task in truth["tasks"]}
    assert {threads.get(pid, pid) for pid in named} <= victims
    for one in replays:
        assert one.report.missing == ()
        assert one.report.kernel_release == truth["kernel"]
        if one.agrees is None:
            assert NOT_TOLD_BY_THE_TABLE in path.stem
            assert "vfork" in (one.why_not or "")
        else:
            assert one.agrees, one.why_not
            assert one.model.pick is None or one.model.pick.pid in victims


def test_all_who_die_by_memory_oom_group_are_listed() -> None:
    for path in FIXTURES.glob("*-group.log"):
        (one,) = played(path)
        truth = json.loads(path.with_suffix(".json").read_text())
        assert {kill.pid for kill in one.report.kills} == {victim["pid"] for victim in truth["victims"]}
        assert any(note.startswith("memory.oom.group of /job/team: killed with it: ") for note in one.notes)


def test_kills_without_a_table_are_listed() -> None:
    for path in FIXTURES.glob("*-storm.log"):
        replays = played(path)
        assert len(replays) == 10
        assert len(replays[-1].report.kills) == 5
        assert any("grower 14" in note and "rate-limited" in note for note in replays[-1].notes)


# Reports of others, where they are at hand.


def _shared() -> list[Any]:
    if not SHARED.is_dir():
        return [pytest.param({}, marks=pytest.mark.skip(reason="../shared/oom-reports is not there"))]
    return [pytest.param(entry, id=entry["file"]) for entry in json.loads((SHARED / "index.json").read_text())]


@pytest.mark.parametrize("entry", _shared())
def test_real_reports_of_others_are_reproduced_or_explained(entry: dict[str, Any]) -> None:
    (one,) = played(SHARED / entry["file"])
    if entry["independent_check"] in {"match", "match-tie"}:
        assert one.agrees is True, one.why_not
        assert one.report.killed is not None
        named = {one.report.killed.pid, one.report.killed.chosen_pid}
        assert entry["killed_pid"] in named
        assert one.model.pick is not None
        row = next(row for row in one.report.rows if one.model.pick.pid in {row.pid, row.tgid})
        assert named & {row.pid, row.tgid}
    elif one.agrees is not True:
        assert one.why_not
    assert one.report.kernel_release == entry["kernel"]
    assert entry["killed_pid"] is None or entry["killed_pid"] in {kill.pid for kill in one.report.kills}


# Why not


def why_not(messages: list[str]) -> tuple[bool | None, str | None]:
    one = replay(report_of(messages))
    return one.agrees, one.why_not


def row(pid: int, comm: str, rss: int, **cells: int) -> str:
    cells = {"uid": 0, "tgid": pid, "pgtables": 40960, "swap": 0, "adj": 0, **cells}
    return (
        f"[{pid:7d}] {cells['uid']:5d} {cells['tgid']:5d}     9000 {rss:8d} {rss:8d}        0         0 "
        f"{cells['pgtables']:8d} {cells['swap']:8d} {cells['adj']:13d} {comm}"
    )


def killed(pid: int, comm: str) -> str:
    return f"Out of memory: Killed process {pid} ({comm}) total-vm:36000kB, anon-rss:4kB"


def test_the_kernels_pick_is_the_models() -> None:
    one = replay(report_of(global_report()))
    assert (one.agrees, one.why_not, one.candidates) == (True, None, 2)
    assert one.model.pick is not None
    # 1500 + 7 + 12 pages, and an oom_score_adj of 100 thousandths of 1,000,000 pages.
    assert (one.model.pick.pid, one.model.pick.comm, one.model.pick.points) == (202, "big", 101_519)


def test_a_thread_stands_for_its_process() -> None:
    rows = (row(5, "a.thread", 900, tgid=4), row(6, "b", 10))
    assert why_not(global_report(*rows, kill=killed(5, "a.thread"))) == (True, None)
    assert why_not(global_report(*rows, kill=killed(4, "a"))) == (True, None)
    one = replay(report_of(global_report(*rows, kill=killed(5, "a.thread"))))
    assert one.model.pick is not None
    assert one.model.pick.pid == 4
    assert one.is_kernels(one.model.pick)


def test_a_child_that_dies_for_its_parent_leaves_the_parent_the_chosen() -> None:
    lines = [
        "Out of memory: Kill process 5 (parent) score 1 or sacrifice child",
        "Killed process 6 (child) total-vm:4kB",
    ]
    header = HEADERS["3.10"]
    rows = (
        "[    5]     0     5     9000      900      10        0             0 parent",
        "[    6]     0     6     9000      100      10        0             0 child",
    )
    assert why_not(global_report(*rows, header=header, kill=lines, release="3.10.0-1160.el7.x86_64")) == (True, None)
    agrees, why = why_not(global_report(*rows, header=header, kill=lines[1], release="3.10.0-1160.el7.x86_64"))
    assert agrees is None
    assert why is not None
    assert "child" in why


@pytest.mark.parametrize(
    ("messages", "agrees", "why"),
    [
        (global_report(kill=None), None, "ends inside the task table"),
        (global_report(kill="Out of memory and no killable processes..."), False, "can be killed"),
        (
            [line for line in global_report() if not line.startswith(("[", "Tasks"))],
            None,
            "has no task table",
        ),
        ([killed(5, "a")], None, "at most ten in five seconds"),
        (global_report(kill=killed(777, "gone")), None, "gone (777), whom the kernel killed, is not in the table"),
        (
            global_report(row(5, "a", 900), row(6, "b", 900), kill=killed(5, "a"), release="5.15.0"),
            None,
            "a tie: the model picks b (6), but a (5), whom the kernel killed, has the same points and the same memory",
        ),
        (
            global_report(row(5, "a", 900), row(6, "b", 899, swap=1), kill=killed(5, "a")),
            False,
            "a tie: the model picks b (6), but a (5)",
        ),
        (
            global_report(row(5, "a", 9000), row(6, "b", 8990), kill=killed(6, "b")),
            False,
            "the table is printed after the choice",
        ),
        (
            global_report(row(5, "a", 9000), row(6, "b", 10), kill=killed(6, "b")),
            False,
            "the model picks a (5) with 9,010 points, the kernel killed b (6), which has 20 by the table; a patched",
        ),
        (
            global_report(row(5, "a", 9000), row(6, "b", 10), kill=killed(6, "b"), release="5.8.0-rc4-next-20200710"),
            False,
            "is a development kernel",
        ),
        (
            global_report(row(5, "a", 9000), row(6, "b", 10, adj=-1000), kill=killed(6, "b")),
            False,
            "cannot be killed: oom_score_adj is -1000",
        ),
        (
            global_report(
                "[  5]     0     5     2000     1500   1       0 a",
                release="2.6.32",
                header=HEADERS["2.6.32"],
                kill=killed(5, "a"),
            ),
            None,
            "also weighed CPU time",
        ),
    ],
)
def test_why_not(messages: list[str], agrees: bool | None, why: str) -> None:
    found = why_not(messages)
    assert found[0] is agrees
    assert found[1] is not None
    assert why in found[1]


def test_a_table_without_swap_cannot_decide_what_swap_decided() -> None:
    rows = (
        "[  201]  1000   201     9000     9000   1       0             0 big",
        "[  202]  1000   202     9000       10   1       0             0 swapped",
    )
    kill = ["Out of memory: Kill process 202 (swapped) score 16 or sacrifice child", "Killed process 202 (swapped)"]
    messages = global_report(
        *rows, header=HEADERS["2.6.39"], release="2.6.32-642.11.1.el6.x86_64", kill=kill, swap_kb=4_000_000
    )
    full = [line.replace("Free swap  = 4000000kB", "Free swap  = 0kB") for line in messages]
    agrees, why = why_not(full)
    assert agrees is None
    assert why is not None
    assert "shows neither swap nor page tables" in why
    assert "scored it 16 per mille" in why
    # With all of the swap free it cannot have been the swap.
    assert why_not(messages)[0] is False


def test_totals_that_are_lost_matter_only_where_adjustments_differ() -> None:
    def without_totals(*rows: str) -> list[str]:
        return [line for line in global_report(*rows, kill=killed(5, "a")) if "pages R" not in line]

    assert why_not(without_totals(row(5, "a", 900), row(6, "b", 10))) == (True, None)
    agrees, why = why_not(without_totals(row(5, "a", 900), row(6, "b", 10, adj=500)))
    assert agrees is None
    assert why is not None
    assert "how much memory and swap there was is not in the report" in why


def test_a_memcgs_ties_before_5_3_are_not_in_the_tables_order() -> None:
    header = HEADERS["5.15"]
    rows = (
        "[    301]     0   301     2000     1000    40960        1             0 a",
        "[    302]     0   302     2000     1001    40960        0             0 two words",
    )
    messages = [line if line != HEADERS["6.12"] else header for line in memcg_report(*rows)]
    messages = [line.replace("6.12.1", "5.2.14") for line in messages]
    agrees, why = why_not(messages)
    assert agrees is None
    assert why is not None
    assert "in the order in which it weighs them" in why


def test_a_report_that_lists_an_earlier_victim_passes_over_it() -> None:
    first = global_report(row(5, "a", 9000), row(6, "b", 900), kill=killed(5, "a"))
    reaped = ["oom_reaper: reaped process 5 (a), now anon-rss:0kB, file-rss:0kB, shmem-rss:36000kB"]
    second = global_report(row(5, "a", 9000), row(6, "b", 900), kill=killed(6, "b"))
    one, other = (replay(report) for report in reports_of(as_log([*first, *reaped, *second])))
    assert (one.agrees, other.agrees) == (True, True)
    assert any("had been killed before" in note for note in other.notes)


# Policies


@policy
def small_first(task: Task, oc: OomControl) -> int | Verdict:
    return -task.rss


@policy
def by_value(task: Task, oc: OomControl) -> int | Verdict:
    return KILL if task.value == 1 else SPARE


@policy
def needs_age(task: Task, oc: OomControl) -> int | Verdict:
    return task.age_ms


def test_a_policys_pick_stands_beside_the_kernels() -> None:
    one = replay(report_of(global_report()), small_first, by_value)
    assert one.policy is not None
    assert one.policy.pick is not None
    assert (one.policy.pick.comm, one.policy.pick.points) == ("hog", -1000)
    assert one.policy.pick.reason == "scored on task.rss=1000"
    assert one.differs is True
    assert one.agrees is True


def test_values_come_from_a_table() -> None:
    one = replay(report_of(global_report()), by_value, small_first, [Assignment(1, comm="h*")])
    assert one.policy is not None
    assert one.policy.pick is not None
    assert one.policy.pick.comm == "hog"
    assert one.differs is False


def test_a_policy_that_needs_what_reports_do_not_have_faults_and_is_said() -> None:
    one = replay(report_of(global_report()), needs_age)
    assert one.policy is not None
    assert one.policy.pick is not None
    assert one.policy.pick.comm == "big"
    assert len(one.policy.faults) == 2
    assert "age_ms is not known here" in one.policy.faults[0].why


def test_without_a_table_no_policy_can_tell() -> None:
    one = replay(report_of([killed(5, "a")]), small_first, by_value)
    assert one.policy is not None
    assert one.policy.pick is None
    assert one.policy.why_not == one.why_not
    assert one.differs is None


def test_the_allocating_task_dies_unless_a_policy_is_asked_no_more() -> None:
    kill = "Out of memory (oom_kill_allocating_task): Killed process 201 (hog) total-vm:8000kB, anon-rss:4kB"
    one = replay(report_of(global_report(kill=kill)))
    assert one.agrees is True
    assert one.model.pick is not None
    assert (one.model.pick.pid, one.model.pick.points) == (201, None)
