"""Which source of a value goes before which, and what counts of what owners of delegated cgroups ask for."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace

from oompolicy.assign import Assignment
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.policies.kernel_default import kernel_default
from oompolicy.policies.memcg_priority import memcg_priority
from oompolicy.policy_file import load_policy
from oompolicy.scoring import Scene, scorer
from oompolicy.scoring.scorer import Said
from oompolicy.snapshot import Snapshot
from oompolicy.values import OfCgroup, OfProcess, Told, UnitSettings, ValueOrder
from oompolicy.values.given import MOST, GivenValue, GivenValues

from worlds import machine, memcg, task

WORLD = machine(
    memcg("system.slice", memcg("db.service", tasks=[task("postgres", start_time_ns=70_000_000)])),
    memcg("user.slice", memcg("a", memcg("b", tasks=[task("sort", start_time_ns=90_000_000)]))),
)


@scorer
def forties(scene: Scene) -> Said:
    return {memcg: 40 for memcg in scene.memcgs if memcg.depth == 2}


DB = "/system.slice/db.service"
ID = WORLD.memcg(DB).id or 0
UNITS = UnitSettings({"db.service": (10,)})
TABLE = (Assignment(30, cgroup=DB),)


def value(snapshot: Snapshot, path: str = DB) -> int | None:
    return snapshot.memcg(path).nearest_value


def test_each_source_goes_before_those_below_it() -> None:
    """unit file < set < [[assign]] < scorer < told to the daemon."""
    own = WORLD.with_values({WORLD.memcg(DB): 20}, {})
    told = Told(memcg_priority, nullcontext)
    found = []
    for snapshot, order in (
        (WORLD, ValueOrder(told)),
        (WORLD, ValueOrder(replace(told, units=UNITS))),
        (own, ValueOrder(replace(told, units=UNITS))),
        (own, ValueOrder(replace(told, units=UNITS, assign=TABLE))),
        (own, ValueOrder(replace(told, units=UNITS, assign=TABLE, scorers=(forties,)))),
    ):
        found.append(value(order.looked(snapshot, 0).snapshot))
    order.given.give(OfCgroup(DB, ID), GivenValue(50, until_ms=1000))
    found.append(value(order.looked(own, 999).snapshot))
    found.append(value(order.looked(own, 1000).snapshot))
    assert found == [None, 10, 20, 30, 40, 50, 40]


def test_a_scorer_sees_what_the_sources_below_it_say() -> None:
    @scorer
    def one_more(scene: Scene) -> Said:
        return {memcg: memcg.value + 1 for memcg in scene.memcgs if memcg.value is not None}

    order = ValueOrder(Told(memcg_priority, nullcontext, assign=TABLE, scorers=(one_more,)))
    assert value(order.looked(WORLD, 0).snapshot) == 31


def test_between_looks_scorers_are_not_asked_and_their_values_count() -> None:
    asked = []

    @scorer
    def once(scene: Scene) -> Said:
        asked.append(scene)
        return {memcg: 40 for memcg in scene.memcgs if memcg.depth == 2}

    order = ValueOrder(Told(memcg_priority, nullcontext, scorers=(once,)))
    assert value(order.between_looks(WORLD, 0)) is None
    order.looked(WORLD, 0)
    assert value(order.between_looks(WORLD, 0)) == 40
    assert len(asked) == 1


def test_a_value_given_to_a_process_is_that_process_s_alone() -> None:
    order = ValueOrder(Told(memcg_priority, nullcontext))
    order.given.give(OfProcess(WORLD.kernel.tasks[0].pid, 7), GivenValue(5))
    order.given.give(OfProcess(WORLD.kernel.tasks[1].pid, 8), GivenValue(6))  # it started at 9
    assert [each.value for each in order.looked(WORLD, 0).snapshot.kernel.tasks] == [5, None]


def test_what_has_gone_is_forgotten_and_a_cgroup_made_anew_is_another() -> None:
    given = GivenValues()
    given.give(OfCgroup(DB, ID + 1), GivenValue(1))
    given.give(OfCgroup("/gone", 9), GivenValue(2))
    given.give(OfCgroup(DB, ID), GivenValue(3))
    assert value(given.valued(WORLD, 0)) == 3
    assert list(given.all(0)) == [OfCgroup(DB, ID)]


def test_there_are_bounds() -> None:
    given = GivenValues()
    for number in range(MOST):
        assert given.give(OfProcess(1, number), GivenValue(0, until_ms=5))
    assert not given.give(OfProcess(2, 0), GivenValue(0))
    assert given.give(OfProcess(1, 0), GivenValue(1))
    given.all(5)
    assert given.give(OfProcess(2, 0), GivenValue(0))


def test_the_next_end_is_known() -> None:
    assert GivenValues().next_end_ms is None
    given = GivenValues()
    given.give(OfProcess(1, 1), GivenValue(0, until_ms=70))
    given.give(OfProcess(1, 2), GivenValue(0, until_ms=50))
    given.give(OfProcess(1, 3), GivenValue(0))
    ends = [given.next_end_ms]
    given.all(50)
    assert [*ends, given.next_end_ms] == [50, 70]


def delegated(given: dict[str, int], wishes: dict[str, int]) -> dict[str, int | None]:
    """Cgroups /p, /p/q, /p/q/r with values of root's and wishes of their owner; what each has under memcg_priority."""

    def made(path: str, parent: MemCgroup | None) -> MemCgroup:
        return MemCgroup(path, parent, value=given.get(path), wish=wishes.get(path))

    root = made("/", None)
    tree = [root]
    for path in ("/p", "/p/q", "/p/q/r"):
        tree.append(made(path, tree[-1]))
    world = replace(WORLD, kernel=replace(WORLD.kernel, tasks=(), memcgs=tuple(tree)))
    found = ValueOrder(Told(memcg_priority, nullcontext)).looked(world, 0).snapshot
    return {memcg.path: memcg.nearest_value for memcg in found.kernel.memcgs[1:]}


def test_a_delegated_cgroup_cannot_raise_itself_above_what_its_parent_was_given() -> None:
    assert delegated({"/p": 100}, {"/p/q": 900, "/p/q/r": 5000}) == {"/p": 100, "/p/q": 100, "/p/q/r": 100}


def test_it_can_lower_itself_and_order_what_is_below_it() -> None:
    assert delegated({"/p": 100}, {"/p/q": 50, "/p/q/r": -3}) == {"/p": 100, "/p/q": 50, "/p/q/r": -3}


def test_below_one_that_was_lowered_nobody_is_above_it() -> None:
    assert delegated({"/p": 100}, {"/p/q": 50, "/p/q/r": 70}) == {"/p": 100, "/p/q": 50, "/p/q/r": 50}


def test_what_root_gave_the_cgroup_itself_can_be_lowered_too_and_not_raised() -> None:
    assert delegated({"/p": 100, "/p/q": 200}, {"/p/q": 150})["/p/q"] == 150
    assert delegated({"/p": 100, "/p/q": 200}, {"/p/q": 201})["/p/q"] == 200
    assert delegated({"/p": 100, "/p/q/r": 300}, {"/p/q": 10})["/p/q/r"] == 300


def test_where_nothing_was_given_there_is_nothing_to_lower() -> None:
    assert delegated({}, {"/p/q": -900, "/p/q/r": 5}) == {"/p": None, "/p/q": None, "/p/q/r": None}


def test_only_a_policy_that_says_so_counts_wishes() -> None:
    root = MemCgroup("/", value=5)
    job = MemCgroup("/job", root, wish=1)
    world = replace(WORLD, kernel=replace(WORLD.kernel, tasks=(), memcgs=(root, job)))
    for policy, wanted in ((memcg_priority, 1), (kernel_default, 5)):
        assert value(ValueOrder(Told(policy, nullcontext)).looked(world, 0).snapshot, "/job") == wanted


def test_the_built_in_policies_that_read_values_say_so() -> None:
    def lowest_first(names: Iterable[str]) -> list[bool]:
        return [load_policy(name).with_parameters({}).lowest_first for name in names]

    assert lowest_first(("memcg_priority", "memcg_hierarchy", "priority_floor")) == [True] * 3
    assert lowest_first(("kernel_default", "newest_first", "largest_memcg")) == [False] * 3
    assert load_policy("priority_floor", ("FLOOR_PAGES=1",)).lowest_first
