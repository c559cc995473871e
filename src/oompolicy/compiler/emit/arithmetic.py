"""What each operation on numbers becomes: exact, and to the label of a fault where the result does not fit.

Belongs here: the choice of a sequence, shifts, min and max, operations on one number. Must not know: blocks, reads.

Every sequence works in r0 and r1 and in the result's home, which is written while operands are still needed only
where it is not theirs: Code.target() says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from oompolicy.bpf.instructions import Goto, Negate, move
from oompolicy.bpf.opcodes import R0, R1, AluOp, JumpOp, Reg
from oompolicy.compiler.arithmetic import DOES_NOT_FIT, NEGATIVE_SHIFT
from oompolicy.compiler.bounds import Bounds
from oompolicy.compiler.emit.addition import add, sub
from oompolicy.compiler.emit.code import JUMPS, Code, fits_immediate
from oompolicy.compiler.emit.division import floordiv, mod
from oompolicy.compiler.emit.multiplication import check_mul
from oompolicy.compiler.ir import (
    MIRRORED,
    NEGATED,
    Binary,
    BinaryOp,
    Compare,
    CompareOp,
    Const,
    Operand,
    Unary,
    UnaryOp,
    Value,
)
from oompolicy.mm.limits import LONG_MIN

_PLAIN: Final = {
    BinaryOp.ADD: AluOp.ADD,
    BinaryOp.SUB: AluOp.SUB,
    BinaryOp.MUL: AluOp.MUL,
    BinaryOp.AND: AluOp.AND,
    BinaryOp.OR: AluOp.OR,
    BinaryOp.XOR: AluOp.XOR,
    BinaryOp.SHL: AluOp.LSH,  # which takes the count modulo 64: of 0 alone may it be more, and 0 it stays
}
_COMMUTES: Final = frozenset({BinaryOp.ADD, BinaryOp.MUL, BinaryOp.AND, BinaryOp.OR, BinaryOp.XOR})
_WORD_BITS: Final = 64


def binary(code: Code, step: Binary, left: Bounds, right: Bounds) -> None:
    """result = left op right; left and right: between which numbers they are here."""
    if step.checked and step.op in _CHECKED:
        _CHECKED[step.op](code, step, left, right)
    elif step.op in _ALWAYS:
        _ALWAYS[step.op](code, step, left, right)
    else:
        _plain(code, step)


def _plain(code: Code, step: Binary) -> None:
    first, second = step.left, step.right
    if step.op in _COMMUTES and code.register_of(second) is code.target(step.result):
        first, second = second, first
    if step.op is BinaryOp.SHL and isinstance(second, Const):
        second = Const(second.number % _WORD_BITS)
    register = code.target(step.result, second)
    code.into(register, first)
    bits = _upper_bits_masked(step.op, second)
    doubled = _doubled(step.op, second)
    if doubled is not None:
        code.alu(AluOp.LSH, register, doubled)
    elif bits:  # two shifts are shorter than a mask that no instruction holds
        code.alu(AluOp.LSH, register, bits)
        code.alu(AluOp.RSH, register, bits)
    else:
        code.alu(_PLAIN[step.op], register, code.source(second, R1))
    code.store(step.result, register)


def _mul(code: Code, step: Binary, left: Bounds, right: Bounds) -> None:
    check_mul(code, step, left, right)
    _plain(code, step)


def _doubled(op: BinaryOp, factor: Operand) -> int | None:
    """How often, where multiplying is doubling and the factor fits no instruction."""
    number = factor.number if isinstance(factor, Const) else 0
    is_long_power = op is BinaryOp.MUL and number.bit_count() == 1 and not fits_immediate(number) and number > 0
    return number.bit_length() - 1 if is_long_power else None


def _upper_bits_masked(op: BinaryOp, mask: Operand) -> int | None:
    """How many of a word's upper bits it makes 0, where that is all it does and it fits no instruction."""
    number = mask.number if isinstance(mask, Const) else 0
    is_long_mask = op is BinaryOp.AND and number & (number + 1) == 0 and not fits_immediate(number)
    return _WORD_BITS - number.bit_length() if is_long_mask else None


def _shl(code: Code, step: Binary, left: Bounds, right: Bounds) -> None:
    """Shifted there and back again it must be the same."""
    does_not_fit = code.fault(DOES_NOT_FIT, step.place)
    if not (right.least >= 0 and right.greatest < _WORD_BITS):
        fine = code.label()
        code.into(R1, step.right)
        code.jump(JumpOp.LT, R1, _WORD_BITS, fine)
        code.jump(JumpOp.SLT, R1, 0, code.fault(NEGATIVE_SHIFT, step.place))
        code.jump(JumpOp.NE, code.register(step.left, R0), 0, does_not_fit)
        code.here(fine)
    count = step.right
    if isinstance(count, Const):
        count = Const(count.number % _WORD_BITS)
    code.into(R0, step.left)
    by = code.source(count, R1)
    code.alu(AluOp.LSH, R0, by)
    code.alu(AluOp.ARSH, R0, by)
    code.jump(JumpOp.NE, R0, code.register(step.left, R1), does_not_fit)
    register = code.target(step.result, count)
    code.into(register, step.left)
    code.alu(AluOp.LSH, register, code.source(count, R1))
    code.store(step.result, register)


def _shr(code: Code, step: Binary, left: Bounds, right: Bounds) -> None:
    """By more than 63 it is as by 63: nothing but the sign is left."""
    count: Operand = step.right
    if isinstance(count, Const) and count.number >= 0:
        register = code.target(step.result)
        code.into(register, step.left)
        code.alu(AluOp.ARSH, register, min(count.number, _WORD_BITS - 1))
        code.store(step.result, register)
        return
    by = R1
    if right.least >= 0 and right.greatest < _WORD_BITS:
        by = code.register(count, R1)
    else:
        code.into(R1, count)
        if step.checked and right.least < 0:
            code.jump(JumpOp.SLT, R1, 0, code.fault(NEGATIVE_SHIFT, step.place))
        fine = code.label()
        code.jump(JumpOp.LT, R1, _WORD_BITS, fine)
        code.put(move(R1, _WORD_BITS - 1))
        code.here(fine)
    register = code.target(step.result, count)
    code.into(register, step.left)
    code.alu(AluOp.ARSH, register, by)
    code.store(step.result, register)


def _extreme(code: Code, step: Binary, left: Bounds, right: Bounds) -> None:
    first, second = step.left, step.right
    if code.register_of(second) is code.target(step.result):
        first, second = second, first
    register = code.target(step.result, second)
    code.into(register, first)
    other = code.source(second, R1)
    done = code.label()
    code.jump(JumpOp.SLE if step.op is BinaryOp.MIN else JumpOp.SGE, register, other, done)
    code.put(move(register, other))
    code.here(done)
    code.store(step.result, register)


Sequence = Callable[[Code, Binary, Bounds, Bounds], None]
_CHECKED: Final[dict[BinaryOp, Sequence]] = {
    BinaryOp.ADD: add,
    BinaryOp.SUB: sub,
    BinaryOp.MUL: _mul,
    BinaryOp.SHL: _shl,
}
_ALWAYS: Final[dict[BinaryOp, Sequence]] = {
    BinaryOp.FLOORDIV: floordiv,
    BinaryOp.MOD: mod,
    BinaryOp.SHR: _shr,
    BinaryOp.MIN: _extreme,
    BinaryOp.MAX: _extreme,
}


def unary(code: Code, step: Unary) -> None:
    """result = op operand."""
    register = code.target(step.result)
    code.into(register, step.operand)
    match step.op:
        case UnaryOp.INVERT:
            code.alu(AluOp.XOR, register, -1)
        case UnaryOp.NEG:
            if step.checked:
                least = R1 if register is R0 else R0
                code.put(move(least, LONG_MIN))
                code.jump(JumpOp.EQ, register, least, code.fault(DOES_NOT_FIT, step.place))
            code.put(Negate(register))
        case UnaryOp.ABS:
            done = code.label()
            code.jump(JumpOp.SGE, register, 0, done)
            code.put(Negate(register))
            if step.checked:  # -LONG_MIN is LONG_MIN again
                code.jump(JumpOp.SLT, register, 0, code.fault(DOES_NOT_FIT, step.place))
            code.here(done)
    code.store(step.result, register)


def compare(code: Code, step: Compare) -> None:
    """result = 1 or 0."""
    register = code.target(step.result, step.left, step.right)
    are_fetched = code.register_of(step.left) is None and not code.is_source(step.right)  # both, into r0 and r1
    done = code.label()
    if register is R0 and are_fetched:
        no = code.label()
        jump_if(code, NEGATED[step.op], step.left, step.right, no)
        code.put(move(R0, 1), Goto(done))
        code.here(no)
        code.put(move(R0, 0))
    else:
        code.put(move(register, 1))
        jump_if(code, step.op, step.left, step.right, done, R0 if are_fetched else R1)
        code.put(move(register, 0))
    code.here(done)
    code.store(step.result, register)


def jump_if(code: Code, op: CompareOp, left: Operand, right: Operand, label: str, scratch: Reg = R0) -> None:
    """To the label if left op right. scratch: where the left side may be brought; the right side's place is r1."""
    if not isinstance(left, Value) and isinstance(right, Value):
        op, left, right = MIRRORED[op], right, left
    code.jump(JUMPS[op], code.register(left, scratch), code.source(right, R1), label)
