"""Addition and subtraction that know when their result does not fit.

Belongs here: the checks of add and sub, by the sign that is known of an operand. Must not know: other arithmetic.
"""

from __future__ import annotations

from oompolicy.bpf.instructions import Goto
from oompolicy.bpf.opcodes import R1, AluOp, JumpOp, Reg
from oompolicy.compiler.arithmetic import DOES_NOT_FIT
from oompolicy.compiler.bounds import Bounds
from oompolicy.compiler.emit.code import Code
from oompolicy.compiler.ir import Binary, Operand


def add(code: Code, step: Binary, left: Bounds, right: Bounds) -> None:
    """result = left + right, checked: adding what is not negative cannot make it less, nor the other way."""
    one, other, sign = step.left, step.right, right
    if _unsigned(left) is not None and _unsigned(right) is None:
        one, other, sign = step.right, step.left, left
    fault = code.fault(DOES_NOT_FIT, step.place)
    register = code.target(step.result, one, other)
    code.into(register, one)
    code.alu(AluOp.ADD, register, code.source(other, R1))
    match _unsigned(sign):
        case True:
            code.jump(JumpOp.SLT, register, code.source(one, R1), fault)
        case False:
            code.jump(JumpOp.SGT, register, code.source(one, R1), fault)
        case None:
            negative, done = code.label(), code.label()
            code.jump(JumpOp.SLT, code.register(other, R1), 0, negative)
            code.jump(JumpOp.SLT, register, code.source(one, R1), fault)
            code.put(Goto(done))
            code.here(negative)
            code.jump(JumpOp.SGT, register, code.source(one, R1), fault)
            code.here(done)
    code.store(step.result, register)


def sub(code: Code, step: Binary, left: Bounds, right: Bounds) -> None:
    """result = left - right, checked."""
    fault = code.fault(DOES_NOT_FIT, step.place)
    register = code.target(step.result, step.left, step.right)
    code.into(register, step.left)
    code.alu(AluOp.SUB, register, code.source(step.right, R1))
    match _unsigned(right), _unsigned(left):
        case True, _:
            code.jump(JumpOp.SGT, register, code.source(step.left, R1), fault)
        case False, _:
            code.jump(JumpOp.SLT, register, code.source(step.left, R1), fault)
        case None, True:
            # Only what is negative, taken away, makes it too large; the result has its sign then.
            _unless(code, step.right, JumpOp.SGE, (JumpOp.SLT, register), fault)
        case None, False if left.greatest < 0:  # 0 - LONG_MIN does not fit, -1 - LONG_MIN does
            _unless(code, step.right, JumpOp.SLE, (JumpOp.SGE, register), fault)
        case _:
            negative, done = code.label(), code.label()
            code.jump(JumpOp.SLT, code.register(step.right, R1), 0, negative)
            code.jump(JumpOp.SGT, register, code.source(step.left, R1), fault)
            code.put(Goto(done))
            code.here(negative)
            code.jump(JumpOp.SLT, register, code.source(step.left, R1), fault)
            code.here(done)
    code.store(step.result, register)


def _unless(code: Code, operand: Operand, fine: JumpOp, wrong: tuple[JumpOp, Reg], fault: str) -> None:
    done = code.label()
    code.jump(fine, code.register(operand, R1), 0, done)
    code.jump(wrong[0], wrong[1], 0, fault)
    code.here(done)


def _unsigned(known: Bounds) -> bool | None:
    """True for what is not negative, False for what is not positive, None where either may be."""
    if known.least >= 0:
        return True
    return False if known.greatest <= 0 else None
