"""From IR to better IR, one pass a file.

Belongs here: passes, each a pure function Program -> Program that keeps every answer and every fault, and their
order. Must not know: instructions, what a field is read from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from oompolicy.compiler.ir import Program
from oompolicy.compiler.passes.blocks import simplify_blocks
from oompolicy.compiler.passes.comm import lower_comm
from oompolicy.compiler.passes.conditions import simplify_conditions
from oompolicy.compiler.passes.constants import fold_constants
from oompolicy.compiler.passes.dead_code import remove_dead_code
from oompolicy.compiler.passes.ranges import use_ranges
from oompolicy.compiler.passes.subexpressions import share_subexpressions

Pass = Callable[[Program], Program]

# By name, in the order they run.
PASSES: Final[dict[str, Pass]] = {
    "comm": lower_comm,
    "constants": fold_constants,
    "subexpressions": share_subexpressions,
    "conditions": simplify_conditions,
    "ranges": use_ranges,
    "blocks": simplify_blocks,
    "dead_code": remove_dead_code,
}
ROUNDS_MAX: Final = 4  # each makes work for the others, but ever less


def optimized(program: Program) -> Program:
    """All passes, until they change nothing any more."""
    for _ in range(ROUNDS_MAX):
        before = program
        for step in PASSES.values():
            program = step(program)
        if program == before:
            break
    return program
