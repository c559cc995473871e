"""Branches and guards ask the comparison itself, and nothing that an earlier one has answered.

Belongs here: comparisons of a comparison's 1 or 0, conditions that hold or fail on every way here. Must not know: how
large numbers are (ranges.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from oompolicy.compiler.ir import (
    MIRRORED,
    NEGATED,
    Block,
    Branch,
    Compare,
    CompareOp,
    Const,
    End,
    Fault,
    Guard,
    Jump,
    Operand,
    Program,
    Step,
    Value,
)
from oompolicy.compiler.passes.dominators import Dominators
from oompolicy.compiler.passes.rewrite import Substitution, reached, substituted_end, substituted_step

Asking = TypeVar("Asking", Compare, Guard, Branch)
Condition = tuple[CompareOp, Operand, Operand]
_ONES = {CompareOp.EQ: {1: True, 0: False}, CompareOp.NE: {1: False, 0: True}}
_EQUALITY = (CompareOp.EQ, CompareOp.NE)


def simplify_conditions(program: Program) -> Program:
    """In one walk over the dominator tree."""
    walk = _Walk(program)
    blocks = [walk.block(number) for number in range(len(program.blocks))]
    return replace(program, blocks=reached(blocks))


class _Walk:
    def __init__(self, program: Program) -> None:
        self._blocks = program.blocks
        self._tree = Dominators(program.blocks)
        self._compares: dict[Value, Condition] = {}
        self._known: Substitution = {}
        self._found: dict[Condition, list[tuple[int, bool]]] = {}  # in which blocks it was found to hold or not

    def block(self, number: int) -> Block:
        block = self._blocks[number]
        self._note_the_way(number)
        steps: list[Step] = []
        for step in block.steps:
            left = self._step(substituted_step(step, self._known), number)
            if isinstance(left, Fault):
                return replace(block, steps=tuple(steps), end=left)
            if left is not None:
                steps.append(left)
        return replace(block, steps=tuple(steps), end=self._end(substituted_end(block.end, self._known), number))

    def _note_the_way(self, number: int) -> None:
        """What the only predecessor's branch has found."""
        before = self._tree.predecessors[number]
        end = self._blocks[before[0]].end if len(before) == 1 else None
        if isinstance(end, Branch):
            condition = self._direct((end.op, *self._operands(end)))
            self._note(condition, end.then.block == self._blocks[number].name, number)

    def _note(self, condition: Condition, holds: bool, number: int) -> None:
        """A condition and its opposite, either way round."""
        op, left, right = condition
        mirrored = MIRRORED[op]
        for same in (condition, (mirrored, right, left)):
            self._found.setdefault(same, []).append((number, holds))
        for opposite in ((NEGATED[op], left, right), (NEGATED[mirrored], right, left)):
            self._found.setdefault(opposite, []).append((number, not holds))

    def _operands(self, end: Branch) -> tuple[Operand, Operand]:
        changed = substituted_end(end, self._known)
        assert isinstance(changed, Branch)
        return changed.left, changed.right

    def _step(self, step: Step, number: int) -> Step | Fault | None:
        if isinstance(step, Compare):
            condition = self._direct((step.op, step.left, step.right))
            holds = self._answer(condition, number)
            if holds is not None:
                self._known[step.result] = Const(int(holds))
                return None
            self._compares[step.result] = condition
            return _asking(step, condition)
        if isinstance(step, Guard):
            condition = self._direct((step.op, step.left, step.right))
            holds = self._answer(condition, number)
            if holds is not None:
                return None if holds else Fault(step.why, step.place)
            self._note(condition, True, number)
            return _asking(step, condition)
        return step

    def _end(self, end: End, number: int) -> End:
        if not isinstance(end, Branch):
            return end
        condition = self._direct((end.op, end.left, end.right))
        holds = self._answer(condition, number)
        if holds is not None:
            return Jump(end.then if holds else end.otherwise, end.place)
        return _asking(end, condition)

    def _direct(self, condition: Condition) -> Condition:
        """`(a < b) != 0` is `a < b`."""
        op, left, right = condition
        if op in _EQUALITY and isinstance(left, Value) and left in self._compares and isinstance(right, Const):
            wanted = _ONES[op].get(right.number)
            if wanted is not None:
                found, one, other = self._compares[left]
                return (found if wanted else NEGATED[found], one, other)
        return condition

    def _answer(self, condition: Condition, number: int) -> bool | None:
        """What every way here has shown already."""
        for block, holds in self._found.get(condition, ()):
            if self._tree.dominates(block, number):
                return holds
        return None


def _asking(item: Asking, condition: Condition) -> Asking:
    if condition == (item.op, item.left, item.right):
        return item
    op, left, right = condition
    return replace(item, op=op, left=left, right=right)
