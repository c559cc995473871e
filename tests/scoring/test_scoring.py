"""A scorer sees everybody and their growth; its values are what the policy reads; where it fails, the last stay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from oompolicy.compiler.checked import checked
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import Kernel
from oompolicy.mm.sched import Mm
from oompolicy.mm.sched import Task as KernelTask
from oompolicy.policy import DEFER, Memcg, OomControl, Policy, Task, Verdict, decide, policy
from oompolicy.scoring import Scene, Scoring, scorers_of
from oompolicy.snapshot import Snapshot

ROOT = MemCgroup("/", id=1)
BATCH = MemCgroup("/batch", parent=ROOT, id=2, usage_pages=100, value=5)


def at(seconds: int, sizes: dict[str, int], batch_pages: int = 100) -> Snapshot:
    batch = replace(BATCH, usage_pages=batch_pages)
    tasks = tuple(
        KernelTask(pid, name, Mm(pages), pid, ppid=1, memcg=batch, start_time_ns=pid, has_cap_sys_admin=False)
        for pid, (name, pages) in enumerate(sizes.items(), start=100)
    )
    return Snapshot(Kernel(tasks, totalram_pages=1 << 20, memcgs=(ROOT, batch)), taken_boottime_ns=seconds * 10**9)


def growing() -> Policy:
    @policy
    def fastest(task: Task, oc: OomControl) -> int | Verdict:
        return DEFER if task.value is None else task.value

    @fastest.scorer
    def pages_a_second(scene: Scene) -> Iterable[tuple[Task, int]]:
        return [(task, growth) for task in scene.tasks if (growth := scene.growth(task)) is not None]

    return fastest


def victim(snapshot: Snapshot, ruling: Policy) -> str:
    chosen = decide(snapshot.oom_control(), ruling).chosen
    assert chosen is not None
    return chosen.comm


def test_who_grows_fastest_goes_though_it_is_the_smallest() -> None:
    ruling = growing()
    scoring = Scoring(scorers_of(ruling))
    first = scoring.scored(at(10, {"big": 5000, "leaks": 100}))
    assert first.faults == ()
    assert victim(first.snapshot, ruling) == "big"  # nothing is known of growth yet
    second = scoring.scored(at(12, {"big": 5010, "leaks": 300}))
    assert [task.value for task in second.snapshot.kernel.tasks] == [5, 100]
    assert victim(second.snapshot, ruling) == "leaks"


def test_a_pid_that_is_used_again_has_not_grown() -> None:
    scoring = Scoring(scorers_of(growing()))
    scoring.scored(at(10, {"old": 100}))
    again = at(12, {"new": 9000})
    again = replace(again, kernel=replace(again.kernel, tasks=(replace(again.kernel.tasks[0], start_time_ns=11),)))
    assert scoring.scored(again).snapshot.kernel.tasks[0].value is None


def test_a_memcgs_value_is_its_childrens_too_and_goes_before_one_that_was_set() -> None:
    @policy
    def ruling(task: Task, oc: OomControl) -> int | Verdict:
        return DEFER

    @ruling.scorer
    def by_usage(scene: Scene) -> Iterable[tuple[Memcg, int]]:
        return [(memcg, memcg.usage) for memcg in scene.memcgs if memcg.depth]

    snapshot = Scoring(scorers_of(ruling)).scored(at(1, {"a": 1}, batch_pages=77)).snapshot
    memcg = snapshot.kernel.tasks[0].memcg
    assert memcg is not None
    assert memcg.value == 77
    assert snapshot.memcg("/batch") is memcg


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (None, "it returned None; a scorer returns pairs"),
        ([("x", 1)], "it gave a value to 'x'"),
        ([(Task, 1.5)], "a value is a whole number"),
        ([(Task, 1 << 63)], "does not fit in 64 bits"),
    ],
)
def test_where_it_fails_its_last_values_stay(said: object, why: str) -> None:
    @policy
    def ruling(task: Task, oc: OomControl) -> int | Verdict:
        return DEFER

    answers: list[object] = [[(Task, 7)], said]

    @ruling.scorer
    def scorer(scene: Scene) -> Iterable[tuple[Task, int]]:
        answer = answers.pop(0)
        if isinstance(answer, list):
            answer = [(scene.tasks[0] if item is Task else item, value) for item, value in answer]
        return answer  # type: ignore[return-value]

    scoring = Scoring(scorers_of(ruling))
    assert scoring.scored(at(1, {"a": 1})).faults == ()
    failed = scoring.scored(at(2, {"a": 1}))
    assert [fault.why for fault in failed.faults if why in fault.why]
    assert failed.notes == (failed.faults[0].in_words,)
    assert failed.snapshot.kernel.tasks[0].value == 7


def test_with_other_parameters_the_scorer_has_them_too() -> None:
    names: dict[str, object] = {}
    text = """
from oompolicy import *
FACTOR = 2
@policy
def ruling(task, oc):
    return DEFER
@ruling.scorer
def scorer(scene):
    return {task: FACTOR for task in scene.tasks}
"""
    exec(text, names)
    ruling = names["ruling"].with_parameters({"FACTOR": 9})  # type: ignore[attr-defined]
    assert Scoring(scorers_of(ruling)).scored(at(1, {"a": 1})).snapshot.kernel.tasks[0].value == 9


def test_a_policy_with_checked_arithmetic_has_its_scorer_still() -> None:
    ruling = growing()
    assert checked(ruling) is not ruling
    assert checked(ruling).scoring is ruling.scoring
