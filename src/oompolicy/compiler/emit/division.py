"""Python's // and % from the unsigned DIV and MOD that all kernels have.

Belongs here: rounding down, by the signs of the operands. Must not know: other arithmetic.

Written with ~x = -x - 1, for which no number is too large: rounded down, a // b = ~(~a // b) for a < 0 < b, and
~((a - 1) // -b) for b < 0 < a. An unsigned division takes -LONG_MIN as it is.
"""

from __future__ import annotations

from oompolicy.bpf.instructions import Goto, Negate
from oompolicy.bpf.opcodes import R0, R1, AluOp, JumpOp, Reg
from oompolicy.compiler.arithmetic import DIVISION_BY_ZERO, DOES_NOT_FIT
from oompolicy.compiler.bounds import Bounds
from oompolicy.compiler.emit.code import Code
from oompolicy.compiler.ir import Binary, Const


def floordiv(code: Code, step: Binary, left: Bounds, right: Bounds) -> None:
    """result = left // right."""
    shift = _power_of_two(step)
    if shift is not None:
        register = code.target(step.result)
        code.into(register, step.left)
        code.alu(AluOp.ARSH, register, shift)
        code.store(step.result, register)
        return
    code.into(R0, step.left)
    divisor = _divisor(code, step, right)
    if right.least >= 0:
        _by_positive(code, left, divisor, AluOp.DIV)
    else:
        _floordiv_by_any(code, step, divisor)
    code.store(step.result, R0)


def mod(code: Code, step: Binary, left: Bounds, right: Bounds) -> None:
    """result = left % right, with the sign of right."""
    shift = _power_of_two(step)
    if shift is not None:
        register = code.target(step.result)
        code.into(register, step.left)
        code.alu(AluOp.AND, register, code.source(Const((1 << shift) - 1), R1))
        code.store(step.result, register)
        return
    code.into(R0, step.left)
    divisor = _divisor(code, step, right)
    if right.least >= 0:
        _by_positive(code, left, divisor, AluOp.MOD)
    else:
        _mod_by_any(code, divisor)
    code.store(step.result, R0)


def _power_of_two(step: Binary) -> int | None:
    number = step.right.number if isinstance(step.right, Const) else 0
    return number.bit_length() - 1 if number > 0 and number & (number - 1) == 0 else None


def _divisor(code: Code, step: Binary, right: Bounds) -> Reg | int:
    """The divisor, which is not 0 from here on; in r1 where its sign must be tried."""
    if right.least > 0 or right.greatest < 0:
        if right.least >= 0:
            return code.source(step.right, R1)
        code.into(R1, step.right)
        return R1
    divisor = R1
    if right.least >= 0:
        divisor = code.register(step.right, R1)
    else:
        code.into(R1, step.right)
    if step.checked:
        code.jump(JumpOp.EQ, divisor, 0, code.fault(DIVISION_BY_ZERO, step.place))
    return divisor


def _by_positive(code: Code, left: Bounds, divisor: Reg | int, op: AluOp) -> None:
    if left.least >= 0:
        code.alu(op, R0, divisor)
        return
    plain, done = code.label(), code.label()
    code.jump(JumpOp.SGE, R0, 0, plain)
    code.alu(AluOp.XOR, R0, -1)
    code.alu(op, R0, divisor)
    code.alu(AluOp.XOR, R0, -1)
    if op is AluOp.MOD:
        code.alu(AluOp.ADD, R0, divisor)
    code.put(Goto(done))
    code.here(plain)
    code.alu(op, R0, divisor)
    code.here(done)


def _floordiv_by_any(code: Code, step: Binary, divisor: Reg | int) -> None:
    assert divisor is R1
    positive, mixed, done = code.label(), code.label(), code.label()
    code.jump(JumpOp.SGE, R1, 0, positive)
    code.put(Negate(R1))
    code.jump(JumpOp.SGT, R0, 0, mixed)
    code.put(Negate(R0))
    code.alu(AluOp.DIV, R0, R1)
    if step.checked:  # LONG_MIN // -1 alone does not fit
        code.jump(JumpOp.SLT, R0, 0, code.fault(DOES_NOT_FIT, step.place))
    code.put(Goto(done))
    code.here(mixed)
    code.alu(AluOp.ADD, R0, -1)
    code.alu(AluOp.DIV, R0, R1)
    code.alu(AluOp.XOR, R0, -1)
    code.put(Goto(done))
    code.here(positive)
    _by_positive(code, Bounds(-1, 0), R1, AluOp.DIV)
    code.here(done)


def _mod_by_any(code: Code, divisor: Reg | int) -> None:
    assert divisor is R1
    positive, mixed, done = code.label(), code.label(), code.label()
    code.jump(JumpOp.SGE, R1, 0, positive)
    code.put(Negate(R1))
    code.jump(JumpOp.SGT, R0, 0, mixed)
    code.put(Negate(R0))
    code.alu(AluOp.MOD, R0, R1)
    code.put(Negate(R0), Goto(done))
    code.here(mixed)
    code.alu(AluOp.ADD, R0, -1)
    code.alu(AluOp.MOD, R0, R1)
    code.alu(AluOp.ADD, R0, 1)
    code.alu(AluOp.SUB, R0, R1)
    code.put(Goto(done))
    code.here(positive)
    _by_positive(code, Bounds(-1, 0), R1, AluOp.MOD)
    code.here(done)
