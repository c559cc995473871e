"""Random policies on made-up worlds, from their source into the kernel: Python with checked arithmetic, the IR's
interpreter before and after the passes, and BPF say the same.

OOMPOLICY_DIFFERENTIAL_CASES says how many cases (a policy on a world), OOMPOLICY_DIFFERENTIAL_SEED from where.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from compiler.bpf_world import FRAME_TOP, MapReader, Worlds, loaded
from compiler.made_up_worlds import OC, TASKS, made_up_world
from compiler.random_source import random_policy
from compiler.views import python_says
from oompolicy.bpf.errors import VerifierError
from oompolicy.compiler.checked import checked
from oompolicy.compiler.emit import LimitError, emit
from oompolicy.compiler.examples import policy_of
from oompolicy.compiler.frontend import compile_to_ir
from oompolicy.compiler.interp import Answer, Failure, run
from oompolicy.compiler.passes import optimized

CASES = int(os.environ.get("OOMPOLICY_DIFFERENTIAL_CASES", "2000"))
SEED = int(os.environ.get("OOMPOLICY_DIFFERENTIAL_SEED", "0")) or random.randrange(1, 1 << 32)
WORLDS = 64
WORLDS_PER_POLICY = 32


@pytest.mark.root
@pytest.mark.usefixtures("bpf_here")
def test_the_kernel_says_what_python_says() -> None:
    dice = random.Random(SEED)
    ends: Counter[str] = Counter()
    with Worlds([made_up_world(dice) for _ in range(WORLDS)]) as worlds:
        number = 0
        while ends.total() < CASES:
            _one_policy(worlds, random.Random(f"{SEED} {number}"), f"seed {SEED}, policy {number}", ends)
            number += 1
    assert sum(ends[band] for band in ("SCORE", "DEFER", "KILL", "SPARE")) > ends.total() // 2, ends


def _one_policy(worlds: Worlds, dice: random.Random, what: str, ends: Counter[str]) -> None:
    text = random_policy(dice)
    what = f"{what}:\n{text}"
    policy = policy_of(text)
    program = compile_to_ir(policy)
    better = optimized(program)
    try:
        emitted = emit(better, MapReader(worlds, dice), FRAME_TOP)
    except LimitError as error:
        pytest.fail(f"{what}\n{error}")
    try:
        kernel = loaded(emitted)
    except VerifierError as error:
        pytest.fail(f"{what}: refused\n{better}\n{error}")
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
