"""From a report to the machine that the model judges."""

from __future__ import annotations

import pytest

from oom_logs import HEADERS, global_report, memcg_report, report_of
from oompolicy.mm.oom import OomConstraint
from oompolicy.mm.oom_kill import constrained_alloc
from oompolicy.mm.rules import NEWEST, rules_for
from oompolicy.sources.oom_report.scene import Scene, to_scene


def totalpages(scene: Scene) -> tuple[OomConstraint, int]:
    oc = scene.oom_control()
    return constrained_alloc(oc), oc.totalpages


def test_a_global_oom_has_ram_less_reserved_and_swap() -> None:
    scene = to_scene(report_of(global_report(ram_pages=1_000_000, swap_kb=4000)))
    assert totalpages(scene) == (OomConstraint.CONSTRAINT_NONE, 1_001_000)
    assert scene.most is None


def test_the_tasks_stand_in_the_tables_order_with_the_tables_numbers() -> None:
    scene = to_scene(report_of(global_report()))
    hog, big = scene.snapshot.kernel.tasks
    assert (hog.pid, big.pid) == (201, 202)
    assert big.mm is not None
    assert (big.mm.rss_pages, big.mm.swap_pages, big.mm.pgtables_pages, big.oom_score_adj) == (1500, 7, 12, 100)
    assert scene.oom_control().trigger is hog


def test_a_memcg_oom_has_its_limit_and_the_swap_it_may_use() -> None:
    scene = to_scene(report_of(memcg_report()))
    # The machine's swap is not printed: from none to as much as memory.swap.max lets it use.
    assert totalpages(scene) == (OomConstraint.CONSTRAINT_MEMCG, 25600)
    assert scene.most is not None
    oc = scene.oom_control(scene.most)
    constrained_alloc(oc)
    assert oc.totalpages == 25600 + 12800


def test_a_memcg_that_used_no_swap_had_none_to_use() -> None:
    rows = (
        "[    301]     0   301     2000     1000      900      100         0    40960        0           -10 a",
        "[    302]  1000   302     2000     1500     1400       99         1    49152        0           100 two words",
    )
    scene = to_scene(report_of(memcg_report(*rows, swap="swap: usage 0kB, limit 9007199254740988kB, failcnt 0")))
    assert scene.most is None
    assert "no swap" in scene.guesses[0]


def test_all_tasks_of_a_memcg_oom_are_in_that_memcg() -> None:
    scene = to_scene(report_of(memcg_report()))
    memcg = scene.oom_control().memcg
    assert memcg is not None
    assert (memcg.path, memcg.max_pages, memcg.usage_pages) == ("/job", 25600, 25600)
    assert [task.memcg for task in scene.snapshot.kernel.tasks] == [memcg] * 3


def test_of_a_global_oom_only_the_victims_memcg_is_known() -> None:
    summary = (
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
        "task_memcg=/a.slice/b.service,task=big,pid=202,uid=1000"
    )
    kill = [summary, "Out of memory: Killed process 202 (big) total-vm:8000kB"]
    hog, big = to_scene(report_of(global_report(kill=kill))).snapshot.kernel.tasks
    assert hog.memcg is None
    assert big.memcg is not None
    assert big.memcg.path == "/a.slice/b.service"
    assert big.memcg.parent is not None
    assert big.memcg.parent.path == "/a.slice"


def test_a_cpuset_oom_has_the_pages_of_its_nodes() -> None:
    summary = "oom-kill:constraint=CONSTRAINT_CPUSET,nodemask=(null),cpuset=b,mems_allowed=1,global_oom,task_memcg=/,"
    kill = [f"{summary}task=big,pid=202,uid=0", "Out of memory: Killed process 202 (big) total-vm:8000kB"]
    second = "Node 1 Normal free:4kB min:3kB present:800000kB"
    scene = to_scene(report_of(global_report(kill=kill, extra=[second], swap_kb=400)))
    assert totalpages(scene) == (OomConstraint.CONSTRAINT_CPUSET, 200_000 + 100)
    assert scene.most is None
    # Before v5.4 a node counted with its holes, which no report prints.
    old = to_scene(report_of(global_report(kill=kill, extra=[second], release="5.3.0", header=HEADERS["6.12"])))
    assert old.most is not None


def test_a_mempolicy_oom_has_the_pages_of_its_nodes() -> None:
    summary = (
        "oom-kill:constraint=CONSTRAINT_MEMORY_POLICY,nodemask=1,cpuset=/,mems_allowed=0-1,global_oom,task_memcg=/,"
    )
    kill = [f"{summary}task=big,pid=202,uid=0", "Out of memory: Killed process 202 (big) total-vm:8000kB"]
    second = "Node 1 Normal free:4kB min:3kB present:800000kB"
    scene = to_scene(report_of(global_report(kill=kill, extra=[second])))
    assert totalpages(scene) == (OomConstraint.CONSTRAINT_MEMORY_POLICY, 200_000)


def test_where_the_totals_are_lost_the_least_and_the_most_are_tried() -> None:
    lines = [line for line in global_report() if "pages R" not in line and "pages reserved" not in line]
    scene = to_scene(report_of(lines))
    assert scene.most is not None
    least, most = scene.snapshot.kernel.totalram_pages, scene.most.kernel.totalram_pages
    assert least == 2500
    assert most == 1 << 40


@pytest.mark.parametrize(
    ("header", "release"), [("6.12", "6.8"), ("5.15", "5.9"), ("4.4", "4.4"), ("3.10", "3.10"), ("2.6.39", "2.6.39")]
)
def test_without_a_release_the_form_of_the_table_tells_the_rules(header: str, release: str) -> None:
    cells = " ".join("1" for _ in HEADERS[header].split()[4:])
    lines = global_report(f"[    1]     1     1 {cells} a", header=HEADERS[header])
    scene = to_scene(report_of(line for line in lines if not line.startswith("CPU:")))
    assert len(scene.snapshot.kernel.tasks) == 1
    assert scene.snapshot.kernel.rules == rules_for(release)
    assert "form of" in scene.guesses[0]


def test_a_kernel_that_names_the_chosen_sacrifices_children_whatever_its_release() -> None:
    kill = "Out of memory: Kill process 202 (big) score 9 or sacrifice child"
    report = report_of(global_report(kill=kill, release="4.18.0-80.el8.x86_64", header=HEADERS["6.12"]))
    assert to_scene(report).snapshot.kernel.rules.sacrifice_child


def test_the_rules_are_those_of_the_release() -> None:
    assert to_scene(report_of(global_report())).snapshot.kernel.rules == NEWEST
    old = to_scene(report_of(global_report(release="2.6.32-279.19.1", header=HEADERS["2.6.32"])))
    assert old.undecidable is not None
    assert "CPU time" in old.undecidable


def test_rows_of_earlier_victims_are_already_reaped() -> None:
    report = report_of(global_report())
    from dataclasses import replace

    hog, big = to_scene(replace(report, already_killed=frozenset({202}))).snapshot.kernel.tasks
    assert big.mm is not None
    assert hog.mm is not None
    assert (big.is_oom_victim, big.mm.oom_skip) == (True, True)
    assert (hog.is_oom_victim, hog.mm.oom_skip) == (False, False)
