"""What is read back from the maps: which entry answers for whom, for how long, and what others may see of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from oompolicy.backends.hook.abi import Entry, EntryFlag, Form, memcg_key, task_key
from oompolicy.backends.hook.answers import answers
from oompolicy.backends.hook.in_force import InForce, is_hidden, read_in_force
from oompolicy.backends.hook.values import value_entries
from oompolicy.cli import get
from oompolicy.cli.in_force import state_in_words
from oompolicy.policies.memcg_priority import PAGES_PER_STEP
from oompolicy.policy import DEFER, KILL, OomControl, Policy, Task, Verdict, policy
from oompolicy.policy.verdict import Band
from oompolicy.policy_file import load_policy
from oompolicy.snapshot import Snapshot

from worlds import machine, memcg, task

ADDS, BELOW = EntryFlag.ADDS_BADNESS, EntryFlag.COVERS_BELOW
SHOP = machine(
    task("init", rss="1M"),
    memcg(
        "shop",
        memcg("db", value=900, tasks=[task("postgres", rss="300M")]),
        memcg("batch", memcg("later"), value=10, tasks=[task("sort", rss="20M"), task("uniq", rss="30M")]),
        limit="512M",
    ),
)


def published(ruling: Policy, snapshot: Snapshot = SHOP, age_ms: int | None = 400) -> InForce:
    return InForce(ruling.name, age_ms, 30_000, answers(snapshot, ruling).entries)


PRIORITY = published(load_policy("memcg_priority", ()))


@policy
def by_comm(task: Task, oc: OomControl) -> int | Verdict:
    return KILL if task.comm == "sort" else DEFER


@policy
def by_scope(task: Task, oc: OomControl) -> int | Verdict:
    return task.badness + (7 if oc.is_memcg_oom else 0)


def test_a_memcg_has_its_own_answer_and_its_tasks_have_the_same() -> None:
    batch = SHOP.memcg("/shop/batch")
    answer = PRIORITY.for_memcg(batch)
    assert answer is not None
    assert answer.entry == Entry(Band.SCORE, -10 * PAGES_PER_STEP, ADDS | BELOW)
    assert answer.of is batch
    assert not any(PRIORITY.has_another(each, answer) for each in SHOP.kernel.tasks if each.memcg is batch)


def test_a_memcg_without_an_entry_has_that_of_the_nearest_above_if_it_covers_it() -> None:
    later = SHOP.memcg("/shop/batch/later")
    ids = {path: SHOP.memcg(path).id or 0 for path in ("/shop", "/shop/batch")}
    above = {memcg_key(ids["/shop"]): Entry(Band.KILL, 0, BELOW)}
    answer = InForce("p", 1, 9, above).for_memcg(later)
    assert answer is not None
    assert (answer.entry.band, answer.of.path) == (Band.KILL, "/shop")
    barrier = above | {memcg_key(ids["/shop/batch"]): Entry(Band.SPARE)}
    assert InForce("p", 1, 9, barrier).for_memcg(later) is None
    assert InForce("p", 1, 9, {}).for_memcg(later) is None


def test_a_policy_that_looks_at_the_task_has_another_answer_for_it() -> None:
    found = published(by_comm)
    batch = SHOP.memcg("/shop/batch")
    answer = found.for_memcg(batch)
    another = [each.comm for each in SHOP.kernel.tasks if found.has_another(each, answer)]
    assert another == ["sort"]
    assert "another for 1 of 2 processes" in get._words(found, batch, SHOP)


def test_a_pid_that_is_used_again_has_no_entry_of_its_own() -> None:
    sort = next(each for each in SHOP.kernel.tasks if each.comm == "sort")
    entries = {task_key(1, sort.process_id): Entry(Band.KILL)}
    assert not InForce("p", 1, 9, entries).has_another(sort, None)


def test_other_answers_in_other_scopes_are_counted() -> None:
    shop, batch = SHOP.memcg("/shop"), SHOP.memcg("/shop/batch")
    assert PRIORITY.other_scopes == {}
    assert published(by_scope).other_scopes[batch.id or 0] == {shop.id}
    said = get._in_force_as_json(published(by_scope), batch, SHOP)
    assert said is not None
    assert said["other_in_scopes"] == ["/shop"]


@pytest.mark.parametrize(
    ("age_ms", "is_fresh", "state"),
    [
        (400, True, "policy memcg_priority, last look 0.4 s ago; counts for 30 s without another"),
        (30_000, True, "policy memcg_priority, last look 30.0 s ago; counts for 30 s without another"),
        (30_001, False, "expired: policy memcg_priority, last look 30.0 s ago, which counted for 30 s; the kernel"),
        (None, False, "nothing yet: programs are attached, and nothing was published; the kernel decides alone"),
    ],
)
def test_it_counts_until_its_time_to_live_is_over(age_ms: int | None, is_fresh: bool, state: str) -> None:
    found = published(load_policy("memcg_priority", ()), age_ms=age_ms)
    assert found.is_fresh is is_fresh
    assert state_in_words(found).startswith(state)
    words = get._words(found, SHOP.memcg("/shop/batch"), SHOP)
    assert words.startswith("score -687,194,767,360 + badness" if is_fresh else "the kernel's badness")


def test_the_keys_for_programs() -> None:
    said = get._in_force_as_json(PRIORITY, SHOP.memcg("/shop/batch"), SHOP)
    assert said == {
        "policy": "memcg_priority",
        "form": "published",
        "value": None,
        "fresh": True,
        "age_ms": 400,
        "ttl_ms": 30_000,
        "band": "SCORE",
        "score": -10 * PAGES_PER_STEP,
        "adds_badness": True,
        "of": "/shop/batch",
        "processes": 2,
        "processes_with_another": 0,
        "other_in_scopes": [],
    }
    assert get._in_force_as_json(None, SHOP.memcg("/shop/batch"), SHOP) is None


def test_where_nothing_is_attached_nothing_is_in_force(tmp_path: Path) -> None:
    assert read_in_force(tmp_path) is None
    assert read_in_force(tmp_path / "none") is None


def test_only_who_may_not_look_is_told_that_there_may_be_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert is_hidden(tmp_path)
    assert not is_hidden(tmp_path / "none")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert not is_hidden(tmp_path)


def compiled(form: Form, age_ms: int = 400) -> InForce:
    return InForce("mine", age_ms, 30_000, value_entries(SHOP), form)


def test_of_a_compiled_policy_the_values_are_shown_that_it_reads() -> None:
    with_values = compiled(Form.COMPILED_WITH_VALUES)
    assert [get._words(with_values, SHOP.memcg(f"/shop{path}"), SHOP) for path in ("", "/db", "/batch/later")] == [
        "no value",
        "value 900",
        "value 10",
    ]
    said = get._in_force_as_json(with_values, SHOP.memcg("/shop/db"), SHOP)
    assert said is not None
    assert (said["form"], said["value"], said["band"]) == ("compiled_with_values", 900, None)


def test_values_of_a_compiled_policy_expire_and_itself_does_not() -> None:
    late = compiled(Form.COMPILED_WITH_VALUES, 30_001)
    assert state_in_words(late).endswith("it is compiled; values have expired and are absent")
    assert get._words(late, SHOP.memcg("/shop/db"), SHOP) == "no value: expired"
    assert state_in_words(compiled(Form.COMPILED, 30_001)).endswith("it does not expire")
