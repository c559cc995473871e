"""For random machines and policies: what a plan claims, the model of the kernel does."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from backends.oom_score_adj.random_worlds import POLICIES, STEADY, adjusted, grown, snapshots, without
from oompolicy import Policy
from oompolicy.backends.oom_score_adj.claims import Claim
from oompolicy.backends.oom_score_adj.plan import Plan, Room, plan
from oompolicy.policy.decision import decide
from oompolicy.snapshot import Snapshot

ROOMS = st.builds(Room, st.booleans(), st.frozensets(st.integers(100, 110), max_size=3))


def values(made: Plan) -> dict[int, int]:
    return {task.process_id: adj for task, adj in zip(made.ranking.tasks, made.values, strict=True)}


def order(snapshot: Snapshot, policy: Policy | None, claim: Claim) -> list[tuple[int, int]]:
    """Points and pids of the candidates, worst first."""
    decision = decide(snapshot.oom_control(claim.scope), policy, snapshot.taken_boottime_ns)
    return [(candidate.points, candidate.task.process_id) for candidate in decision.candidates]


@settings(max_examples=100, deadline=None)
@given(snapshots(), POLICIES, ROOMS)
def test_the_range_is_respected(snapshot: Snapshot, policy: Policy | None, room: Room) -> None:
    made = plan(snapshot, policy, room=room)
    for task, adj in zip(made.ranking.tasks, made.values, strict=True):
        assert adj == task.oom_score_adj or -999 <= adj <= 999
        assert task.oom_score_adj != -1000, "the kernel's unkillable are left alone"
        assert room.may_lower or adj >= task.oom_score_adj
        assert task.process_id not in room.fixed or adj == task.oom_score_adj


@settings(max_examples=100, deadline=None)
@given(snapshots(), POLICIES, ROOMS)
def test_the_order_that_is_claimed_is_the_kernel_s(snapshot: Snapshot, policy: Policy | None, room: Room) -> None:
    made = plan(snapshot, policy, room=room)
    after = adjusted(snapshot, values(made))
    for claim in made.claims:
        wanted = {pid: points for points, pid in order(snapshot, policy, claim)}
        given_order = order(after, None, claim)
        assert len(given_order) == len(wanted) == claim.candidates
        assert [pid for _, pid in given_order][:1] == [] if claim.chosen is None else [claim.chosen.process_id]
        held, rest = given_order[: claim.held], given_order[claim.held :]
        for (points, pid), (next_points, next_pid) in zip(given_order, [*held[1:], *rest[:1]], strict=False):
            if (points, pid) in held:
                assert wanted[pid] == wanted[next_pid] or (wanted[pid] > wanted[next_pid] and points > next_points)
        if held:
            last_points, last = held[-1]
            assert all(wanted[last] > wanted[pid] and last_points > points for points, pid in rest)


@settings(max_examples=60, deadline=None)
@given(snapshots(), POLICIES)
def test_after_the_first_is_killed_the_next_is_the_policy_s(snapshot: Snapshot, policy: Policy | None) -> None:
    made = plan(snapshot, policy)
    after = adjusted(snapshot, values(made))
    for claim in made.claims:
        wanted = {pid: points for points, pid in order(snapshot, policy, claim)}
        killed: set[int] = set()
        for _ in range(claim.held):
            chosen = decide(without(after, killed).oom_control(claim.scope), None).chosen
            assert chosen is not None
            left = {pid: points for pid, points in wanted.items() if pid not in killed}
            assert left[chosen.process_id] == max(left.values())
            killed.add(chosen.process_id)


@settings(max_examples=100, deadline=None)
@given(snapshots(), STEADY, st.data())
def test_the_first_choice_survives_any_growth_below_the_margin(
    snapshot: Snapshot, policy: Policy | None, data: st.DataObject
) -> None:
    made = plan(snapshot, policy)
    for claim in made.claims:
        if not claim.held or claim.candidates < 2:
            continue
        first = max(points for points, _ in order(snapshot, policy, claim))
        lower = [pid for points, pid in order(snapshot, policy, claim) if points < first]
        if not lower:
            continue
        most = (claim.first_margin_pages or 1 << 40) - 1
        bigger = grown(snapshot, data.draw(st.sampled_from(lower)), data.draw(st.integers(0, most) | st.just(most)))
        chosen = decide(adjusted(bigger, values(made)).oom_control(claim.scope), None).chosen
        wanted = order(bigger, policy, claim)
        assert chosen is not None
        assert chosen.process_id in {pid for points, pid in wanted if points == wanted[0][0]}


@settings(max_examples=60, deadline=None)
@given(snapshots(), POLICIES, ROOMS)
def test_what_is_not_held_is_said(snapshot: Snapshot, policy: Policy | None, room: Room) -> None:
    made = plan(snapshot, policy, room=room)
    for claim in made.claims:
        missed = [item for item in made.unmet if item.scope.path == claim.scope]
        assert bool(missed) == (claim.held < claim.candidates)
        assert not missed or missed[0].rank == claim.held + 1


@settings(max_examples=60, deadline=None)
@given(snapshots())
def test_without_an_opinion_nothing_is_touched(snapshot: Snapshot) -> None:
    assert plan(snapshot, None).adjustments == ()
