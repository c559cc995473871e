"""Random programs of the IR, on made-up worlds: the interpreter, the optimized program and the kernel say the same.

OOMPOLICY_DIFFERENTIAL_CASES says how many cases (a program on a world), OOMPOLICY_DIFFERENTIAL_SEED from where.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from compiler.bpf_world import MapReader, Worlds, loaded_somehow
from compiler.made_up_worlds import OC, TASKS, made_up_world
from compiler.random_ir import random_program
from oompolicy.bpf.errors import VerifierError
from oompolicy.compiler.interp import Answer, run
from oompolicy.compiler.ir import Program
from oompolicy.compiler.passes import PASSES, optimized
from oompolicy.compiler.well_formed import MalformedError, check

CASES = int(os.environ.get("OOMPOLICY_DIFFERENTIAL_CASES", "2000"))
SEED = int(os.environ.get("OOMPOLICY_DIFFERENTIAL_SEED", "0")) or random.randrange(1, 1 << 32)
WORLDS = 64
WORLDS_PER_PROGRAM = 16


@pytest.mark.root
@pytest.mark.usefixtures("bpf_here")
def test_the_kernel_says_what_the_interpreter_says() -> None:
    dice = random.Random(SEED)
    ends: Counter[str] = Counter()
    with Worlds([made_up_world(dice) for _ in range(WORLDS)]) as worlds:
        for number in range(-(-CASES // WORLDS_PER_PROGRAM)):
            _one_program(worlds, random.Random(f"{SEED} {number}"), f"seed {SEED}, program {number}", ends)
    assert ends["answer"] > ends.total() // 4, ends


def _one_program(worlds: Worlds, dice: random.Random, what: str, ends: Counter[str]) -> None:
    program = random_program(dice)
    check(program)
    better = program
    for name, step in PASSES.items():
        better = step(better)
        _well_formed(better, f"{what}, after {name}, from\n{program}")
    better = optimized(program)
    _well_formed(better, f"{what}, from\n{program}")
    chosen = program if dice.random() < 0.3 else better
    try:
        emitted, kernel = loaded_somehow(chosen, MapReader(worlds, dice), forgets=dice.random() < 0.2)
    except VerifierError as error:
        pytest.fail(f"{what}: refused\n{chosen}\n{error}")
    with kernel:
        for index in dice.sample(range(WORLDS), WORLDS_PER_PROGRAM):
            world = worlds.worlds[index]
            expected = run(program, world, TASKS[0], OC)
            ends["answer" if isinstance(expected, Answer) else expected.why] += 1
            for who, found in (
                ("the optimized program", run(better, world, TASKS[0], OC)),
                ("the kernel", worlds.run(kernel, emitted, index)),
            ):
                assert found == expected, (
                    f"{what}, world {index}: {who} says {found}, the interpreter {expected}\n{program}\n"
                    f"as {'emitted' if who == 'the kernel' else 'optimized'}:\n"
                    f"{emitted.program if who == 'the kernel' else better}\n{world}"
                )


def _well_formed(program: Program, what: str) -> None:
    try:
        check(program)
    except MalformedError as error:
        pytest.fail(f"{what}\n{error}\n{program}")
