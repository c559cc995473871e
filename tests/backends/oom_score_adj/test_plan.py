"""Plans for machines written out: who is moved, who is left alone, what cannot be held and how that is said."""

from __future__ import annotations

import random
import time

import pytest

from oompolicy import DEFER, KILL, SPARE, OomControl, Policy, Task, Verdict, policy
from oompolicy.backends.oom_score_adj.plan import Plan, Room, plan
from oompolicy.errors import BackendError, GoneError
from oompolicy.mm.rules import Rules
from oompolicy.policies.memcg_hierarchy import memcg_hierarchy
from oompolicy.policies.memcg_priority import memcg_priority
from oompolicy.policies.newest_first import newest_first
from oompolicy.snapshot import Snapshot

from worlds import machine, memcg, task


@policy
def by_name(task: Task, oc: OomControl) -> int | Verdict:
    """spare*, kill*, scoreN, plusN (N more than its badness): as they say; all others are not of interest."""
    if task.comm.startswith("spare"):
        return SPARE
    if task.comm.startswith("kill"):
        return KILL
    if task.comm.startswith("score"):
        return int(task.comm[5:])
    if task.comm.startswith("plus"):
        return task.badness + int(task.comm[4:])
    return DEFER


@policy
def contrary(task: Task, oc: OomControl) -> int | Verdict:
    """The machine wants the highest pid first, memcgs the lowest."""
    return -task.pid if oc.is_memcg_oom else task.pid


def adjustments(made: Plan) -> dict[str, int]:
    return {item.task.comm: item.adj for item in made.adjustments}


def firsts(made: Plan) -> dict[str | None, str | None]:
    return {claim.scope: claim.chosen.comm if claim.chosen else None for claim in made.claims}


def database_and_batch() -> Snapshot:
    return machine(
        memcg("db", value=900, tasks=[task("postgres", rss="3G"), task("pg_writer", rss="100M")]),
        memcg("batch", value=10, tasks=[task("sort", rss="200M"), task("uniq", rss="100M")]),
        totalpages="4G",
    )


def test_low_priority_dies_first_though_it_is_smaller_and_the_next_too() -> None:
    made = plan(database_and_batch(), memcg_priority)
    assert firsts(made) == {None: "sort"}
    assert made.claims[0].held == made.claims[0].candidates == 4
    assert made.unmet == ()


def test_tasks_that_differ_by_badness_alone_move_together() -> None:
    moved = adjustments(plan(database_and_batch(), memcg_priority))
    assert moved["sort"] == moved["uniq"]
    assert moved["postgres"] == moved["pg_writer"]


def test_they_move_together_even_where_moving_apart_would_give_the_first_a_little_more() -> None:
    """systemd is left alone, so the batch must fit between it and the database."""
    world = machine(
        memcg("db", value=900, tasks=[task("postgres", rss="3G")]),
        memcg("batch", value=10, tasks=[task("sort", rss="200M"), task("uniq", rss="100M")]),
        task("systemd", rss="12M"),
        totalpages="4G",
    )
    made = plan(world, memcg_priority)
    moved = adjustments(made)
    assert moved["sort"] == moved["uniq"] < 0
    assert "systemd" not in moved
    assert made.claims[0].held == 4


def test_a_group_keeps_its_own_distances_even_at_the_end_of_the_range() -> None:
    world = machine(
        task("spare", rss="1G"), task("spare", rss="20M", oom_score_adj=500), task("any", rss="9M"), totalpages="4G"
    )
    assert sorted(item.adj for item in plan(world, by_name).adjustments) == [-999, -499]


def test_a_deeper_rank_is_kept_where_it_costs_the_first_less_than_half_of_its_margin() -> None:
    world = machine(
        memcg("a", value=1, tasks=[task("a1", rss="10M"), task("a2", rss="9M")]),
        memcg("b", value=2, tasks=[task("b", rss="2G")]),
        memcg("c", value=3, tasks=[task("c", rss="3G")]),
        totalpages="4G",
    )
    claim = plan(world, memcg_priority, room=Room(may_lower=False)).claims[0]
    assert (claim.chosen and claim.chosen.comm, claim.held) == ("a1", 4)


def test_sparing_one_writes_one_file_and_never_1000() -> None:
    world = machine(task("spare", rss="2G"), *(task(f"other{n}", rss="10M") for n in range(50)), totalpages="4G")
    assert adjustments(plan(world, by_name)) == {"spare": -999}


def test_killing_one_writes_one_file() -> None:
    world = machine(task("kill", rss="1M"), *(task(f"other{n}", rss="10M") for n in range(50)), totalpages="4G")
    assert adjustments(plan(world, by_name)) == {"kill": 999}


def test_the_deferred_are_moved_where_nothing_else_holds_the_order() -> None:
    world = machine(task("score5", rss="6G"), task("score7", rss="1M"), task("any", rss="2M"), totalpages="4G")
    made = plan(world, by_name)
    assert firsts(made) == {None: "any"}
    assert adjustments(made)["any"] > 0


def test_the_unkillable_are_left_alone_and_are_nobody_s_rival() -> None:
    world = machine(task("kill", rss="1M", oom_score_adj=-1000), task("other", rss="10M"))
    made = plan(world, by_name)
    assert made.adjustments == ()
    assert made.claims[0].candidates == 1


def test_a_score_is_turned_into_just_that_many_points() -> None:
    """Where the range allows it, the kernel's points are the policy's, to one step of oom_score_adj."""
    world = machine(
        task("plus250000", rss=100), task("plus500000", rss=200_000), task("x", rss=300_000), totalpages=10**6
    )
    assert adjustments(plan(world, by_name)) == {"plus250000": 250, "plus500000": 500}


def test_every_limited_memcg_has_its_own_choice() -> None:
    world = machine(
        memcg(
            "app",
            memcg("worker", value=1, limit="300M", tasks=[task("spare_w", rss="200M"), task("w", rss="20M")]),
            memcg("web", value=5, tasks=[task("nginx", rss="400M")]),
            limit="1G",
        ),
        task("sshd", rss="5M"),
        totalpages="4G",
    )
    made = plan(world, by_name)
    assert firsts(made) == {None: "nginx", "/app/worker": "w", "/app": "nginx"}
    assert made.unmet == ()


def test_memcgs_that_disagree_with_the_machine_are_told_apart_by_their_limits() -> None:
    """One step weighs 64 times more in the machine: small sizes are ranked there, large ones in the memcg."""
    world = machine(memcg("a", limit="64M", tasks=[task("one", rss="1M"), task("two", rss="40M")]), totalpages="4G")
    made = plan(world, contrary)
    assert firsts(made) == {None: "two", "/a": "two"}
    assert [item.in_words(4096) for item in made.unmet] == [
        "cannot rank one (100) above two (101) in /a: one (100) is 39 MiB smaller, "
        "but other orderings need the range that this one would take"
    ]


def test_the_machine_s_first_victim_comes_before_that_of_memcgs_and_the_smallest_limit_next() -> None:
    pair = [task("one", rss="40M"), task("two", rss="1M")]
    world = machine(
        memcg("wide", memcg("narrow", limit="64M", tasks=pair), limit="128M"),
        totalpages="4G",
    )
    assert [claim.scope for claim in plan(world, by_name).claims] == [None, "/wide/narrow", "/wide"]

    @policy
    def wide_is_contrary(task: Task, oc: OomControl) -> int | Verdict:
        is_wide = oc.memcg is not None and oc.memcg.depth == 1
        return -task.pid if is_wide else task.pid

    assert [claim.holds_first for claim in plan(world, wide_is_contrary).claims] == [True, True, False]


def test_what_is_beyond_the_range_is_said_in_mib() -> None:
    world = machine(task("kill", rss="1M"), task("other", rss="5G"), totalpages="4G")
    made = plan(world, by_name, room=Room(may_lower=False))
    assert [item.in_words(4096) for item in made.unmet] == [
        "cannot rank kill (100) above other (101) in the machine: kill (100) is 5,119 MiB smaller, "
        "the range gives 4,090 MiB"
    ]


def test_in_a_very_small_memcg_no_adjustment_counts() -> None:
    world = machine(memcg("tiny", limit="3M", tasks=[task("kill", rss="1M"), task("other", rss="2M")]))
    assert [item.in_words(4096) for item in plan(world, by_name).unmet] == [
        "cannot rank kill (100) above other (101) in /tiny: kill (100) is 1 MiB smaller, "
        "and in 3 MiB no adjustment counts"
    ]


def test_deep_ranks_do_not_eat_up_the_margin_of_the_first() -> None:
    """A strict order of 2,000 does not fit into 1,999 steps: the first are held, with a margin."""
    world = machine(*(task(f"t{n}", rss="1M") for n in range(2000)), totalpages="16G")
    claim = plan(world, newest_first).claims[0]
    assert 10 < claim.held < 2000
    assert claim.first_margin_pages is not None
    assert claim.first_margin_pages > claim.totalpages // 4


def test_without_the_capability_nothing_is_lowered() -> None:
    world = database_and_batch()
    made = plan(world, memcg_priority, room=Room(may_lower=False))
    assert firsts(made) == {None: "sort"}
    assert min(made.values) == 0


def test_what_is_fixed_is_planned_around() -> None:
    world = machine(task("kill", rss="1M"), task("stubborn", rss="10M", oom_score_adj=900), totalpages="4G")
    made = plan(world, by_name, room=Room(fixed=frozenset({101})))
    assert adjustments(made) == {"kill": 999}
    assert firsts(made) == {None: "kill"}


def test_within_a_cgroup_nobody_else_is_moved_or_weighed() -> None:
    world = machine(
        memcg("mine", memcg("inner", limit="1G", tasks=[task("spare", rss="900M")]), tasks=[task("a", rss="10M")]),
        task("kill", rss="1M"),
    )
    made = plan(world, by_name, within="/mine")
    assert {task.comm for task in made.ranking.tasks} == {"spare", "a"}
    assert firsts(made) == {None: "a", "/mine/inner": "spare"}
    with pytest.raises(GoneError):
        plan(world, by_name, within="/none")


def test_an_earlier_victim_on_its_way_out_does_not_count() -> None:
    world = machine(task("kill", rss="1G", is_oom_victim=True), task("a", rss="10M"), task("b", rss="20M"))
    assert firsts(plan(world, by_name)) == {None: "b"}


def test_a_memcg_that_never_kills_is_left_out_and_said() -> None:
    world = machine(memcg("v1", limit="1G", oom_kill_disable=True, tasks=[task("a", rss="10M")]))
    made = plan(world, by_name)
    assert [claim.scope for claim in made.claims] == [None]
    assert made.ranking.notes == ("/v1: memory.oom_control disables kills there: its tasks wait instead",)


def test_a_sysctl_that_keeps_the_kernel_from_choosing_does_not_stop_the_plan() -> None:
    world = machine(task("kill", rss="1M"), task("b", rss="20M"), sysctl_panic_on_oom=2)
    assert firsts(plan(world, by_name)) == {None: "kill"}


def test_per_mille_kernels_are_refused() -> None:
    with pytest.raises(BackendError, match=r"Linux 3\.6"):
        plan(machine(task("a"), rules=Rules(per_mille=True)), by_name)


def test_an_empty_machine() -> None:
    made = plan(machine(), by_name)
    assert (made.adjustments, made.unmet, made.claims[0].holds_first) == ((), (), True)


def test_2000_tasks_in_220_limited_memcgs_are_planned_in_under_a_second() -> None:
    draw = random.Random(1)
    world = machine(
        *(
            memcg(
                f"a{i}",
                *(
                    memcg(
                        f"m{j}",
                        value=draw.choice([10, 50, 100, 500, 900]),
                        limit="600M",
                        tasks=[task(f"t{k}", rss=draw.randint(300, 40_000)) for k in range(10)],
                    )
                    for j in range(10)
                ),
                limit="3G",
            )
            for i in range(20)
        ),
        totalpages="24G",
    )
    for chosen in (memcg_priority, memcg_hierarchy, newest_first):
        started = time.process_time()
        made = plan(world, chosen)
        assert time.process_time() - started < 1
        assert len(made.claims) == 221
        if chosen is not newest_first:
            assert made.unmet == ()
            assert (made.claims[0].margin_pages or 0) > 100_000, "each value's tasks move together"
        assert all(claim.holds_first for claim in made.claims)


def test_policies_are_policies() -> None:
    assert isinstance(by_name, Policy)
