"""What is published for a compiled policy: each memcg's value or that it has none, tasks' own, who is preselected."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oompolicy.backends.hook.abi import TICK_NS, VALUE, Entries, Entry, EntryFlag, memcg_key, task_key
from oompolicy.backends.hook.values import values
from oompolicy.policy import OomControl, Policy, Task, Verdict, policy
from oompolicy.policy.verdict import Band
from oompolicy.snapshot import Snapshot

from worlds import machine, memcg, task

HAS, NONE = EntryFlag.HAS_VALUE, EntryFlag.NONE
SHOP = machine(
    task("init", rss="1M"),
    memcg(
        "shop",
        memcg("db", value=900, tasks=[task("postgres", rss="300M", value=7)]),
        memcg("batch", memcg("inside"), value=10, tasks=[task("sort", rss="20M"), task("uniq", rss="30M")]),
        limit="512M",
    ),
)


def policy_without_preselection() -> Policy:
    @policy
    def by_value(task: Task, oc: OomControl) -> int | Verdict:
        raise AssertionError("a compiled policy is asked in the kernel, not here")

    return by_value


def of_memcg(found: Entries, path: str, scope: str | None = None, snapshot: Snapshot = SHOP) -> Entry | None:
    scope_id = 0 if scope is None else snapshot.memcg(scope).id or 0
    return found.get(memcg_key(snapshot.memcg(path).id or 0, scope_id))


def of_task(found: Entries, comm: str, scope: str | None = None) -> Entry | None:
    (one,) = (each for each in SHOP.kernel.tasks if each.comm == comm)
    scope_id = 0 if scope is None else SHOP.memcg(scope).id or 0
    return found.get(task_key((one.start_time_ns or 0) // TICK_NS, one.process_id, scope_id))


def test_every_memcg_has_its_value_or_the_nearest_above_or_an_entry_that_says_none() -> None:
    found = values(SHOP, policy_without_preselection()).entries
    assert of_memcg(found, "/shop/db") == Entry(Band.DEFER, 900, HAS)
    assert of_memcg(found, "/shop/batch/inside") == Entry(Band.DEFER, 10, HAS)
    assert of_memcg(found, "/shop") == Entry(Band.DEFER, 0, NONE)
    assert len(found) == len([each for each in SHOP.kernel.memcgs if each.id is not None]) + 1


def test_a_task_has_an_entry_where_it_has_a_value_of_its_own() -> None:
    found = values(SHOP, policy_without_preselection()).entries
    assert of_task(found, "postgres") == Entry(Band.DEFER, 7, HAS)
    assert of_task(found, "sort") is None


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_a_value_is_any_number_of_64_bits(value: int) -> None:
    """A score would be clamped on its way into the map."""
    packed, _, flags = VALUE.unpack(Entry(Band.DEFER, value, HAS).pack())
    assert (packed, flags) == (value, HAS)


def test_the_scopes_are_told_though_nobody_is_asked() -> None:
    found = values(SHOP, policy_without_preselection())
    assert {scope.path: scope.candidates for scope in found.scopes} == {None: 4, "/shop": 3}


def preselecting() -> Policy:
    ruling = policy_without_preselection()
    ruling.preselects(lambda tasks, oc: [task for task in tasks if oc.is_memcg_oom and task.comm == "sort"])
    return ruling


def test_a_preselected_task_is_so_in_its_scope_and_keeps_its_memcgs_value() -> None:
    found = values(SHOP, preselecting()).entries
    sort_in_scope, sort = of_task(found, "sort", "/shop"), of_task(found, "sort")
    assert sort_in_scope is not None
    assert sort is not None
    assert (sort_in_scope.band, sort.band) == (Band.PRESELECTED, Band.DEFER)
    batch = of_memcg(found, "/shop/batch")
    assert batch is not None
    assert (batch.score, batch.flags & HAS) == (10, HAS)


def test_a_preselected_memcg_lifts_who_is_born_in_it_and_has_its_value_too() -> None:
    ruling = policy_without_preselection()
    ruling.preselects(lambda tasks, oc: [task.memcg for task in tasks if task.comm == "sort" and task.memcg])
    batch = of_memcg(values(SHOP, ruling).entries, "/shop/batch")
    assert batch is not None
    assert (batch.band, batch.score, batch.flags & HAS) == (Band.PRESELECTED, 10, HAS)
