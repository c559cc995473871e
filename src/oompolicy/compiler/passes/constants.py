"""What is known already is computed now.

Belongs here: operations, comparisons and branches on constants, operations that give one of their operands, blocks
that are not reached any more, parameters that always get the same. Must not know: ranges of what is not constant.

An operation on constants that certainly faults ends its block.
"""

from __future__ import annotations

from dataclasses import replace

from oompolicy.compiler.arithmetic import ArithmeticFault, binary, compare, unary
from oompolicy.compiler.ir import (
    NULL,
    OC,
    TASK,
    BandNumber,
    Binary,
    BinaryOp,
    Block,
    Branch,
    CommTest,
    Compare,
    CompareOp,
    Const,
    End,
    Fault,
    Guard,
    Jump,
    Null,
    Operand,
    Program,
    Read,
    Return,
    Step,
    Unary,
    Value,
    operands_of,
    targets_of,
)
from oompolicy.compiler.passes.rewrite import Substitution, substituted_end, substituted_step

_REFLEXIVE = (CompareOp.EQ, CompareOp.LE, CompareOp.GE)
_COMMUTES = frozenset({BinaryOp.ADD, BinaryOp.MUL, BinaryOp.AND, BinaryOp.OR, BinaryOp.XOR, BinaryOp.MIN, BinaryOp.MAX})


def fold_constants(program: Program) -> Program:
    """All in one walk: blocks only go forward, so what a block is passed is known when it comes."""
    folding = _Folding()
    folding.passed[program.blocks[0].name] = []
    blocks = [folding.block(block) for block in program.blocks if block.name in folding.passed]
    return replace(program, blocks=tuple(_with_fewer_parameters(block, folding) for block in blocks))


class _Folding:
    def __init__(self) -> None:
        self.known: Substitution = {}
        self.passed: dict[str, list[tuple[Operand, ...]]] = {}  # arguments of each edge to a reached block
        self.dropped: dict[str, frozenset[int]] = {}  # of a block's parameters, by index

    def block(self, block: Block) -> Block:
        self._same_arguments(block)
        steps: list[Step] = []
        end = block.end
        for step in block.steps:
            folded = self._through_null(step) or self._step(substituted_step(step, self.known))
            if isinstance(folded, Fault):
                end = folded
                break
            if folded is not None:
                steps.append(folded)
        end = _end(substituted_end(end, self.known))
        for target in targets_of(end):
            self.passed.setdefault(target.block, []).append(target.arguments)
        return Block(block.name, block.parameters, tuple(steps), end)

    def _same_arguments(self, block: Block) -> None:
        edges = self.passed[block.name]
        dropped = set()
        for index, parameter in enumerate(block.parameters):
            passed = {arguments[index] for arguments in edges}
            if len(passed) == 1:
                self.known[parameter] = passed.pop()
                dropped.add(index)
        self.dropped[block.name] = frozenset(dropped)

    def _through_null(self, step: Step) -> Fault | None:
        """No run comes to a read through null: that it is not null was asked before. The block may end there."""
        is_null = any(self.known.get(value) == NULL for value in operands_of(step) if isinstance(value, Value))
        return Fault("a read through None", step.place) if is_null and isinstance(step, Read | CommTest) else None

    def _step(self, step: Step) -> Step | Fault | None:
        """What is left of a step; None where its result is known now."""
        try:
            found = _value_of(step)
        except ArithmeticFault as fault:
            return Fault(fault.args[0], step.place)
        if isinstance(step, Guard):
            holds = _certain(step.op, step.left, step.right)
            if holds is None:
                return step
            return None if holds else Fault(step.why, step.place)
        if found is None:
            return _constant_last(step)
        self.known[step.result] = found
        return None


def _with_fewer_parameters(block: Block, folding: _Folding) -> Block:
    if not any(folding.dropped[name] for name in (block.name, *(target.block for target in targets_of(block.end)))):
        return block

    def arguments(name: str, given: tuple[Operand, ...]) -> tuple[Operand, ...]:
        gone = folding.dropped[name]
        return tuple(item for index, item in enumerate(given) if index not in gone) if gone else given

    end = block.end
    match end:
        case Jump(target):
            end = replace(end, target=replace(target, arguments=arguments(target.block, target.arguments)))
        case Branch(then=then, otherwise=otherwise):
            end = replace(
                end,
                then=replace(then, arguments=arguments(then.block, then.arguments)),
                otherwise=replace(otherwise, arguments=arguments(otherwise.block, otherwise.arguments)),
            )
    gone = folding.dropped[block.name]
    kept = tuple(value for index, value in enumerate(block.parameters) if index not in gone)
    return replace(block, parameters=kept, end=end)


def _end(end: End) -> End:
    match end:
        case Branch(op, left, right, then, otherwise, place):
            holds = _certain(op, left, right)
            if holds is None:
                return Jump(then, place) if then == otherwise else end
            return Jump(then if holds else otherwise, place)
        case Return(Const(band), _, place) if band != BandNumber.SCORE:
            return Return(Const(band), Const(0), place)
    return end


def _value_of(step: Step) -> Operand | None:
    """What a step certainly gives. Raises ArithmeticFault where it certainly faults."""
    match step:
        case Binary(_, op, Const(left), Const(right)):
            return Const(binary(op, left, right))
        case Binary():
            return _same_as(step)
        case Unary(_, unary_op, Const(number)):
            return Const(unary(unary_op, number))
        case Compare(_, compare_op, left_side, right_side):
            holds = _certain(compare_op, left_side, right_side)
            return None if holds is None else Const(int(holds))
    return None


def _certain(op: CompareOp, left: Operand, right: Operand) -> bool | None:
    match left, right:
        case (Const(one), Const(other)):
            return compare(op, one, other)
        case (Null(), Null()):
            return op in _REFLEXIVE
    if left == right:
        return op in _REFLEXIVE
    if NULL in (left, right) and (left in (TASK, OC) or right in (TASK, OC)):
        return op is CompareOp.NE
    return None


def _same_as(step: Binary) -> Operand | None:
    """Where one operand is a constant that leaves the other as it is, or both are the same."""
    left, right, op = step.left, step.right, step.op
    if op in _COMMUTES and isinstance(left, Const):
        left, right = right, left
    if left == right:
        if op in (BinaryOp.MIN, BinaryOp.MAX, BinaryOp.AND, BinaryOp.OR):
            return left
        return Const(0) if op in (BinaryOp.SUB, BinaryOp.XOR) else None
    match op, right:
        case (BinaryOp.ADD | BinaryOp.SUB | BinaryOp.OR | BinaryOp.XOR | BinaryOp.SHL | BinaryOp.SHR, Const(0)):
            return left
        case (BinaryOp.MUL | BinaryOp.FLOORDIV, Const(1)) | (BinaryOp.AND, Const(-1)):
            return left
        case (BinaryOp.MUL | BinaryOp.AND, Const(0)) | (BinaryOp.MOD, Const(1)):
            return Const(0)
        case (BinaryOp.OR, Const(-1)):
            return Const(-1)
    return None


def _constant_last(step: Step) -> Step:
    """A number as the second operand: there an instruction can hold it."""
    match step:
        case Binary(left=Const() as left, right=Value() as right, op=op) if op in _COMMUTES:
            return replace(step, left=right, right=left)
    return step
