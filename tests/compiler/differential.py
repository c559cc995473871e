"""One random policy on many made-up worlds, through every executor: each says the same, or it is told who differs.

Belongs here: the comparison, for the tests here and for those in a guest. Must not know: how many, who asks.
"""

from __future__ import annotations

import random
from collections import Counter

from compiler.bpf_world import MapReader, Worlds, loaded_somehow
from compiler.made_up_worlds import OC, TASKS, made_up_world
from compiler.random_source import random_policy
from compiler.views import python_says
from oompolicy.bpf.errors import VerifierError
from oompolicy.compiler.checked import checked
from oompolicy.compiler.emit import LimitError
from oompolicy.compiler.examples import policy_of
from oompolicy.compiler.frontend import compile_to_ir
from oompolicy.compiler.interp import Answer, Failure, run
from oompolicy.compiler.passes import optimized

WORLDS = 64
WORLDS_PER_POLICY = 32


def compare(cases: int, seed: int) -> Counter[str]:
    """How the cases (a policy on a world) ended. Raises AssertionError for the first that differs, with its seed."""
    dice = random.Random(seed)
    ends: Counter[str] = Counter()
    with Worlds([made_up_world(dice) for _ in range(WORLDS)]) as worlds:
        number = 0
        while ends.total() < cases:
            _one_policy(worlds, random.Random(f"{seed} {number}"), f"seed {seed}, policy {number}", ends)
            number += 1
    return ends


def _one_policy(worlds: Worlds, dice: random.Random, what: str, ends: Counter[str]) -> None:
    text = random_policy(dice)
    what = f"{what}:\n{text}"
    policy = policy_of(text)
    program = compile_to_ir(policy)
    better = optimized(program)
    try:
        emitted, kernel = loaded_somehow(better, MapReader(worlds, dice))
    except LimitError as error:
        raise AssertionError(f"{what}\n{error}") from None
    except VerifierError as error:
        raise AssertionError(f"{what}: refused\n{better}\n{error}") from None
    in_python = checked(policy)
    with kernel:
        for index in dice.sample(range(WORLDS), WORLDS_PER_POLICY):
            world = worlds.worlds[index]
            expected = run(program, world, TASKS[0], OC)
            ends[expected.band.name if isinstance(expected, Answer) else "a fault"] += 1
            for who, found in (
                ("the optimized program", run(better, world, TASKS[0], OC)),
                ("the kernel", worlds.run(kernel, emitted, index)),
            ):
                assert found == expected, f"{what}, world {index}: {who}: {found} but {expected}\n{better}\n{world}"
            _is_what_python_says(expected, python_says(in_python, world, TASKS[0], OC), f"{what}, world {index}")


def _is_what_python_says(expected: Answer | Failure, found: tuple[object, int] | Exception, what: str) -> None:
    if isinstance(expected, Answer):
        assert found == (expected.band, expected.score), f"{what}: Python: {found} but {expected}"
    else:
        assert isinstance(found, Exception), f"{what}: Python: {found} but {expected}"
