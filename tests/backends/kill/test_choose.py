"""Who is chosen, and what goes along, on machines that are literals."""

from __future__ import annotations

import pytest

from oompolicy.backends.kill.choose import Choice, choose
from oompolicy.backends.kill.shield import Shield
from oompolicy.errors import GoneError
from oompolicy.policies.memcg_priority import memcg_priority
from oompolicy.rules.preference import Preference
from oompolicy.rules.protect import Protect
from oompolicy.rules.rule import Kill, Order, Rule
from oompolicy.snapshot import Snapshot

from worlds import machine, memcg, task

WORLD = machine(
    task("init", rss="1G", pid=1),
    task("kswapd0", rss=0, is_kthread=True, mm=None),
    memcg("db", value=900, tasks=[task("postgres", rss="3G"), task("walwriter", rss="10M")]),
    memcg(
        "batch",
        memcg("one", tasks=[task("sort", rss="200M"), task("tee", rss="1M")], oom_group=True),
        memcg("two", tasks=[task("join", rss="100M")]),
        value=10,
        tasks=[task("starter", rss="2M")],
    ),
    memcg("ssh", value=500, tasks=[task("sshd", rss="5M", oom_score_adj=-1000), task("bash", rss="6M", uid=1000)]),
)


def order(scope: str = "/", action: Kill = Kill.PROCESS) -> Order:
    return Order(Rule("r", "always", action=action), scope, "why")


def names(choice: Choice) -> list[str]:
    return [target.victim.comm for target in choice.targets]


def left_out(choice: Choice) -> dict[str, str]:
    return {task.comm: why for task, why in choice.left_out}


def test_worst_first_and_never_whom_the_kernel_would_not_take() -> None:
    choice = choose(order(), WORLD, None, Shield())
    assert names(choice) == ["postgres", "sort", "join", "walwriter", "bash", "starter"]
    assert left_out(choice) == {
        "init": "init is never killed",
        "kswapd0": "a kernel thread is never killed",
        "sshd": "oom_score_adj is -1000",
    }


def test_the_policy_decides_who_is_worst() -> None:
    assert names(choose(order(), WORLD, memcg_priority, Shield()))[:2] == ["sort", "join"]


def test_only_the_scope_s_processes_can_be_chosen() -> None:
    assert names(choose(order("/batch"), WORLD, None, Shield())) == ["sort", "join", "starter"]
    assert names(choose(order("batch/two/"), WORLD, None, Shield())) == ["join"]


def test_a_scope_that_has_gone_says_so() -> None:
    with pytest.raises(GoneError, match="cgroup /nope: has gone since the rule fired"):
        choose(order("/nope"), WORLD, None, Shield())


@pytest.mark.parametrize(
    ("protect", "who", "why"),
    [
        (Protect(comms=("post*",)), "postgres", "comm post* is protected"),
        (Protect(cgroups=("db",)), "postgres", "cgroup db is protected"),
        (Protect(cgroups=("/batch",)), "join", "cgroup /batch is protected"),
        (Protect(uids=(1000,)), "bash", "uid 1000 is protected"),
    ],
)
def test_what_is_protected_is_left_out_with_the_reason(protect: Protect, who: str, why: str) -> None:
    choice = choose(order(), WORLD, None, Shield(protect))
    assert who not in names(choice)
    assert left_out(choice)[who] == why


def test_the_daemon_s_own_processes_are_left_out() -> None:
    postgres = next(one.process_id for one in WORLD.kernel.tasks if one.comm == "postgres")
    choice = choose(order(), WORLD, None, Shield(own=frozenset({postgres})))
    assert left_out(choice)["postgres"].startswith("oompolicy itself")


def test_a_protected_cgroup_is_not_taken_for_one_with_a_longer_name() -> None:
    world = machine(memcg("db", tasks=[task("a", rss="2M")]), memcg("db2", tasks=[task("b", rss="1M")]))
    assert names(choose(order(), world, None, Shield(Protect(cgroups=("/db",))))) == ["b"]


def test_preferences_go_before_points() -> None:
    preferences = {"/batch/two": Preference.PREFER, "/db": Preference.AVOID, "/batch/one": Preference.OMIT}
    choice = choose(order(), WORLD, None, Shield(), preferences)
    assert names(choice) == ["join", "bash", "starter", "postgres", "walwriter"]
    assert left_out(choice)["sort"] == "its cgroup is to be left out (oomd_omit)"


def groups(world: Snapshot, one: Order) -> list[tuple[str, str | None, bool]]:
    return [
        (target.victim.comm, None if target.group is None else target.group.path, target.is_oom_group)
        for target in choose(one, world, None, Shield()).targets
    ]


def test_memory_oom_group_takes_the_whole_cgroup_once() -> None:
    assert groups(WORLD, order("/batch")) == [
        ("sort", "/batch/one", True),
        ("join", None, False),
        ("starter", None, False),
    ]


def test_memory_oom_group_above_the_scope_does_not_count() -> None:
    world = machine(memcg("a", memcg("b", tasks=[task("x", rss="1M")]), oom_group=True))
    assert groups(world, order("/a/b")) == [("x", None, False)]
    assert groups(world, order("/")) == [("x", "/a", True)]


def test_a_cgroup_kill_takes_each_cgroup_once_and_never_the_root() -> None:
    assert groups(WORLD, order("/batch", Kill.CGROUP)) == [
        ("sort", "/batch/one", True),
        ("join", "/batch/two", False),
        ("starter", "/batch", False),
    ]
    world = machine(task("x", rss="1M"))
    assert groups(world, order("/", Kill.CGROUP)) == [("x", None, False)]


def compared(*among: str, recursive: bool = False, **megabytes: float | None) -> Order:
    """An order that compares these cgroups by their numbers; "_" in a name is "/"."""
    rule = Rule("r", "always", action=Kill.CGROUP, among=among, by=("cgroup.swap_mib",), is_recursive=recursive)
    found = tuple((f"/{name.replace('_', '/')}", (number,)) for name, number in megabytes.items())
    return Order(rule, "/", "why", found)


def test_of_cgroups_that_are_compared_the_worst_goes_whole_with_all_below() -> None:
    """Not the cgroup of a process, and by the numbers, not by who would be chosen."""
    assert groups(WORLD, compared("/*", batch=1, db=2, ssh=None, gone=9)) == [
        ("postgres", "/db", False),
        ("sort", "/batch", False),
        ("bash", "/ssh", False),
    ]


def test_who_has_nobody_to_kill_is_passed_over() -> None:
    order = compared("/*", db=2, batch=1)
    assert names(choose(order, WORLD, None, Shield(Protect(cgroups=("/db",))))) == ["sort"]


def test_the_reason_has_the_numbers() -> None:
    targets = choose(compared("/*", db=2048, batch=1.25), WORLD, None, Shield()).targets
    assert [target.reason for target in targets] == [
        "the worst of 2 compared by cgroup.swap_mib: 2048",
        "the worst of 2 compared by cgroup.swap_mib: 1.2",
    ]


def test_wishes_of_the_cgroups_that_are_compared_go_before_their_numbers() -> None:
    wishes = {"/ssh": Preference.PREFER, "/db": Preference.AVOID, "/batch/one": Preference.AVOID}
    choice = choose(compared("/*", db=3, batch=2, ssh=1), WORLD, None, Shield(), wishes)
    assert [target.group.path for target in choice.targets if target.group] == ["/ssh", "/batch", "/db"]


def test_recursive_goes_down_to_a_child_or_to_what_goes_whole() -> None:
    order = compared("/*", recursive=True, db=1, batch=9, batch_one=3, batch_two=4)
    assert groups(WORLD, order) == [
        ("join", "/batch/two", False),
        ("sort", "/batch/one", False),
        ("postgres", "/db", False),
    ]


def test_memory_oom_group_above_what_is_compared_counts() -> None:
    world = machine(memcg("a", memcg("b", tasks=[task("x", rss="1M")]), tasks=[task("y", rss="2M")], oom_group=True))
    assert groups(world, compared("/a/*", a_b=1)) == [("x", "/a", True)]


def test_a_tree_is_a_tree_unless_the_cgroup_goes() -> None:
    targets = choose(order("/batch", Kill.TREE), WORLD, None, Shield()).targets
    assert [(target.victim.comm, target.is_tree) for target in targets] == [
        ("sort", False),
        ("join", True),
        ("starter", True),
    ]


def test_in_a_scope_without_a_limit_oom_score_adj_is_of_the_machine() -> None:
    """With the greatest totalpages there is, adj 1 would outweigh all that the others hold."""
    world = machine(memcg("a", tasks=[task("small", rss="1M", oom_score_adj=1), task("big", rss="1G")]))
    assert names(choose(order("/a"), world, None, Shield())) == ["big", "small"]


def test_a_policy_that_faults_is_told_and_the_kernel_s_order_stands() -> None:
    from oompolicy.policy.api import policy

    faulty = policy(lambda task, oc: 1 // 0)
    choice = choose(order("/db"), WORLD, faulty, Shield())
    assert names(choice) == ["postgres", "walwriter"]
    assert [fault.why for fault in choice.faults] == ["ZeroDivisionError: integer division or modulo by zero"] * 2
