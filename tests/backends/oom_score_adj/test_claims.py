"""What adjustments hold, measured: prefixes, margins and whose growth counts."""

from __future__ import annotations

from oompolicy import OomControl, Task, Verdict, policy
from oompolicy.backends.oom_score_adj.claims import Claim, measure
from oompolicy.backends.oom_score_adj.ranking import rank
from oompolicy.policy.api import Policy

from worlds import machine, task

UNIT = 1000  # pages that a step of oom_score_adj weighs in these machines


@policy
def by_pid(task: Task, oc: OomControl) -> int | Verdict:
    """Whatever they grow to, the lower pid first."""
    return -task.pid


def claim(sizes: list[int], values: list[int], chosen_by: Policy | None = by_pid) -> Claim:
    """Of tasks with these sizes in pages; sizes and values in the policy's order, worst first."""
    world = machine(*(task(f"t{size}", rss=size) for size in sizes), totalpages=1000 * UNIT)
    return measure(rank(world, chosen_by), values)[0]


def test_the_prefix_that_holds_ends_before_the_first_that_anybody_lower_outranks() -> None:
    assert claim([10, 20, 30], [2, 1, 0]).held == 3
    assert claim([10, 20, 30], [2, 0, 0]).held == 1
    assert claim([10, 20, 5000], [2, 1, 0]).held == 0
    assert claim([10, 10], [0, 0]).held == 0, "on equal points the order of the scan decides"


def test_a_margin_is_the_growth_that_ties() -> None:
    found = claim([10, 20, 30], [2, 1, 0])
    assert found.first_margin_pages == 10 + 2 * UNIT - (20 + UNIT)
    assert found.margin_pages == 20 + UNIT - 30 - 0


def test_the_margin_is_that_of_what_holds() -> None:
    found = claim([10, 20, 30], [2, 0, 0])
    assert found.first_margin_pages == found.margin_pages == 10 + 2 * UNIT - 30


def test_where_policy_and_kernel_move_alike_no_growth_counts() -> None:
    found = claim([300, 200, 100], [5, 5, 5], chosen_by=None)
    assert (found.first_margin_pages, found.margin_pages) == (None, None)


def test_where_the_policy_changes_its_mind_before_the_kernel_does_that_counts() -> None:
    """After 100 pages more the policy, which DEFERs, wants the second first; the kernel does not, for a step of adj."""
    assert claim([300, 200], [1, 0], chosen_by=None).first_margin_pages == 100


def test_where_the_kernel_changes_its_mind_before_the_policy_does_that_counts() -> None:
    assert claim([3000, 200], [0, 1], chosen_by=None).first_margin_pages == 3000 - 200 - UNIT


def test_whom_the_kernel_would_take_is_said_even_if_the_policy_would_not() -> None:
    found = claim([10, 5000], [0, 0])
    assert found.chosen is not None
    assert (found.chosen.comm, found.holds_first, found.margin_pages) == ("t5000", False, None)
