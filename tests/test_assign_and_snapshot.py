"""Values by pattern, and picking a scope or a task of a snapshot."""

from __future__ import annotations

import pytest

from oompolicy.assign import Assignment, assigned
from oompolicy.errors import GoneError
from oompolicy.snapshot import Snapshot

from worlds import machine, memcg, task

WORLD = machine(
    memcg("batch.slice", memcg("job-1", tasks=[task("sort", rss="1M", uid=33)]), value=7),
    memcg("db", tasks=[task("postgres", rss="1G")]),
)


def values(snapshot: Snapshot) -> dict[str, tuple[int | None, int | None]]:
    """By comm: the task's own value, and its memcg's."""
    found = {}
    for item in snapshot.kernel.tasks:
        assert item.memcg is not None
        found[item.comm] = (item.value, item.memcg.nearest_value)
    return found


def test_an_empty_table_changes_nothing() -> None:
    assert assigned(WORLD, []) is WORLD


def test_a_cgroup_glob_gives_the_memcg_a_value_and_its_children_inherit_it() -> None:
    assert values(assigned(WORLD, [Assignment(3, cgroup="batch.slice")])) == {
        "sort": (None, 3),
        "postgres": (None, None),
    }
    assert values(assigned(WORLD, [Assignment(4, cgroup="/batch.slice/*")]))["sort"] == (None, 4)


def test_the_last_row_that_matches_wins() -> None:
    rows = [Assignment(1, cgroup="/db"), Assignment(2, cgroup="/d*"), Assignment(3, cgroup="/other")]
    assert values(assigned(WORLD, rows))["postgres"] == (None, 2)


def test_a_row_with_a_name_or_user_gives_the_task_a_value() -> None:
    assert values(assigned(WORLD, [Assignment(5, comm="s*")]))["sort"] == (5, 7)
    assert values(assigned(WORLD, [Assignment(5, uid=33)]))["sort"] == (5, 7)
    assert values(assigned(WORLD, [Assignment(5, comm="sort", cgroup="/db")]))["sort"] == (None, 7)


def test_parents_stay_the_parents_of_their_changed_children() -> None:
    changed = assigned(WORLD, [Assignment(5, cgroup="/batch.slice")])
    sort = changed.task(100)
    assert sort.memcg is changed.kernel.memcg("/batch.slice/job-1")
    assert sort.memcg is not None
    assert sort.memcg.parent is changed.kernel.memcg("/batch.slice")


def test_a_scope_is_named_with_or_without_slashes() -> None:
    for spelled in ("/db", "db", "db/"):
        scope = WORLD.oom_control(spelled).memcg
        assert scope is not None
        assert scope.path == "/db"
    for root in (None, "/", ""):
        assert WORLD.oom_control(root).memcg is None


def test_what_is_not_there_says_so() -> None:
    with pytest.raises(GoneError, match="cgroup nope: does not exist here"):
        WORLD.oom_control("nope")
    with pytest.raises(GoneError, match="pid 999: no such process"):
        WORLD.task(999)


UNITS = machine(
    memcg(
        "system.slice",
        memcg("db.service", memcg("db2.service", tasks=[task("worker")]), tasks=[task("main")]),
        memcg("_memory.service", tasks=[task("odd")]),
    ),
    memcg("user.slice", memcg("user@7.service", memcg("app.slice", memcg("db.service", tasks=[task("fake")])))),
)


def by_unit(pattern: str, comm: str | None = None) -> dict[str, tuple[int | None, int | None]]:
    return values(assigned(UNITS, [Assignment(5, unit=pattern, comm=comm)]))


def test_a_row_by_unit_gives_the_unit_s_cgroup_a_value_and_those_inside_inherit_it() -> None:
    found = by_unit("db.service")
    assert found == {"worker": (None, 5), "main": (None, 5), "odd": (None, None), "fake": (None, None)}
    memcgs = assigned(UNITS, [Assignment(5, unit="db.service")]).kernel.memcgs
    assert [memcg.path for memcg in memcgs if memcg.value == 5] == ["/system.slice/db.service"]


def test_a_cgroup_inside_a_unit_cannot_pass_for_another_unit() -> None:
    """It is made by whom the unit was delegated to."""
    assert by_unit("db2.service") == dict.fromkeys(("worker", "main", "odd", "fake"), (None, None))
    assert by_unit("db2.service", comm="worker")["worker"] == (None, None)
    assert by_unit("db.service", comm="*")["fake"] == (None, None)


def test_units_are_named_as_systemd_names_them() -> None:
    assert by_unit("memory.service")["odd"] == (None, 5)
    assert by_unit("system.slice")["worker"] == (None, 5)
    assert by_unit("user@7.service")["fake"] == (None, 5)
    assert by_unit("db.service", comm="worker") == {**by_unit("none"), "worker": (5, None)}
