"""What is computed or read twice is computed or read once.

Belongs here: common subexpressions, where the first stands on every way to the second. Must not know: which reads are
dear; all are the same within one run.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from oompolicy.compiler.ir import (
    Binary,
    BinaryOp,
    Block,
    CommTest,
    Compare,
    Guard,
    Program,
    Read,
    Step,
    Unary,
    results_of,
)
from oompolicy.compiler.passes.dominators import Dominators
from oompolicy.compiler.passes.rewrite import Substitution, substituted_end, substituted_step

_COMMUTES = frozenset({BinaryOp.ADD, BinaryOp.MUL, BinaryOp.AND, BinaryOp.OR, BinaryOp.XOR, BinaryOp.MIN, BinaryOp.MAX})


def share_subexpressions(program: Program) -> Program:
    """A step that would compute what a dominating one did gives way to its result; a fault would have come there."""
    sharing = _Sharing(program)
    blocks = tuple(sharing.block(number, block) for number, block in enumerate(program.blocks))
    return replace(program, blocks=blocks) if sharing.known else program


class _Sharing:
    def __init__(self, program: Program) -> None:
        self._tree = Dominators(program.blocks)
        self._found: dict[Hashable, list[tuple[int, Step]]] = {}
        self.known: Substitution = {}

    def block(self, number: int, block: Block) -> Block:
        steps = []
        for original in block.steps:
            step = substituted_step(original, self.known)
            key = _key(step)
            if key is None:
                steps.append(step)
                continue
            earlier = self._earlier(key, number)
            if earlier is None:
                self._found.setdefault(key, []).append((number, step))
                steps.append(step)
            else:
                self.known.update(zip(results_of(step), results_of(earlier), strict=True))
        end = substituted_end(block.end, self.known) if self.known else block.end
        return Block(block.name, block.parameters, tuple(steps), end)

    def _earlier(self, key: Hashable, number: int) -> Step | None:
        for block, step in self._found.get(key, ()):
            if self._tree.dominates(block, number):
                return step
        return None


def _key(step: Step) -> Hashable | None:
    """Equal for steps with equal results."""
    match step:
        case Binary(_, op, left, right):
            return (op, frozenset((left, right))) if op in _COMMUTES else (op, left, right)
        case Unary(_, unary_op, operand):
            return (unary_op, operand)
        case Compare(_, compare_op, left, right):
            return (compare_op, left, right)
        case Read(field=field, base=base, argument=argument):
            return (field, base, argument)
        case CommTest(_, comm_op, base, text):
            return (comm_op, base, text)
        case Guard():
            return None
