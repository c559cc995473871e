"""The model's selection, rule by rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oompolicy.mm.limits import LONG_MAX
from oompolicy.mm.memcontrol import PAGE_COUNTER_MAX, MemCgroup, mem_cgroup_get_max, mem_cgroup_get_oom_group
from oompolicy.mm.oom import Exclusion, OomConstraint, OomControl
from oompolicy.mm.oom_kill import OomEnd, constrained_alloc, oom_badness, out_of_memory, select_bad_process
from oompolicy.mm.rules import NEWEST, RootBonus, Rules, Ties
from oompolicy.mm.sched import Mm, Task
from oompolicy.snapshot import Snapshot

from worlds import machine, memcg, task, with_rules


def chosen(snapshot: Snapshot, scope: str | None = None) -> str | None:
    picked = select_bad_process(snapshot.oom_control(scope)).chosen
    return None if picked is None else picked.comm


def excluded(snapshot: Snapshot) -> dict[str, Exclusion]:
    oc = select_bad_process(snapshot.oom_control())
    return {item.task.comm: item.excluded for item in oc.evaluated if item.excluded is not None}


def test_badness_adds_rss_swap_and_page_tables() -> None:
    assert oom_badness(Task(2, "a", Mm(100, 20, 3)), 1_000_000, NEWEST) == 123


def test_oom_score_adj_counts_thousandths_of_totalpages_rounded_down() -> None:
    # totalpages / 1000 is an integer division: 1,000,999 pages weigh like 1,000,000.
    assert oom_badness(Task(2, "a", Mm(100), oom_score_adj=7), 1_000_999, NEWEST) == 100 + 7 * 1000
    assert oom_badness(Task(2, "a", Mm(100), oom_score_adj=-7), 1_000_999, NEWEST) == 100 - 7 * 1000


def test_below_a_thousand_pages_oom_score_adj_weighs_nothing() -> None:
    assert oom_badness(Task(2, "a", Mm(100), oom_score_adj=1000), 999, NEWEST) == 100


def test_points_wrap_as_a_long_does() -> None:
    points = oom_badness(Task(2, "a", Mm(LONG_MAX), oom_score_adj=1), 1000, NEWEST)
    assert points == -(1 << 63)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (task("init", rss="9G", pid=1), Exclusion.INIT),
        (task("kswapd", mm=None, is_kthread=True), Exclusion.KTHREAD),
        (task("sshd", rss="9G", oom_score_adj=-1000), Exclusion.ADJ_MIN),
        (task("zombie", mm=None), Exclusion.NO_MM),
        (task("reaped", mm=Mm(9, oom_skip=True)), Exclusion.ALREADY_REAPED),
        (task("forking", rss="9G", in_vfork=True), Exclusion.VFORK),
        (task("victim", mm=None, is_oom_victim=True), Exclusion.ALREADY_REAPED),
    ],
)
def test_the_unkillable_are_excluded_and_said_why(spec: object, why: Exclusion) -> None:
    world = machine(spec, task("victim_of_choice", rss="1M"))  # type: ignore[arg-type]
    assert chosen(world) == "victim_of_choice"
    assert why in excluded(world).values()


def test_a_thread_of_init_is_init() -> None:
    world = machine(task("init", rss="9G", pid=77, tgid=1), task("small", rss="1M"))
    assert chosen(world) == "small"


def test_an_earlier_victim_on_its_way_out_stops_the_choice() -> None:
    world = machine(task("big", rss="1G"), task("dying", rss="1M", is_oom_victim=True), task("later", rss="2G"))
    outcome = out_of_memory(world.oom_control())
    assert outcome.end is OomEnd.WAITED
    assert outcome.killed == ()
    assert outcome.oc.aborted_by is not None


def test_sysrq_does_not_wait_for_an_earlier_victim() -> None:
    world = machine(task("dying", rss="1M", is_oom_victim=True), task("big", rss="1G"))
    outcome = out_of_memory(OomControl(world.kernel, order=-1))
    assert outcome.victim is not None
    assert outcome.victim.comm == "big"


def test_oom_task_origin_goes_first() -> None:
    assert chosen(machine(task("swapoff", rss="1M", oom_task_origin=True), task("big", rss="1G"))) == "swapoff"


def test_the_last_of_equals_is_chosen_and_the_first_by_old_kernels() -> None:
    world = machine(task("first", rss="1M"), task("second", rss="1M"))
    assert chosen(world) == "second"
    assert chosen(with_rules(world, Rules(ties=Ties.FIRST))) == "first"


def test_points_below_zero_are_compared_too() -> None:
    world = machine(task("a", rss="1M", oom_score_adj=-500), task("b", rss="1M", oom_score_adj=-400))
    assert chosen(world) == "b"


def test_a_clamping_kernel_sees_them_as_one() -> None:
    world = machine(task("a", rss="1M", oom_score_adj=-400), task("b", rss="1M", oom_score_adj=-500))
    assert chosen(with_rules(world, Rules(clamp_to_one=True))) == "b"  # both 1: the last wins


def test_root_bonus() -> None:
    root = Task(2, "a", Mm(1000), uid=0)
    user = Task(2, "a", Mm(1000), uid=1000)
    assert oom_badness(root, 10**6, Rules(root_bonus=RootBonus.PERCENT_3)) == 970
    assert oom_badness(user, 10**6, Rules(root_bonus=RootBonus.PERCENT_3)) == 1000
    capable = replace(user, has_cap_sys_admin=True)
    assert oom_badness(capable, 10**6, Rules(root_bonus=RootBonus.PERCENT_3)) == 970


def test_memcg_oom_looks_below_the_memcg_only() -> None:
    world = machine(
        memcg("a", memcg("sub", tasks=[task("inside", rss="1M")]), limit="64M"),
        memcg("ab", tasks=[task("beside", rss="1G")]),
        task("outside", rss="2G"),
    )
    assert chosen(world, "/a") == "inside"


def test_memcg_totalpages_is_its_own_limit_with_swap() -> None:
    world = machine(memcg("a", limit="64M", swap_max_pages="16M"), swap="1G")
    oc = world.oom_control("/a")
    assert constrained_alloc(oc) is OomConstraint.CONSTRAINT_MEMCG
    assert oc.totalpages == (64 + 16) * 256


def test_mem_cgroup_get_max() -> None:
    assert mem_cgroup_get_max(MemCgroup("/a", max_pages=100, swap_max_pages=None), 7) == 107
    assert mem_cgroup_get_max(MemCgroup("/a", max_pages=100, swap_max_pages=3), 7) == 103
    assert mem_cgroup_get_max(MemCgroup("/a", max_pages=100, swap_max_pages=3, swappiness=0), 7) == 100
    assert mem_cgroup_get_max(MemCgroup("/a", max_pages=100, memsw_max_pages=104, is_v1=True), 7) == 104
    assert mem_cgroup_get_max(MemCgroup("/a", max_pages=100, is_v1=True), 7) == 107
    assert mem_cgroup_get_max(MemCgroup("/a"), 0) == PAGE_COUNTER_MAX


def test_a_limit_of_zero_counts_as_one_page() -> None:
    oc = machine(memcg("a", limit=0)).oom_control("/a")
    constrained_alloc(oc)
    assert oc.totalpages == 1


def test_cpuset_and_mempolicy_count_their_nodes_and_look_at_their_tasks() -> None:
    world = machine(
        task("here", rss="1M", mems_allowed=frozenset({0}), mempolicy_nodes=frozenset({0})),
        task("there", rss="1G", mems_allowed=frozenset({1}), mempolicy_nodes=frozenset({1})),
        node_present_pages={0: 1000, 1: 5000},
        swap=24,
    )
    trigger = world.kernel.tasks[0]
    cpuset = OomControl(world.kernel, trigger=trigger, cpuset_limited=True)
    assert select_bad_process(cpuset).chosen is trigger
    assert (cpuset.constraint, cpuset.totalpages) == (OomConstraint.CONSTRAINT_CPUSET, 1024)
    mempolicy = OomControl(world.kernel, trigger=trigger, nodemask=frozenset({1}))
    picked = select_bad_process(mempolicy).chosen
    assert picked is not None
    assert picked.comm == "there"
    assert (mempolicy.constraint, mempolicy.totalpages) == (OomConstraint.CONSTRAINT_MEMORY_POLICY, 5024)


def test_a_nodemask_of_all_nodes_is_no_constraint() -> None:
    world = machine(task("a", rss="1M"), node_present_pages={0: 1000})
    oc = OomControl(world.kernel, nodemask=frozenset({0}))
    assert constrained_alloc(oc) is OomConstraint.CONSTRAINT_NONE


def test_oom_kill_allocating_task_kills_who_asked_unless_a_memcg_ran_out() -> None:
    world = machine(
        memcg("a", limit="64M", tasks=[task("asks", rss="1M"), task("big", rss="1G")]),
        sysctl_oom_kill_allocating_task=True,
    )
    asks = world.kernel.tasks[0]
    outcome = out_of_memory(OomControl(world.kernel, trigger=asks))
    assert outcome.victim is asks
    in_memcg = out_of_memory(replace(world.oom_control("/a"), trigger=asks))
    assert in_memcg.victim is not None
    assert in_memcg.victim.comm == "big"


def test_panic_on_oom() -> None:
    world = machine(memcg("a", limit="64M", tasks=[task("x", rss="1M")]), sysctl_panic_on_oom=1)
    assert out_of_memory(world.oom_control()).end is OomEnd.PANIC
    assert out_of_memory(world.oom_control("/a")).end is OomEnd.KILLED
    assert out_of_memory(OomControl(world.kernel, order=-1)).end is OomEnd.KILLED
    always = machine(memcg("a", limit="64M", tasks=[task("x", rss="1M")]), sysctl_panic_on_oom=2)
    assert out_of_memory(always.oom_control("/a")).end is OomEnd.PANIC


def test_nobody_to_kill_panics_only_where_the_machine_ran_out() -> None:
    world = machine(memcg("a", limit="64M", tasks=[task("x", rss="1M", oom_score_adj=-1000)]))
    assert out_of_memory(world.oom_control("/a")).end is OomEnd.NO_VICTIM
    assert out_of_memory(world.oom_control()).end is OomEnd.PANIC
    assert out_of_memory(OomControl(world.kernel, order=-1)).end is OomEnd.NO_VICTIM


def test_a_dying_trigger_gets_its_memory_and_nobody_is_chosen() -> None:
    world = machine(task("dying", rss="1M", is_exiting=True), task("big", rss="1G"))
    outcome = out_of_memory(OomControl(world.kernel, trigger=world.kernel.tasks[0]))
    assert outcome.end is OomEnd.CURRENT_EXITS


def oom_group_world() -> Snapshot:
    return machine(
        memcg(
            "job",
            memcg("web", tasks=[task("big", rss="40M"), task("helper", rss="1M")], oom_group=True),
            memcg("log", tasks=[task("logger", rss="1M"), task("kept", rss="1M", oom_score_adj=-1000)]),
            limit="64M",
        )
    )


def test_oom_group_takes_the_whole_memcg_of_the_victim() -> None:
    outcome = out_of_memory(oom_group_world().oom_control("/job"))
    assert [dead.comm for dead in outcome.killed] == ["big", "helper"]
    assert outcome.oom_group is not None
    assert outcome.oom_group.path == "/job/web"


def test_the_highest_oom_group_within_the_scope_counts_and_spares_minus_1000() -> None:
    world = machine(
        memcg(
            "job",
            memcg("web", tasks=[task("big", rss="40M")]),
            memcg("log", tasks=[task("logger", rss="1M"), task("kept", rss="1M", oom_score_adj=-1000)]),
            oom_group=True,
            limit="64M",
        )
    )
    assert [dead.comm for dead in out_of_memory(world.oom_control()).killed] == ["big", "logger"]
    web = world.kernel.memcg("/job/web")
    assert mem_cgroup_get_oom_group(world.kernel.tasks[0], web) is None


def test_old_kernels_sacrifice_the_worst_child() -> None:
    world = machine(
        task("parent", rss="1G"),
        task("child", rss="1M", ppid=100),
        task("bigger_child", rss="2M", ppid=100),
        task("kept_child", rss="3M", ppid=100, oom_score_adj=-1000),
        rules=Rules(sacrifice_child=True),
    )
    victim = out_of_memory(world.oom_control()).victim
    assert victim is not None
    assert victim.comm == "bigger_child"


def test_per_mille_kernels_count_thousandths() -> None:
    rules = Rules(per_mille=True, ties=Ties.FIRST)
    assert oom_badness(Task(2, "a", Mm(250), uid=33), 1000, rules) == 250
    assert oom_badness(Task(2, "a", Mm(250), uid=0), 1000, rules) == 220
    assert oom_badness(Task(2, "a", Mm(1), uid=33, oom_score_adj=-900), 1000, rules) == 1
    assert oom_badness(Task(2, "a", Mm(900), uid=33, oom_score_adj=900), 1000, rules) == 1000
