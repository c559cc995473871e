"""Random worlds, and the comparison of what became of them: it can tell the model's word from the kernel's."""

from __future__ import annotations

import msgspec
import pytest

from oompolicy.mm.oom_kill import out_of_memory
from oompolicy.sources.oom_report import read_reports
from seen_rounds import fixture

from lab.known import known_oom
from lab.random_oom import compare
from lab.random_world import GROWER, random_play
from lab.seen import Marked, RoundSeen
from lab.world import SYSRQ, Play, Round, kib

NUMBERS = range(1, 301)


def with_points(this: Play, seen: RoundSeen) -> RoundSeen:
    """As if the kernel had been asked what it compared, and had said what the model says."""
    marked = []
    for report in read_reports([seen.log.encode()]):
        outcome = out_of_memory(known_oom(report, this.world, seen.born, own_adj=True))
        assert outcome.victim is not None
        points = [item.badness for item in outcome.oc.evaluated if item.badness is not None]
        marked.append(Marked(outcome.victim.process_id, 0.1, points))
    return msgspec.structs.replace(seen, marked=marked)


def test_a_seed_and_a_number_are_a_world() -> None:
    assert random_play("s", 7) == random_play("s", 7)
    assert len({msgspec.json.encode(random_play("s", number).world) for number in NUMBERS}) == len(NUMBERS)


def test_a_policy_adds_values_to_the_same_world() -> None:
    plain, ranked = random_play("s", 7), random_play("s", 7, "memcg_priority", "hook")
    assert ranked.world.workload == plain.world.workload
    memories = [{path: cgroup.memory for path, cgroup in this.world.cgroup.items()} for this in (plain, ranked)]
    assert memories[0] == memories[1]
    values = [cgroup.value for n in NUMBERS for cgroup in random_play("s", n, "protect", "hook").world.cgroup.values()]
    assert set(values) == {None, *range(-3, 4)}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_random_world_can_be_made_and_can_run_out(number: int) -> None:
    this = random_play("s", number)
    tree, workloads, row = this.world.cgroup, this.world.workload, this.round
    leaves = {path for path in tree if not any(other.startswith(f"{path}/") for other in tree)}
    assert {workload.cgroup for workload in workloads} <= leaves
    assert workloads[-1].name == GROWER
    assert any(workload.oom_score_adj > -1000 for workload in workloads)
    if row.runs_out == SYSRQ:
        return
    assert row.scope is not None
    limit = tree[row.scope].memory.max
    assert isinstance(limit, str)
    inside = [workload for workload in workloads if f"{workload.cgroup}/".startswith(f"{row.scope}/")]
    assert workloads[-1] in inside
    assert sum(workload.size_kib for workload in inside) < kib(limit) * 9 // 10
    for path, cgroup in tree.items():  # nothing else runs out first
        assert path == row.scope or cgroup.memory.max in (None, "1G")


def test_all_kinds_of_things_are_met() -> None:
    plays = [random_play("s", number) for number in NUMBERS]
    workloads = [workload for this in plays for workload in this.world.workload]
    for name in ("leader_exits", "shmem", "mlock", "uid"):
        assert sum(bool(getattr(workload, name)) for workload in workloads) > 50
    assert sum(workload.oom_score_adj == -1000 for workload in workloads) > 20
    assert sum(this.round.runs_out == SYSRQ for this in plays) > 20
    assert sum(any(cgroup.memory.oom.group for cgroup in this.world.cgroup.values()) for this in plays) > 60


@pytest.mark.parametrize("name", ["6.12-memcg", "6.12-adj", "6.1-nested", "6.12-group", "6.12-global", "6.12-tie"])
def test_what_a_real_kernel_did_agrees(name: str) -> None:
    this, seen = fixture(name)
    compared = compare(this, with_points(this, seen))
    assert compared.differs == []
    assert compared.reports == 1
    assert compared.points > 1


def test_a_point_more_in_the_kernel_is_a_difference_with_both_sides() -> None:
    this, seen = fixture("6.12-memcg")
    seen = with_points(this, seen)
    points = seen.marked[0].points
    assert points is not None
    changed = [Marked(seen.marked[0].pid, 0.1, [points[0] + 1, *points[1:]])]
    (difference,) = compare(this, msgspec.structs.replace(seen, marked=changed)).differs
    sides = [[(point,) for point in each] for each in ([points[0] + 1, *points[1:]], points)]
    assert f"the kernel has {sides[0]}, the model {sides[1]}" in difference
    assert "points of small, large, grower" in difference


def test_another_victim_than_the_models_is_a_difference() -> None:
    """The kernel's word is changed in the log: it says that it killed `small`."""
    this, seen = fixture("6.12-memcg")
    small, large = (next(process for process in seen.born if process.comm == comm) for comm in ("small", "large"))
    log = seen.log.replace(f"Killed process {large.pid} (large)", f"Killed process {small.pid} (small)")
    differs = compare(this, msgspec.structs.replace(seen, log=log)).differs
    assert differs == [f"the kernel killed small ({small.pid}), the model picks large ({large.pid})"]


def test_who_died_without_the_models_word_is_a_difference() -> None:
    this, seen = fixture("6.12-memcg")
    small = next(process for process in seen.born if process.comm == "small")
    more = [*seen.deaths, msgspec.structs.replace(seen.deaths[0], process=small)]
    (difference,) = compare(this, msgspec.structs.replace(seen, deaths=more)).differs
    assert difference.startswith("died: small (")
    assert "; by the model: large (" in difference


def test_under_the_hook_it_is_the_policys_victim_that_is_expected() -> None:
    """`large` died, which is right for the kernel alone, and wrong for a policy in the kernel that spares it."""
    this, seen = fixture("6.12-memcg", backend="hook", policy="protect", params={"COMMS": ["large"]})
    differs = compare(this, seen).differs
    assert "the kernel killed large" in differs[0]
    assert "the model picks grower" in differs[0]
    this, seen = fixture("6.12-memcg", backend="oom_score_adj", policy="protect", params={"COMMS": ["large"]})
    assert compare(this, seen).differs == []


def test_with_a_module_the_policys_points_are_compared_as_well() -> None:
    this, seen = fixture("6.12-memcg", backend="hook", policy="protect", params={"COMMS": ["small"]})
    seen = with_points(this, seen)
    points = seen.marked[0].points
    assert points is not None
    policys = [-(1 << 61) + points[0], *points[1:]]
    both = [point for pair in zip(points, policys, strict=True) for point in pair]
    right = msgspec.structs.replace(seen, marked=[Marked(seen.marked[0].pid, 0.1, both)])
    assert compare(this, right).differs == []
    assert compare(this, right).points == 2 * len(points)
    both[1] += 1
    wrong = msgspec.structs.replace(seen, marked=[Marked(seen.marked[0].pid, 0.1, both)])
    assert len(compare(this, wrong).differs) == 1


def test_a_policy_that_reads_what_no_report_tells_cannot_be_compared() -> None:
    this, seen = fixture("6.12-memcg", backend="hook", policy="newest_first")
    (difference,) = compare(this, seen).differs
    assert difference.startswith("cannot be compared: no report tells what the policy reads: ")


def test_silence_and_trouble_are_differences() -> None:
    this, seen = fixture("6.12-memcg")
    silent = msgspec.structs.replace(seen, log="", deaths=[])
    assert compare(this, silent).differs == ["the kernel printed no report"]
    assert compare(this, msgspec.structs.replace(seen, trouble="no room")).differs == ["not played: no room"]
    assert Round().deaths_awaited == 1
