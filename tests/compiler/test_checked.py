"""checked(): a policy in Python faults where the kernel's would, and is otherwise the same."""

from __future__ import annotations

import importlib
import traceback
import types

import pytest

from oompolicy.compiler.checked import checked
from oompolicy.compiler.examples import HEAD, module_of, policy_of
from oompolicy.compiler.frontend import compile_to_ir
from oompolicy.mm.limits import LONG_MAX, LONG_MIN
from oompolicy.policies import BUILT_IN
from oompolicy.policy import DEFER, Policy, Verdict

# What is asked for one task whose rss is x, and swap y.
FAULTS = [
    ("task.rss + task.swap", LONG_MAX, 1),
    ("task.rss - task.swap", LONG_MIN, 1),
    ("task.rss * task.swap", 1 << 62, 2),
    ("task.rss // task.swap", LONG_MIN, -1),
    ("task.rss << task.swap", 1, 63),
    ("task.rss << task.swap", 1, 1 << 62),
    ("-task.rss", LONG_MIN, 0),
    ("abs(task.rss)", LONG_MIN, 0),
    ("(task.rss + task.swap) - task.swap", LONG_MAX, 1),
    ("min(task.rss * 4, 7)", 1 << 61, 0),
]
SOUND = [
    ("task.rss + task.swap", LONG_MAX, 0, LONG_MAX),
    ("task.rss << task.swap", 0, LONG_MAX, 0),
    ("task.rss << task.swap", -1, 63, LONG_MIN),
    ("task.rss * task.swap", LONG_MIN, 1, LONG_MIN),
    ("~task.rss", LONG_MIN, 0, LONG_MAX),
    ("task.rss + ((1 << 70) >> 60)", 1, 0, 1025),
    ("-9223372036854775808 + task.swap", 0, 1, LONG_MIN + 1),
]


def says(policy: Policy, rss: int, swap: int) -> int | Verdict:
    return policy(types.SimpleNamespace(rss=rss, swap=swap, uid=1), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("expression", "rss", "swap"), FAULTS)
def test_a_result_beyond_64_bits_is_a_fault(expression: str, rss: int, swap: int) -> None:
    policy = checked(policy_of(module_of(f"return {expression}")))
    with pytest.raises(OverflowError, match="does not fit into 64 bits"):
        says(policy, rss, swap)


@pytest.mark.parametrize(("expression", "rss", "swap", "answer"), SOUND)
def test_a_result_that_fits_is_pythons(expression: str, rss: int, swap: int, answer: int) -> None:
    assert says(checked(policy_of(module_of(f"return {expression}"))), rss, swap) == answer


@pytest.mark.parametrize("operator", ["+", "-", "*", "<<"])
def test_augmented_assignments_are_checked(operator: str) -> None:
    policy = checked(policy_of(module_of(f"x = task.rss\nx {operator}= task.swap\nreturn x")))
    assert says(policy, 2, 1) == eval(f"2 {operator} 1")
    with pytest.raises(OverflowError):
        says(policy, LONG_MAX if operator == "+" else LONG_MIN, 62)


def test_what_a_policy_calls_is_checked_too() -> None:
    text = HEAD + (
        "@policy_function\ndef doubled(number: int) -> int:\n    return number * 2\n\n"
        "@policy\ndef inner(task, oc):\n    return doubled(task.rss)\n\n"
        "@policy\ndef outer(task, oc):\n    return inner(task, oc) if task.swap else doubled(task.rss)\n"
    )
    policy = checked(policy_of(text))
    for swap in (0, 1):
        assert says(policy, 3, swap) == 6
        with pytest.raises(OverflowError):
            says(policy, 1 << 62, swap)


def test_the_original_stays_as_it_was() -> None:
    policy = policy_of(module_of("return task.rss * task.rss"))
    checked(policy)
    assert says(policy, 1 << 62, 0) == 1 << 124


def test_a_fault_is_at_its_line() -> None:
    policy = checked(policy_of(module_of('"""Two lines\nof text."""\n\nreturn (\n    task.swap +\n    task.rss * 2)')))
    with pytest.raises(OverflowError) as caught:
        says(policy, LONG_MAX, 0)
    places = [frame.lineno for frame in traceback.extract_tb(caught.tb) if frame.filename == policy.source_path]
    plain = len(module_of("").splitlines())
    assert places == [plain + 6 - 1]


def test_parameters_are_those_of_the_checked_policy() -> None:
    text = HEAD + (
        "@policy_function\ndef limited(number: int) -> int:\n    return number + LIMIT\n\n"
        "@policy\ndef outer(task, oc):\n    return limited(task.rss)\n"
    )
    policy = policy_of(text)
    assert says(checked(policy.with_parameters({"LIMIT": 5})), 1, 0) == 6
    assert says(checked(policy).with_parameters({"LIMIT": 7}), 1, 0) == 8
    assert says(checked(policy), 1, 0) == 101
    assert checked(policy).parameters == policy.parameters


def test_a_policy_in_a_function_keeps_what_it_closes_over() -> None:
    factor = 1 << 40

    def scaled(task: types.SimpleNamespace, oc: None) -> int:
        return task.rss * factor  # type: ignore[no-any-return]

    policy = checked(Policy(scaled))  # type: ignore[arg-type]
    assert says(policy, 2, 0) == 1 << 41
    with pytest.raises(OverflowError):
        says(policy, 1 << 40, 0)


def test_what_a_preselection_leaves_in_the_module_is_seen() -> None:
    text = HEAD + (
        "seen = 0\n\n@policy\ndef outer(task, oc):\n    return seen + task.rss\n\n"
        "@outer.preselects\ndef look(tasks, oc):\n    global seen\n    seen = len(tasks)\n    return ()\n"
    )
    policy = checked(policy_of(text))
    assert policy.preselection is not None
    policy.preselection([1, 2, 3], None)  # type: ignore[list-item, arg-type]
    assert says(policy, 4, 0) == 7


def test_a_policy_without_source_is_returned_as_it_is() -> None:
    policy = Policy(eval("lambda task, oc: task.rss"))
    assert checked(policy) is policy


def test_a_preselection_is_kept() -> None:
    policy = policy_of(module_of("return DEFER"))
    policy.preselects(lambda tasks, oc: [])
    assert checked(policy).preselection is policy.preselection
    assert says(checked(policy), 0, 0) is DEFER


@pytest.mark.parametrize("name", BUILT_IN)
def test_it_compiles_to_the_same_program(name: str) -> None:
    policy: Policy = getattr(importlib.import_module(f"oompolicy.policies.{name}"), name)
    assert str(compile_to_ir(checked(policy))) == str(compile_to_ir(policy))
