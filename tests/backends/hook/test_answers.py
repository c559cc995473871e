"""What is published for a policy: entries by task, by scope and by memcg, and whom they cover."""

from __future__ import annotations

from oompolicy.backends.hook.abi import TICK_NS, Entry, EntryFlag, answer_of, memcg_key, points_of_answer, task_key
from oompolicy.backends.hook.answers import Answers, answers
from oompolicy.policies.memcg_priority import PAGES_PER_STEP
from oompolicy.policy import DEFER, KILL, SPARE, OomControl, Policy, Task, Verdict, decide, policy
from oompolicy.policy.verdict import Band
from oompolicy.policy_file import load_policy
from oompolicy.snapshot import Snapshot

from worlds import machine, memcg, task

ADDS, BELOW, NONE = EntryFlag.ADDS_BADNESS, EntryFlag.COVERS_BELOW, EntryFlag.NONE
SHOP = machine(
    task("sshd", rss="5M"),  # the first to start, at 0: it cannot be told from a memcg, and gets no entry
    memcg(
        "shop",
        memcg("db", value=900, tasks=[task("postgres", rss="300M", oom_score_adj=-10)]),
        memcg("batch", memcg("later"), value=10, tasks=[task("sort", rss="20M"), task("uniq", rss="30M")]),
        limit="512M",
    ),
)


def of(snapshot: Snapshot, comm: str, found: Answers, scope: str | None = None) -> Entry | None:
    """The entry of a task under the very key, no other in its stead."""
    (one,) = (each for each in snapshot.kernel.tasks if each.comm == comm)
    scope_id = 0 if scope is None else snapshot.memcg(scope).id or 0
    return found.entries.get(task_key((one.start_time_ns or 0) // TICK_NS, one.process_id, scope_id))


def of_memcg(snapshot: Snapshot, path: str, found: Answers, scope: str | None = None) -> Entry | None:
    scope_id = 0 if scope is None else snapshot.memcg(scope).id or 0
    return found.entries.get(memcg_key(snapshot.memcg(path).id or 0, scope_id))


def test_a_priority_moves_with_badness_and_is_the_same_in_every_scope() -> None:
    found = answers(SHOP, load_policy("memcg_priority", ()))
    assert of(SHOP, "sort", found) == Entry(Band.SCORE, -10 * PAGES_PER_STEP, ADDS)
    # oom_score_adj weighs another number of pages in a memcg: the badness that is added has it.
    assert of(SHOP, "postgres", found) == Entry(Band.SCORE, -900 * PAGES_PER_STEP, ADDS)
    assert of(SHOP, "postgres", found, "/shop") is None
    assert [(scope.path, scope.candidates) for scope in found.scopes] == [(None, 4), ("/shop", 3)]


def test_a_memcg_answers_for_who_is_not_born_yet_and_for_memcgs_not_made_yet() -> None:
    found = answers(SHOP, load_policy("memcg_priority", ()))
    for path in ("/shop/batch", "/shop/batch/later"):
        assert of_memcg(SHOP, path, found) == Entry(Band.SCORE, -10 * PAGES_PER_STEP, ADDS | BELOW)


@policy
def by_comm(task: Task, oc: OomControl) -> int | Verdict:
    return KILL if task.comm == "sort" else SPARE if task.comm == "postgres" else DEFER


def test_a_memcg_says_nothing_where_the_policy_looks_at_the_task() -> None:
    found = answers(SHOP, by_comm)
    assert [of(SHOP, comm, found) for comm in ("sort", "postgres", "uniq")] == [
        Entry(Band.KILL),
        Entry(Band.SPARE),
        Entry(Band.DEFER),
    ]
    assert len(found.entries) == 3


@policy
def by_usage(task: Task, oc: OomControl) -> int | Verdict:
    return DEFER if task.memcg is None else task.memcg.usage


def test_what_memcgs_do_not_share_is_not_handed_down() -> None:
    entry = of_memcg(SHOP, "/shop/batch", answers(SHOP, by_usage))
    assert entry == Entry(Band.SCORE, 0, NONE)


@policy
def under_batch(task: Task, oc: OomControl) -> int | Verdict:
    return KILL if task.memcg is not None and task.memcg.is_under("/shop/batch") else SPARE


def test_being_under_a_memcg_is_handed_down_and_not_being_so_is_not() -> None:
    """A memcg made below /shop may be /shop/batch itself, made anew."""
    found = answers(SHOP, under_batch)
    assert of_memcg(SHOP, "/shop/batch", found) == Entry(Band.KILL, 0, BELOW)
    assert of_memcg(SHOP, "/shop", found) == Entry(Band.SPARE, 0, NONE)


@policy
def half_of_the_scope(task: Task, oc: OomControl) -> int | Verdict:
    return oc.totalpages // 2


def test_a_scope_gets_an_entry_where_its_answer_is_another() -> None:
    found = answers(SHOP, half_of_the_scope)
    assert of(SHOP, "sort", found) == Entry(Band.SCORE, (4 << 30) // 4096 // 2)
    assert of(SHOP, "sort", found, "/shop") == Entry(Band.SCORE, (512 << 20) // 4096 // 2)
    assert of_memcg(SHOP, "/shop/batch/later", found, "/shop") == Entry(Band.SCORE, (512 << 20) // 4096 // 2, BELOW)
    assert of(SHOP, "sshd", found, "/shop") is None


def returning(score: object) -> Policy:
    """A policy that computes its score from badness by a function."""

    @policy
    def computed(task: Task, oc: OomControl) -> int | Verdict:
        assert callable(score)
        result: int = score(task.badness, task.pgtables)
        return result

    return computed


def test_moving_with_badness_is_found_by_trying() -> None:
    """Looking at badness is not enough, and what else is read of the task must not be what was tried with."""
    world = machine(task("first"), task("a", rss=100, pgtables=3))
    for score, expected in (
        (lambda badness, pgtables: badness + 7, Entry(Band.SCORE, 7, ADDS)),
        (lambda badness, pgtables: -badness, Entry(Band.SCORE, -103, NONE)),
        (lambda badness, pgtables: badness - pgtables, Entry(Band.SCORE, -3, ADDS)),
        (lambda badness, pgtables: 5 if badness > 50 else 6, Entry(Band.SCORE, 5, NONE)),
        (lambda badness, pgtables: (1 << 62) + badness, Entry(Band.SCORE, 1 << 62, ADDS)),
    ):
        assert of(world, "a", answers(world, returning(score))) == expected


def test_a_preselected_task_without_a_score_is_ordered_by_its_badness() -> None:
    @policy
    def nothing(task: Task, oc: OomControl) -> int | Verdict:
        return DEFER

    nothing.preselects(lambda tasks, oc: [each for each in tasks if each.comm == "uniq"])
    found = answers(SHOP, nothing)
    assert of(SHOP, "uniq", found) == Entry(Band.PRESELECTED, 0, ADDS)
    assert of(SHOP, "sort", found) == Entry(Band.DEFER)


def test_a_preselected_memcg_covers_who_is_born_in_it() -> None:
    @policy
    def nothing(task: Task, oc: OomControl) -> int | Verdict:
        return DEFER

    nothing.preselects(lambda tasks, oc: [each.memcg for each in tasks if each.comm == "uniq" and each.memcg])
    found = answers(SHOP, nothing)
    assert of_memcg(SHOP, "/shop/batch/later", found) == Entry(Band.PRESELECTED, 0, ADDS | BELOW)
    assert of_memcg(SHOP, "/shop/db", found) == Entry(Band.DEFER, 0, BELOW)


def test_a_fault_is_an_explicit_defer() -> None:
    @policy
    def faulty(task: Task, oc: OomControl) -> int | Verdict:
        return 1 // (task.rss - task.rss)

    found = answers(SHOP, faulty)
    assert of(SHOP, "sort", found) == Entry(Band.DEFER)
    assert len(found.faults) == 7  # four in the machine, three in /shop


def test_within_a_cgroup_nobody_else_is_answered_for() -> None:
    found = answers(SHOP, load_policy("memcg_priority", ()), within="/shop/batch")
    assert of(SHOP, "postgres", found) is None
    assert of_memcg(SHOP, "/shop", found) is None
    assert of(SHOP, "sort", found) is not None


def test_the_published_answers_give_the_points_of_the_decision() -> None:
    for ruling in (load_policy("memcg_hierarchy", ()), by_comm, by_usage, half_of_the_scope):
        found = answers(SHOP, ruling)
        for scope in (None, "/shop"):
            for one in decide(SHOP.oom_control(scope), ruling, SHOP.taken_boottime_ns).candidates:
                if one.task.comm == "sshd":
                    continue
                entry = of(SHOP, one.task.comm, found, scope) or of(SHOP, one.task.comm, found)
                assert points_of_answer(answer_of(entry, one.badness), one.badness) == one.points
