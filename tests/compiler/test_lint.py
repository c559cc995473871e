"""What is suspicious about a program is said, with its line; what is sound is not."""

from __future__ import annotations

import importlib

import pytest

from oompolicy.compiler.examples import policy_of
from oompolicy.compiler.frontend import translate
from oompolicy.compiler.lint import lint
from oompolicy.compiler.passes import optimized
from oompolicy.policies import BUILT_IN
from oompolicy.policy import Policy

HEAD = "from oompolicy import *\n@policy\ndef example(task: Task, oc: OomControl) -> int | Verdict:\n"


def said(body: str) -> list[str]:
    """Of a policy whose body begins in line 4 of policy.py."""
    return of(policy_of(HEAD + "".join(f"    {line}\n" for line in body.splitlines()), "policy.py"))


def of(policy: Policy) -> list[str]:
    translation = translate(policy)
    return list(map(str, lint(translation, optimized(translation.program))))


@pytest.mark.parametrize("name", BUILT_IN)
def test_nothing_is_said_of_the_built_in_policies(name: str) -> None:
    assert of(getattr(importlib.import_module(f"oompolicy.policies.{name}"), name)) == []


def test_who_spares_everyone_does_nothing() -> None:
    assert said("return SPARE if task.pid > 7 else SPARE") == [
        "it spares everyone, so the kernel's badness decides: it does nothing"
    ]
    assert said("return SPARE if task.pid > 7 else task.rss") == []


def test_who_reads_nothing_says_the_same_for_every_task() -> None:
    assert said("return 7") == ["it reads nothing of the task or the OOM, so it says the same for everyone"]
    assert said("return DEFER") == []
    assert said("return 7 if task.uid == 0 else 8") == []


def test_lines_behind_a_return_are_never_reached() -> None:
    assert said("return task.rss\nx = 5\nreturn x") == ["policy.py:5:5: is never reached"]


def test_lines_behind_a_condition_that_no_field_can_meet_are_never_reached() -> None:
    body = "if task.oom_score_adj > 1000:\n    x = task.rss\n    return x\nreturn task.swap"
    assert said(body) == ["policy.py:5: is never reached: a condition before it is the same for every task"]
    assert said(body.replace("1000", "999")) == []


def test_a_line_that_some_round_of_a_loop_reaches_is_reached() -> None:
    body = "found = 0\nfor i in range(4):\n    if (task.pid & 1) + i > {0}:\n        return task.rss\nreturn task.swap"
    assert said(body.format(3)) == []
    assert said(body.format(4)) == ["policy.py:7: is never reached: a condition before it is the same for every task"]


def test_what_always_fails_is_told_though_only_the_fields_bounds_show_it() -> None:
    body = "if task.uid == 0:\n    return 5 // (task.pid & 0)\nreturn task.rss"
    assert said(body) == ["policy.py:5:16: always faults where it is reached: division by zero"]
