"""The built-in policies, each on a world that shows what it is for."""

from __future__ import annotations

import importlib

import pytest

from oompolicy.policies import BUILT_IN
from oompolicy.policy import Policy
from oompolicy.policy.decision import Decision, decide
from oompolicy.snapshot import Snapshot

from worlds import machine, memcg, task


def built_in(name: str) -> Policy:
    found = getattr(importlib.import_module(f"oompolicy.policies.{name}"), name)
    assert isinstance(found, Policy)
    return found


def decision(world: Snapshot, name: str, scope: str | None = None, **parameters: object) -> Decision:
    made = decide(world.oom_control(scope), built_in(name).with_parameters(parameters), world.taken_boottime_ns)
    assert not made.faults
    return made


def order(world: Snapshot, name: str, scope: str | None = None, **parameters: object) -> list[str]:
    return [candidate.task.comm for candidate in decision(world, name, scope, **parameters).candidates]


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_says_what_when_and_how_ready(name: str) -> None:
    doc = built_in(name).doc
    assert doc.splitlines()[0].endswith(".")
    assert "When:" in doc
    assert "Ready:" in doc


@pytest.mark.parametrize("name", BUILT_IN)
def test_none_faults_whatever_the_values(name: str) -> None:
    extreme = [None, 0, -1, (1 << 63) - 1, -(1 << 63)]
    world = machine(
        *(
            memcg(
                f"m{i}",
                memcg("deep", memcg("er", tasks=[task(f"b{i}", rss="1M")])),
                value=value,
                usage_pages=i,
                tasks=[task(f"a{i}", rss="2G", oom_score_adj=999)],
            )
            for i, value in enumerate(extreme)
        ),
        task("in_root", rss="1M"),
    )
    assert len(order(world, name)) == 11


def test_kernel_default_is_the_kernel() -> None:
    world = machine(task("small", rss="1M"), task("big", rss="1G"))
    assert [c.points for c in decision(world, "kernel_default").candidates] == [262144, 256]


def test_memcg_priority_low_priority_dies_though_it_is_smaller() -> None:
    world = machine(
        memcg("db", value=900, tasks=[task("postgres", rss="3G")]),
        memcg("batch", value=10, tasks=[task("sort", rss="200M"), task("sort_big", rss="300M")]),
        memcg("none", tasks=[task("unlabelled", rss="1M")]),
        memcg("worst", value=-5, tasks=[task("scratch", rss="1M")]),
    )
    assert order(world, "memcg_priority") == ["scratch", "unlabelled", "sort_big", "sort", "postgres"]


def test_memcg_priority_is_strict_at_the_ends_of_its_range() -> None:
    top = (1 << 23) - 1
    world = machine(
        memcg("a", value=top, tasks=[task("a", rss="63G", oom_score_adj=1000)]),
        memcg("b", value=top - 1, tasks=[task("b", rss="1M", oom_score_adj=-999)]),
        totalpages="64G",
    )
    assert order(world, "memcg_priority") == ["b", "a"]


def test_memcg_hierarchy_compares_siblings_from_the_root_down() -> None:
    world = machine(
        memcg("prod", memcg("cache", value=1, tasks=[task("cache", rss="1G")]), value=9),
        memcg("batch", memcg("vip", value=15, tasks=[task("vip", rss="1M")]), value=2),
    )
    assert order(world, "memcg_priority") == ["cache", "vip"]  # flat: the lowest number anywhere
    assert order(world, "memcg_hierarchy") == ["vip", "cache"]  # batch loses against prod, whatever is inside


def test_memcg_hierarchy_starts_at_the_scope_that_ran_out() -> None:
    world = machine(
        memcg(
            "pod",
            memcg("main", value=9, tasks=[task("main", rss="30M")]),
            memcg("sidecar", value=3, tasks=[task("sidecar", rss="2M")]),
            memcg("plain", tasks=[task("plain", rss="1M")]),
            value=5,
            limit="64M",
        )
    )
    assert order(world, "memcg_hierarchy", "/pod") == ["sidecar", "plain", "main"]


def test_memcg_hierarchy_falls_back_to_badness_inside_a_memcg() -> None:
    world = machine(memcg("a", value=3, tasks=[task("small", rss="1M"), task("big", rss="1G")]))
    assert order(world, "memcg_hierarchy") == ["big", "small"]


def test_largest_memcg_takes_the_workload_of_many_small_ones() -> None:
    bombs = [task(f"bomb{i}", rss="1M") for i in range(3)]
    world = machine(
        memcg("bombs", usage_pages="900M", tasks=bombs),
        memcg("db", usage_pages="500M", tasks=[task("db", rss="500M")]),
        task("in_root", rss="1G"),
    )
    assert order(world, "largest_memcg")[-2:] == ["db", "in_root"]


def test_over_protection_spares_who_keeps_to_its_promise() -> None:
    world = machine(
        memcg("kept", usage_pages="900M", low_pages="1G", tasks=[task("kept", rss="900M")]),
        memcg("over", usage_pages="300M", min_pages="100M", tasks=[task("over", rss="300M")]),
        memcg("none", usage_pages="250M", tasks=[task("none", rss="250M")]),
    )
    assert order(world, "over_protection") == ["none", "over", "kept"]


def test_newest_first() -> None:
    world = machine(task("old", rss="1G"), task("new", rss="1M"))
    assert order(world, "newest_first") == ["new", "old"]


def test_protect_spares_names_users_and_cgroups() -> None:
    world = machine(
        task("sshd", rss="3G"),
        task("systemd-journal", rss="2G"),
        task("user", rss="1G", uid=33),
        memcg("vip", memcg("x", tasks=[task("vip", rss="900M")])),
        task("plain", rss="1M"),
    )
    assert order(world, "protect")[0] == "user"
    assert order(world, "protect", UIDS=(33,), CGROUPS=("/vip",))[0] == "plain"
    assert order(world, "protect", COMMS=("user", "vip"))[0] == "sshd"


def test_priority_floor_skips_what_frees_too_little() -> None:
    world = machine(
        memcg("low", value=1, tasks=[task("tiny", rss="1M"), task("enough", rss="20M")]),
        memcg("high", value=9, tasks=[task("high", rss="1G")]),
    )
    assert order(world, "priority_floor") == ["enough", "high", "tiny"]
    assert order(world, "priority_floor", FLOOR_PAGES=1)[0] == "enough"
    assert order(world, "priority_floor", FLOOR_PAGES=1000000)[0] == "high"  # everybody spared: badness
