"""Between which numbers every value is, and what need not be asked or checked for that reason.

Belongs here: the walk that finds bounds, from the table of fields, constants and conditions. Must not know: the
arithmetic of bounds (bounds.py).

A reference counts as a number here: 0 where it is null, more where it is not.
"""

from __future__ import annotations

from dataclasses import replace

from oompolicy.compiler.bounds import ANY_LONG, BOOL, Bounds, certain, of_binary, of_unary, where
from oompolicy.compiler.ir import (
    MIRRORED,
    NEGATED,
    OC,
    TASK,
    Binary,
    BinaryOp,
    Block,
    Branch,
    Compare,
    CompareOp,
    Const,
    End,
    Fault,
    Guard,
    Jump,
    Kind,
    Null,
    Operand,
    Program,
    Read,
    Step,
    Target,
    Unary,
    UnaryOp,
    Value,
)
from oompolicy.compiler.passes.dominators import Dominators
from oompolicy.compiler.passes.rewrite import Substitution, reached, substituted_end, substituted_step
from oompolicy.compiler.subset import BY_NAME, FieldKind
from oompolicy.mm.limits import LONG_MAX

_NOT_NULL = Bounds(1, LONG_MAX)
_REFERENCE = Bounds(0, LONG_MAX)

Refined = dict[Value, Bounds]


def use_ranges(program: Program) -> Program:
    """Steps that certainly fit are not checked, comparisons that are certain not made, guards that hold not there."""
    walk = _Walk(program)
    return replace(program, blocks=reached([walk.block(number) for number in range(len(program.blocks))]))


def operand_bounds(program: Program) -> dict[Value, tuple[Bounds, Bounds]]:
    """For the result of a Binary: between which numbers its operands are; not for one that no run comes to."""
    walk = _Walk(program)
    for number in range(len(program.blocks)):
        walk.block(number)
    return walk.operands


class _Walk:
    def __init__(self, program: Program) -> None:
        self._blocks = program.blocks
        self._tree = Dominators(program.blocks)
        self._defined: Refined = {TASK: _NOT_NULL, OC: _NOT_NULL}  # where each value is defined
        self._here: Refined = {}  # what conditions on every way here have shown beyond that
        self._at_end: list[Refined] = []
        self._passed: dict[str, list[list[Bounds]]] = {}
        self._known: Substitution = {}
        self.operands: dict[Value, tuple[Bounds, Bounds]] = {}

    def block(self, number: int) -> Block:
        block = self._blocks[number]
        self._enter(number)
        steps: list[Step] = []
        for original in block.steps:
            step = self._step(substituted_step(original, self._known))
            if isinstance(step, Fault):
                end: End = step
                break
            if step is not None:
                steps.append(step)
        else:
            end = self._end(substituted_end(block.end, self._known))
        self._at_end.append(self._here)
        return Block(block.name, block.parameters, tuple(steps), end)

    def _enter(self, number: int) -> None:
        """What the dominator knew at its end, what its branch says, and the union of what is passed."""
        block = self._blocks[number]
        if number:
            self._here = dict(self._at_end[self._tree.parents[number]])
            before = self._tree.predecessors[number]
            end = self._blocks[before[0]].end
            if len(before) == 1 and isinstance(end, Branch):
                self._assume_branch(end, end.then.block == block.name)
        passed = self._passed.get(block.name, [])
        for index, parameter in enumerate(block.parameters):
            least = min((bounds[index].least for bounds in passed), default=ANY_LONG.least)
            greatest = max((bounds[index].greatest for bounds in passed), default=ANY_LONG.greatest)
            self._defined[parameter] = Bounds(least, greatest)

    def _assume_branch(self, end: Branch, holds: bool) -> None:
        changed = substituted_end(end, self._known)
        assert isinstance(changed, Branch)
        self._assume(changed.op if holds else NEGATED[changed.op], changed.left, changed.right)

    def _assume(self, op: CompareOp, left: Operand, right: Operand) -> None:
        for one, other, by in ((left, right, op), (right, left, MIRRORED[op])):
            if isinstance(one, Value):
                found = where(by, self._of(one), self._of(other))
                if found.least <= found.greatest:  # else no run comes here
                    self._here[one] = found

    def _of(self, operand: Operand) -> Bounds:
        match operand:
            case Const(number):
                return Bounds(number, number)
            case Null():
                return Bounds(0, 0)
            case Value():
                found = self._here.get(operand)
                return self._defined.get(operand, ANY_LONG) if found is None else found

    def _step(self, step: Step) -> Step | Fault | None:
        match step:
            case Binary():
                return self._binary(step)
            case Unary():
                return self._unary(step)
            case Guard(op, left, right, why, place):
                holds = certain(op, self._of(left), self._of(right))
                if holds is None:
                    self._assume(op, left, right)
                    return step
                return None if holds else Fault(why, place)
            case Compare(result, op, left, right):
                return self._result(step, result, _of_compare(certain(op, self._of(left), self._of(right))))
            case Read():
                self._read(step)
                return step
            case _:
                self._defined[step.result] = BOOL
                return step

    def _binary(self, step: Binary) -> Step | None:
        left, right = self._of(step.left), self._of(step.right)
        self.operands[step.result] = (left, right)
        found = of_binary(step.op, left, right)
        if step.checked and _cannot_fault(step.op, found, right):
            step = replace(step, checked=False)
        same = _one_of_them(step, left, right)
        if same is not None and not step.checked:
            self._known[step.result] = same
            return None
        return self._result(step, step.result, found, step.checked)

    def _unary(self, step: Unary) -> Step | None:
        known = self._of(step.operand)
        found = of_unary(step.op, known)
        if step.op is UnaryOp.ABS and known.least >= 0:
            self._known[step.result] = step.operand
            return None
        if step.checked and found.fits:
            step = replace(step, checked=False)
        return self._result(step, step.result, found, step.checked)

    def _result(self, step: Step, result: Value, found: Bounds, checked: bool = False) -> Step | None:
        """The step, or None where its result is one number and nothing can go wrong."""
        fitting = found.within_long
        if fitting.least > fitting.greatest:  # it faults in every run; nothing after it matters
            fitting = ANY_LONG
        self._defined[result] = fitting
        if fitting.least == fitting.greatest:
            self._known[result] = Const(fitting.least)
            return step if checked else None
        return step

    def _read(self, step: Read) -> None:
        if step.result.kind is not Kind.INT:
            self._defined[step.result] = _REFERENCE
            return
        row = BY_NAME.get(step.field)
        if row is None:
            self._defined[step.result] = ANY_LONG
        elif row.kind is FieldKind.OPTIONAL_INT:
            self._defined[step.result] = Bounds(min(row.least, 0), max(row.greatest, 0))
        else:
            self._defined[step.result] = Bounds(row.least, row.greatest)
        if step.present is not None:
            self._defined[step.present] = BOOL

    def _end(self, end: End) -> End:
        if isinstance(end, Branch):
            holds = certain(end.op, self._of(end.left), self._of(end.right))
            if holds is None:
                self._pass_by_branch(end)
                return end
            end = Jump(end.then if holds else end.otherwise, end.place)
        if isinstance(end, Jump):
            self._pass(end.target)
        return end

    def _pass_by_branch(self, end: Branch) -> None:
        before = self._here
        for target, holds in ((end.then, True), (end.otherwise, False)):
            self._here = dict(before)
            self._assume(end.op if holds else NEGATED[end.op], end.left, end.right)
            self._pass(target)
        self._here = before

    def _pass(self, target: Target) -> None:
        self._passed.setdefault(target.block, []).append([self._of(argument) for argument in target.arguments])


def _of_compare(holds: bool | None) -> Bounds:
    return BOOL if holds is None else Bounds(int(holds), int(holds))


def _cannot_fault(op: BinaryOp, found: Bounds, right: Bounds) -> bool:
    match op:
        case BinaryOp.FLOORDIV | BinaryOp.MOD:
            return found.fits and (right.least > 0 or right.greatest < 0)
        case BinaryOp.SHL | BinaryOp.SHR:
            return found.fits and right.least >= 0
    return found.fits


def _one_of_them(step: Binary, left: Bounds, right: Bounds) -> Operand | None:
    """Where the result is certainly one of the operands."""
    match step.op:
        case BinaryOp.MIN | BinaryOp.MAX:
            less, more = (step.left, step.right) if step.op is BinaryOp.MIN else (step.right, step.left)
            if left.greatest <= right.least:
                return less
            return more if right.greatest <= left.least else None
        case BinaryOp.MOD if left.least >= 0 and left.greatest < right.least:
            return step.left
        case BinaryOp.AND:
            return _unmasked(step.left, left, right) or _unmasked(step.right, right, left)
    return None


def _unmasked(operand: Operand, known: Bounds, mask: Bounds) -> Operand | None:
    """The operand, where the other is a constant of ones that covers all its bits."""
    ones = mask.least == mask.greatest and mask.least >= 0 and mask.least & (mask.least + 1) == 0
    return operand if ones and known.least >= 0 and known.greatest <= mask.least else None
