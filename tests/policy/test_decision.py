"""The safety contract's lines 1 to 3, and what a decision says."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oompolicy import DEFER, KILL, SPARE, Memcg, OomControl, Policy, Task, Verdict, policy
from oompolicy.mm.oom_kill import OomEnd
from oompolicy.mm.sched import Mm
from oompolicy.policy.decision import decide
from oompolicy.policy_limit import call_limit, look_limit
from oompolicy.snapshot import Snapshot

from worlds import MemcgSpec, TaskSpec, machine, memcg, task


def answering(function: object) -> Policy:
    return policy(function)  # type: ignore[arg-type]


def victim(snapshot: Snapshot, chosen_by: Policy | None, scope: str | None = None) -> str | None:
    chosen = decide(snapshot.oom_control(scope), chosen_by, snapshot.taken_boottime_ns).chosen
    return None if chosen is None else chosen.comm


def two() -> Snapshot:
    return machine(
        memcg("db", value=900, tasks=[task("postgres", rss="3G")]),
        memcg("batch", value=10, tasks=[task("sort", rss="200M")]),
    )


def test_kill_dies_though_it_is_smaller() -> None:
    assert victim(two(), answering(lambda task, oc: KILL if task.comm == "sort" else DEFER)) == "sort"


def test_a_score_of_zero_is_a_score() -> None:
    assert victim(two(), answering(lambda task, oc: 0 if task.comm == "sort" else -1)) == "sort"


def test_sparing_everyone_still_yields_the_kernels_victim() -> None:
    assert victim(two(), answering(lambda task, oc: SPARE)) == victim(two(), None) == "postgres"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (lambda task, oc: "sort", "it returned 'sort', a str"),
        (lambda task, oc: None, "it returned None"),
        (lambda task, oc: task.rss // 0, "ZeroDivisionError"),
        (lambda task, oc: 1 << 63, "does not fit in 64 bits"),
        (lambda task, oc: task.no_such_field, "AttributeError"),
        (lambda task, oc: 1.5, "it returned 1.5, a float"),
    ],
)
def test_a_fault_counts_as_defer_and_is_counted(bad: object, why: str) -> None:
    world = two()
    decision = decide(world.oom_control(), answering(bad))
    assert decision.chosen is not None
    assert decision.chosen.comm == "postgres"
    assert len(decision.faults) == 2
    assert why in decision.faults[0].why
    assert [candidate.points for candidate in decision.candidates] == [c.badness for c in decision.candidates]


def test_a_fault_for_one_task_leaves_the_others_to_the_policy() -> None:
    def only_sort(task: Task, oc: OomControl) -> int | Verdict:
        if task.comm == "postgres":
            raise RuntimeError("no")
        return KILL

    assert victim(two(), policy(only_sort)) == "sort"


def test_an_endless_loop_is_one_fault_and_ends_the_asking() -> None:
    def loops(task: Task, oc: OomControl) -> int | Verdict:
        while True:
            try:
                pass
            except Exception:
                return KILL

    world = two()
    decision = decide(world.oom_control(), policy(loops), limit=call_limit(0.05))
    assert decision.chosen is not None
    assert decision.chosen.comm == "postgres"
    assert ["longer than" in fault.why for fault in decision.faults] == [True, False]


def test_many_slow_calls_end_the_asking_too() -> None:
    """None of them is over its own limit."""
    asked: list[str] = []

    def slow(task: Task, oc: OomControl) -> int | Verdict:
        asked.append(task.comm)
        until_s = time.thread_time() + 0.03
        while time.thread_time() < until_s:
            pass
        return KILL

    world = machine(*(task(f"t{number}", rss=number) for number in range(1, 20)))
    limit = look_limit(0.05)
    decision = decide(world.oom_control(), policy(slow), limit=limit)
    assert len(asked) == 2
    assert decision.chosen is not None
    assert [fault.why for fault in decision.faults][:1] == [
        "all calls of one look took longer than 0.05 s: is it slow?"
    ]
    assert len(decision.faults) == 17
    decide(world.oom_control(), policy(slow), limit=limit)
    assert len(asked) == 2, "another scope of the same look"
    decide(world.oom_control(), policy(slow), limit=look_limit(0.05))
    assert len(asked) == 4


def test_time_that_the_machine_makes_it_wait_does_not_count() -> None:
    def waits(task: Task, oc: OomControl) -> int | Verdict:
        time.sleep(0.03)
        return KILL

    world = machine(*(task(f"t{number}", rss=number) for number in range(1, 5)))
    assert decide(world.oom_control(), policy(waits), limit=look_limit(0.05)).faults == ()


def test_the_nearest_ancestors_value_counts() -> None:
    world = machine(memcg("a", memcg("b", memcg("c", tasks=[task("x", rss=1)]), value=5), value=9))
    seen = []

    def look(task: Task, oc: OomControl) -> int | Verdict:
        assert task.memcg is not None
        seen.append(task.memcg.value)
        parent = task.memcg.parent
        assert parent is not None
        assert parent.parent is not None
        seen.append(parent.parent.value)
        return DEFER

    decide(world.oom_control(), policy(look))
    assert seen == [5, 9]


def test_every_field_a_policy_reads_shows_in_the_reason() -> None:
    world = two()
    decision = decide(world.oom_control(), answering(lambda task, oc: task.memcg.value * 2), world.taken_boottime_ns)
    assert [candidate.reason for candidate in decision.candidates] == [
        "scored on task.memcg.value=900",
        "scored on task.memcg.value=10",
    ]


def test_a_field_the_source_does_not_have_is_a_failed_read() -> None:
    world = machine(task("old", mm=Mm(100), start_time_ns=None))
    decision = decide(world.oom_control(), answering(lambda task, oc: task.rss_anon))
    assert decision.faults[0].why == "task.rss_anon is not known here"
    decision = decide(world.oom_control(), answering(lambda task, oc: task.age_ms))
    assert decision.faults[0].why == "task.age_ms is not known here"


def test_preselected_tasks_and_memcgs_go_first() -> None:
    world = two()
    by_task = answering(lambda task, oc: DEFER)

    @by_task.preselects
    def sorts(tasks: Sequence[Task], oc: OomControl) -> Iterable[Task | Memcg]:
        return [candidate for candidate in tasks if candidate.comm == "sort"]

    assert victim(world, by_task) == "sort"
    by_memcg = answering(lambda task, oc: task.rss)

    @by_memcg.preselects
    def batch(tasks: Sequence[Task], oc: OomControl) -> Iterable[Task | Memcg]:
        return [found for found in (candidate.memcg for candidate in tasks) if found is not None and found.value == 10]

    assert victim(world, by_memcg) == "sort"


def test_when_all_preselected_are_gone_the_rest_follows() -> None:
    world = machine(task("only", rss="1M"))
    nobody = answering(lambda task, oc: DEFER)
    nobody.preselects(lambda tasks, oc: [])
    assert victim(world, nobody) == "only"


def test_a_preselection_that_faults_selects_nobody_and_is_counted() -> None:
    world = two()
    faulty = answering(lambda task, oc: DEFER)
    faulty.preselects(lambda tasks, oc: [1, 2])  # type: ignore[list-item]
    decision = decide(world.oom_control(), faulty)
    assert decision.chosen is not None
    assert decision.chosen.comm == "postgres"
    assert decision.faults[0].task is None


def test_what_the_kernel_excludes_never_reaches_the_policy() -> None:
    asked = []
    world = machine(
        task("init", rss="1G", pid=1),
        task("kthread", mm=None, is_kthread=True),
        task("kept", rss="1G", oom_score_adj=-1000),
        task("gone", mm=None),
        task("plain", rss="1M"),
    )

    def ask(task: Task, oc: OomControl) -> int | Verdict:
        asked.append(task.comm)
        return KILL

    decide(world.oom_control(), policy(ask))
    assert asked == ["plain"]


def test_ties_are_ranked_as_the_kernel_chooses() -> None:
    world = machine(task("first", rss="1M"), task("last", rss="1M"))
    decision = decide(world.oom_control(), None)
    assert decision.is_tie
    assert [candidate.task.comm for candidate in decision.candidates] == ["last", "first"]


def test_is_under_takes_paths_and_memcgs() -> None:
    world = machine(memcg("a", memcg("b", tasks=[task("in_b", rss=1)])), memcg("ab", tasks=[task("in_ab", rss=2)]))
    assert victim(world, answering(lambda task, oc: KILL if task.memcg.is_under("/a") else DEFER)) == "in_b"
    assert victim(world, answering(lambda task, oc: KILL if task.memcg.is_under("a/b/") else DEFER)) == "in_b"
    assert victim(world, answering(lambda task, oc: task.memcg.is_under(task.memcg.parent))) in ("in_b", "in_ab")
    assert victim(world, answering(lambda task, oc: KILL if task.memcg.is_under("/") else DEFER)) == "in_ab"


def test_oc_says_whose_oom_it_is() -> None:
    world = machine(memcg("a", limit="64M", tasks=[task("x", rss="1M")]))
    seen = []

    def look(task: Task, oc: OomControl) -> int | Verdict:
        seen.append((oc.is_memcg_oom, oc.constraint, oc.totalpages, None if oc.memcg is None else oc.memcg.depth))
        return DEFER

    decide(world.oom_control("/a"), policy(look))
    decide(world.oom_control(), policy(look))
    assert seen == [(True, 3, 64 * 256, 1), (False, 0, 4 * 256 * 1024, None)]


# Random machines and policies: the contract holds for all of them.
verdicts = st.one_of(
    st.sampled_from(list(Verdict)), st.integers(-(1 << 64), 1 << 64), st.none(), st.text(max_size=1), st.floats()
)
comms = st.sampled_from(["a", "b", "c", "d"])
tasks = st.builds(
    lambda comm, rss, swap, adj, kthread, gone, victim: task(
        comm,
        **({"mm": None} if gone or kthread else {"rss": rss, "swap": swap}),
        oom_score_adj=adj,
        is_kthread=kthread,
        is_oom_victim=victim,
    ),
    comms,
    st.integers(0, 1 << 20),
    st.integers(0, 1 << 16),
    st.integers(-1000, 1000),
    st.booleans(),
    st.integers(0, 9).map(lambda n: n == 0),
    st.integers(0, 19).map(lambda n: n == 0),
)


@st.composite
def memcgs(draw: st.DrawFn, depth: int = 0) -> MemcgSpec:
    children = draw(st.lists(memcgs(depth + 1), max_size=2)) if depth < 2 else []
    return memcg(
        draw(st.sampled_from(["x", "y", "z"])) + str(draw(st.integers(0, 10**6))),
        *children,
        tasks=draw(st.lists(tasks, max_size=3)),
        limit=draw(st.one_of(st.none(), st.integers(0, 1 << 20))),
        value=draw(st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1))),
        oom_group=draw(st.booleans()),
    )


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    specs: list[MemcgSpec | TaskSpec] = [*draw(st.lists(memcgs(), max_size=3)), *draw(st.lists(tasks, max_size=4))]
    return machine(*specs, totalpages=draw(st.integers(1, 1 << 22)), swap=draw(st.integers(0, 1 << 20)))


@settings(max_examples=150, deadline=None)
@given(worlds(), st.dictionaries(comms, verdicts), st.booleans())
def test_the_contract_holds_for_any_policy_on_any_machine(
    world: Snapshot, said: dict[str, object], preselects: bool
) -> None:
    ranked = answering(lambda task, oc: said[task.comm])  # a KeyError is a fault as well
    if preselects:
        ranked.preselects(lambda tasks, oc: [candidate for candidate in tasks if candidate.comm == "a"])
    for memcg_or_machine in (None, *(found.path for found in world.kernel.memcgs[1:])):
        with_policy = decide(world.oom_control(memcg_or_machine), ranked, world.taken_boottime_ns)
        without = decide(world.oom_control(memcg_or_machine), None)
        # Line 1: the policy sees exactly those whom the kernel itself would rank.
        assert {c.task for c in with_policy.candidates} == {c.task for c in without.candidates}
        # Line 2: somebody dies with a policy exactly where somebody dies without one.
        assert with_policy.outcome.end is without.outcome.end
        assert (with_policy.chosen is None) == (without.chosen is None)
        if with_policy.outcome.end is OomEnd.KILLED:
            assert with_policy.chosen is with_policy.candidates[0].task
            assert with_policy.chosen_points == max(c.points for c in with_policy.candidates)
        # Line 3: a faulting call leaves the kernel's points, at most lifted by a preselection.
        for candidate in with_policy.candidates:
            if candidate.fault is not None and not preselects:
                assert candidate.points == candidate.badness
