"""Random policies on made-up worlds: Python with checked arithmetic and the interpreter of the IR say the same.

OOMPOLICY_DIFFERENTIAL_CASES says how many cases (a policy on a world), OOMPOLICY_DIFFERENTIAL_SEED from where.
"""

from __future__ import annotations

import os
import random
from collections import Counter

from compiler.made_up_worlds import OC, TASKS, made_up_world
from compiler.random_source import random_policy
from compiler.views import python_says
from oompolicy.compiler.checked import checked
from oompolicy.compiler.examples import policy_of
from oompolicy.compiler.frontend import compile_to_ir
from oompolicy.compiler.interp import Answer, run
from oompolicy.errors import CompileError

CASES = int(os.environ.get("OOMPOLICY_DIFFERENTIAL_CASES", "2000"))
SEED = int(os.environ.get("OOMPOLICY_DIFFERENTIAL_SEED", "0")) or random.randrange(1, 1 << 32)
WORLDS = 64
WORLDS_PER_POLICY = 16


def test_python_says_what_the_interpreter_says() -> None:
    dice = random.Random(SEED)
    worlds = [made_up_world(dice) for _ in range(WORLDS)]
    ends: Counter[str] = Counter()
    for number in range(-(-CASES // WORLDS_PER_POLICY)):
        dice = random.Random(f"{SEED} {number}")
        text = random_policy(dice)
        what = f"seed {SEED}, policy {number}:\n{text}"
        policy = policy_of(text)
        try:
            program = compile_to_ir(policy)
        except CompileError as error:
            raise AssertionError(f"{what}\n{error}") from None
        in_python = checked(policy)
        for world in dice.sample(worlds, WORLDS_PER_POLICY):
            expected = python_says(in_python, world, TASKS[0], OC)
            found = run(program, world, TASKS[0], OC)
            if isinstance(found, Answer):
                assert expected == (found.band, found.score), f"{what}\n{expected} but {found}\n{world}"
                ends[found.band.name] += 1
            else:
                assert isinstance(expected, Exception), f"{what}\n{expected} but {found}\n{world}"
                ends[f"fault: {type(expected).__name__}"] += 1
    answers = sum(count for end, count in ends.items() if not end.startswith("fault"))
    assert answers > ends.total() // 2, ends
    assert {"SCORE", "DEFER", "KILL", "SPARE"} <= ends.keys(), ends
