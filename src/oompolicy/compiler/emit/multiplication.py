"""When the result of a multiplication does not fit.

Belongs here: the check of mul. Must not know: other arithmetic.
"""

from __future__ import annotations

from oompolicy.bpf.instructions import Negate, move
from oompolicy.bpf.opcodes import R0, R1, AluOp, JumpOp, Reg
from oompolicy.compiler.arithmetic import DOES_NOT_FIT
from oompolicy.compiler.bounds import Bounds
from oompolicy.compiler.emit.code import Code
from oompolicy.compiler.ir import Binary, Const, Operand
from oompolicy.mm.limits import LONG_MAX, LONG_MIN


def check_mul(code: Code, step: Binary, left: Bounds, right: Bounds) -> None:
    """To the fault unless left * right fits; what they are stays in place."""
    fault = code.fault(DOES_NOT_FIT, step.place)
    if isinstance(step.left, Const):
        _by_constant(code, step.right, step.left.number, right, fault)
    elif isinstance(step.right, Const):
        _by_constant(code, step.left, step.right.number, left, fault)
    else:
        _check(code, step, left, right, fault)


def _by_constant(code: Code, operand: Operand, factor: int, known: Bounds, fault: str) -> None:
    """The operand is compared with the least and the greatest that still fit."""
    if factor in (0, 1):
        return
    ends = (-(LONG_MAX // -factor), LONG_MIN // factor) if factor < 0 else (-(-LONG_MIN // factor), LONG_MAX // factor)
    least, greatest = max(ends[0], LONG_MIN), min(ends[1], LONG_MAX)
    if known.greatest > greatest:
        code.jump(JumpOp.SGT, code.register(operand, R0), code.source(Const(greatest), R1), fault)
    if known.least < least:
        code.jump(JumpOp.SLT, code.register(operand, R0), code.source(Const(least), R1), fault)


def _check(code: Code, step: Binary, left: Bounds, right: Bounds, fault: str) -> None:
    """abs(left) is at most the largest absolute value that the result can have, divided by abs(right).

    That is LONG_MAX, and one more where the signs differ.
    """
    fine = code.label()
    if left.least < 0 or right.least < 0:
        code.into(R0, step.left)
        code.alu(AluOp.XOR, R0, code.register(step.right, R1))
        code.alu(AluOp.ARSH, R0, 63)
        code.put(move(R1, LONG_MAX))
        code.alu(AluOp.SUB, R1, R0)
    else:
        code.put(move(R1, LONG_MAX))
    divisor = _absolute(code, step.right, right)
    if right.least <= 0 <= right.greatest:
        code.jump(JumpOp.EQ, divisor, 0, fine)
    code.alu(AluOp.DIV, R1, divisor)
    code.jump(JumpOp.GT, _absolute(code, step.left, left), R1, fault)
    code.here(fine)


def _absolute(code: Code, operand: Operand, known: Bounds) -> Reg:
    """A register with the absolute value, which is unsigned: its home, or r0."""
    if known.least >= 0:
        return code.register(operand, R0)
    code.into(R0, operand)
    if known.greatest > 0:
        positive = code.label()
        code.jump(JumpOp.SGE, R0, 0, positive)
        code.put(Negate(R0))
        code.here(positive)
    else:
        code.put(Negate(R0))
    return R0
