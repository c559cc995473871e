"""When the daemon makes its plan anew, and what it says; time is a number."""

from __future__ import annotations

from oompolicy.engine import (
    TOLD_MAX,
    TRY_FOR_MORE_AFTER_MS,
    Blind,
    Enforce,
    Enforced,
    Event,
    Looked,
    Reconfigured,
    Say,
    Standing,
    State,
    step,
)

TOTAL = 1_000_000


def at(scope: str | None = None, candidates: int = 10, held: int = 10, margin: int | None = 1000) -> Standing:
    return Standing(scope, candidates, held, TOTAL, margin)


def enforced(*standings: Standing, crowd: int = 1) -> State:
    """A state in which the policy is in force and has promised these."""
    state, _ = step(State(5000), Looked(standings, crowd), 0)
    state, _ = step(state, Enforced(standings, 0), 0)
    return state


def whys(state: State, event: Event, now_ms: int = 5000) -> list[str]:
    return [action.why for action in step(state, event, now_ms)[1] if isinstance(action, Enforce)]


def lines(state: State, event: Event, now_ms: int = 5000) -> list[str]:
    return [action.text for action in step(state, event, now_ms)[1] if isinstance(action, Say)]


def test_a_new_policy_is_enforced_at_once() -> None:
    assert whys(State(5000), Looked((at(),), 1), 0) == ["the policy is new"]


def test_it_looks_again_after_the_interval() -> None:
    assert step(State(5000), Looked((at(),), 1), 700)[0].look_at_ms == 5700


def test_what_still_holds_is_left_alone() -> None:
    assert whys(enforced(at()), Looked((at(margin=500),), 2)) == []
    assert whys(enforced(at()), Looked((at(candidates=30, held=30),), 2)) == []
    assert whys(enforced(at()), Looked((), 2)) == []


def test_half_of_the_margin_is_enough_and_less_is_not() -> None:
    assert whys(enforced(at()), Looked((at(margin=499),), 1)) == ["the machine: less than half of the margin is left"]


def test_a_margin_without_bounds_counts_as_the_whole_scope() -> None:
    assert whys(enforced(at(margin=None)), Looked((at(margin=TOTAL // 2),), 1)) == []
    assert whys(enforced(at(margin=None)), Looked((at(margin=TOTAL // 2 - 1),), 1)) != []
    assert whys(enforced(at(margin=None)), Looked((at(margin=TOTAL * 2),), 1)) == []


def test_a_changed_order_is_enforced() -> None:
    assert whys(enforced(at("/a")), Looked((at("/a", held=9),), 1)) == ["/a: the order has changed"]


def test_a_new_task_out_of_order_is_enforced() -> None:
    assert whys(enforced(at()), Looked((at(candidates=11, held=4),), 2)) == ["the machine: the order has changed"]


def test_what_could_not_be_held_before_need_not_be_held_now() -> None:
    state = enforced(at(candidates=100, held=20))
    assert whys(state, Looked((at(candidates=100, held=20),), 1)) == []
    assert whys(state, Looked((at(candidates=15, held=15),), 1)) == []
    assert whys(state, Looked((at(candidates=100, held=19),), 1)) == ["the machine: the order has changed"]


def test_more_is_tried_for_after_a_while_if_the_candidates_are_others() -> None:
    state = enforced(at(candidates=100, held=20), crowd=1)
    other, same = Looked((at(candidates=90, held=20),), 2), Looked((at(candidates=100, held=20),), 1)
    assert whys(state, other, TRY_FOR_MORE_AFTER_MS - 1) == []
    assert whys(state, same, TRY_FOR_MORE_AFTER_MS) == []
    assert whys(state, other, TRY_FOR_MORE_AFTER_MS) == ["more of the order may hold now"]
    state, _ = step(state, other, 5000)
    assert whys(state, other, TRY_FOR_MORE_AFTER_MS) != [], "the change may have been a while ago"


def test_a_new_scope_is_enforced_only_if_its_order_does_not_hold_yet() -> None:
    assert whys(enforced(at()), Looked((at(), at("/new")), 1)) == []
    assert whys(enforced(at()), Looked((at(), at("/new", held=3)), 1)) == ["/new: a new scope"]


def test_drift_is_enforced() -> None:
    assert whys(enforced(at()), Looked((at(),), 1, drifted=2)) == ["2 changed by somebody else"]


def test_what_is_stale_is_enforced_though_every_order_holds() -> None:
    assert whys(enforced(at()), Looked((at(),), 1, stale="other answers")) == ["other answers"]


def test_each_note_is_said_once() -> None:
    looked = Looked((at(),), 1, notes=("line 3: ZeroDivisionError", "line 3: ZeroDivisionError"))
    assert lines(enforced(at()), looked) == ["line 3: ZeroDivisionError"]
    state, _ = step(enforced(at()), looked, 5000)
    assert lines(state, looked, 10_000) == []


def test_what_a_plan_cannot_hold_is_said_once() -> None:
    event = Enforced((at(held=3),), changed=1, notes=("cannot rank a above b",))
    state, actions = step(enforced(at(held=3)), event, 0)
    assert actions == (Say("cannot rank a above b"),)
    assert lines(state, event) == []


def test_what_has_been_said_does_not_pile_up() -> None:
    state = enforced(at())
    for number in range(3 * TOLD_MAX):
        state, _ = step(state, Looked((at(),), 1, notes=(f"pid {number}",)), number)
    assert len(state.told) <= TOLD_MAX


def test_at_first_every_scope_that_is_not_held_is_said_and_later_only_changes() -> None:
    part = at("/b", candidates=40, held=7)
    state = step(State(5000), Looked((at(), part), 1), 0)[0]
    first = Enforced((at(), part), changed=3)
    assert lines(state, first) == [
        "the whole order holds in 1 of 2 scopes",
        "/b: the first 7 of 40 in the order hold",
    ]
    state, _ = step(state, first, 0)
    assert lines(state, Enforced((at(), part), changed=0)) == []
    assert lines(state, Enforced((at(candidates=2, held=0), at("/b")), changed=0)) == [
        "the machine: the order cannot be held, not even its first victim",
        "/b: the whole order holds",
    ]


def test_trouble_is_said_once_and_what_was_promised_is_made_again_afterwards() -> None:
    state, actions = step(enforced(at()), Blind("/proc: cannot be read"), 5000)
    assert actions == (Say("/proc: cannot be read"),)
    assert state.look_at_ms == 10_000
    assert lines(state, Blind("/proc: cannot be read"), 10_000) == []
    assert lines(state, Blind("something else"), 10_000) == ["something else"]
    state, actions = step(state, Looked((at(),), 1), 15_000)
    assert actions == (Enforce("the policy is new"),)
    assert lines(state, Blind("/proc: cannot be read"), 15_000) == [], "it can be seen again, but nothing be done"
    state, _ = step(state, Enforced((at(),), 1), 15_000)
    assert lines(state, Blind("/proc: cannot be read"), 20_000) == ["/proc: cannot be read"]


def test_another_configuration_is_enforced_at_once() -> None:
    state, actions = step(enforced(at()), Reconfigured(100), 7000)
    assert (state.interval_ms, state.look_at_ms, actions) == (100, 7000, ())
    assert whys(state, Looked((at(),), 1), 7000) == ["the policy is new"]
