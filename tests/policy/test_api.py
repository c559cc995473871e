"""Marked functions, and other constants for a policy and all it calls."""

from __future__ import annotations

from oompolicy.compiler.examples import policy_of
from oompolicy.compiler.frontend import compile_to_ir
from oompolicy.policy import Policy, policy_function
from oompolicy.policy.api import is_policy_function

MODULE = """\
from oompolicy import *

LIMIT = 100


@policy_function
def over(pages: int) -> int:
    return pages - LIMIT


@policy
def inner(task: Task, oc: OomControl) -> int | Verdict:
    return over(oc.order)


@policy
def outer(task: Task, oc: OomControl) -> int | Verdict:
    return inner(task, oc) + over(0)
"""


class Oc:
    order = 7


def says(policy: Policy) -> object:
    return policy(None, Oc())  # type: ignore[arg-type]


def test_a_marked_function_is_itself() -> None:
    def double(number: int) -> int:
        """Twice."""
        return 2 * number

    assert not is_policy_function(double)
    marked = policy_function(double)
    assert marked is double
    assert is_policy_function(marked)
    assert marked(3) == 6


def test_other_constants_reach_marked_functions_and_policies_that_are_called() -> None:
    policy = policy_of(MODULE)
    assert says(policy.with_parameters({"LIMIT": 1})) == 6 - 1
    assert says(policy) == -93 - 100


def test_other_constants_are_compiled() -> None:
    policy = policy_of(MODULE)
    plain, changed = str(compile_to_ir(policy)), str(compile_to_ir(policy.with_parameters({"LIMIT": 1})))
    assert "sub? %2, 100" in plain
    assert "sub? %2, 1\n" in changed
