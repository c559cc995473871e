"""A program with more ways than the verifier follows goes in all the same, and means the same.

Belongs here: such a program. Must not know: how it is made smaller to the verifier.
"""

from __future__ import annotations

import random

import pytest

from compiler.bpf_world import FRAME_TOP, MapReader, Worlds, loaded, loaded_somehow
from compiler.made_up_worlds import OC, TASKS, made_up_world
from oompolicy.bpf.errors import VerifierError
from oompolicy.compiler.emit import emit
from oompolicy.compiler.examples import policy_of
from oompolicy.compiler.frontend import compile_to_ir
from oompolicy.compiler.interp import run
from oompolicy.compiler.passes import optimized

# Each line leaves another constant behind, by a bit that nobody knows; in the end each of them decides.
COUNT = 22
SETS = "\n".join(f"    a{n} = {n + 1} if task.start_time_ns >> {n} & 1 else {n + 40}" for n in range(COUNT))
ASKS = "\n".join(f"    if a{n} > {n + 20}:\n        points += a{n} * {n + 3}" for n in range(COUNT))
POLICY = f"""from oompolicy import OomControl, Task, policy


@policy
def example(task: Task, oc: OomControl) -> int:
{SETS}
    points = task.rss % 97
{ASKS}
    return points
"""


@pytest.mark.root
@pytest.mark.usefixtures("bpf_here")
def test_what_the_verifier_gives_up_on_is_made_so_that_it_forgets() -> None:
    program = optimized(compile_to_ir(policy_of(POLICY)))
    dice = random.Random(1)
    with Worlds([made_up_world(dice) for _ in range(40)]) as worlds:
        with pytest.raises(VerifierError) as refused:
            loaded(emit(program, MapReader(worlds, dice), FRAME_TOP))
        assert refused.value.has_too_many_ways
        emitted, kernel = loaded_somehow(program, MapReader(worlds, dice))
        answers = set()
        with kernel:
            for number, world in enumerate(worlds.worlds):
                expected = run(program, world, TASKS[0], OC)
                assert worlds.run(kernel, emitted, number) == expected
                answers.add(expected)
        assert len(answers) > 3
