"""What the operations of the IR mean, on numbers: signed 64 bit, exact or a fault.

Belongs here: one function for each family of operations, the words for what goes wrong, a comm's two words. The
interpreter runs them, the passes fold constants with them. Must not know: programs, registers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

from oompolicy.compiler.ir import BinaryOp, CommOp, CompareOp, UnaryOp
from oompolicy.compiler.subset import COMM_BYTES
from oompolicy.mm.limits import LONG_MAX, LONG_MIN

DOES_NOT_FIT: Final = "the result does not fit into 64 bits"
DIVISION_BY_ZERO: Final = "division by zero"
NEGATIVE_SHIFT: Final = "a negative shift count"
COMM_WORDS: Final = ("task.comm_0", "task.comm_1")  # the fields that CommTests are lowered to


class ArithmeticFault(Exception):  # noqa: N818 - a fault is the IR's word for it, and no error of this package
    """No result, or none that fits. args[0] says which."""


def cannot_be_read(field: str) -> str:
    """Why a Read faults."""
    return f"{field} cannot be read"


def _floordiv(left: int, right: int) -> int:
    if right == 0:
        raise ArithmeticFault(DIVISION_BY_ZERO)
    return left // right


def _mod(left: int, right: int) -> int:
    if right == 0:
        raise ArithmeticFault(DIVISION_BY_ZERO)
    return left % right


def _shl(left: int, count: int) -> int:
    if count < 0:
        raise ArithmeticFault(NEGATIVE_SHIFT)
    return left << min(count, 64)  # what is not 0 does not fit already by 64


def _shr(left: int, count: int) -> int:
    if count < 0:
        raise ArithmeticFault(NEGATIVE_SHIFT)
    return left >> min(count, 64)


_BINARY: Final[dict[BinaryOp, Callable[[int, int], int]]] = {
    BinaryOp.ADD: operator.add,
    BinaryOp.SUB: operator.sub,
    BinaryOp.MUL: operator.mul,
    BinaryOp.FLOORDIV: _floordiv,
    BinaryOp.MOD: _mod,
    BinaryOp.AND: operator.and_,
    BinaryOp.OR: operator.or_,
    BinaryOp.XOR: operator.xor,
    BinaryOp.SHL: _shl,
    BinaryOp.SHR: _shr,
    BinaryOp.MIN: min,
    BinaryOp.MAX: max,
}
_UNARY: Final[dict[UnaryOp, Callable[[int], int]]] = {
    UnaryOp.NEG: operator.neg,
    UnaryOp.ABS: abs,
    UnaryOp.INVERT: operator.invert,
}
_COMPARE: Final[dict[CompareOp, Callable[[Any, Any], object]]] = {
    CompareOp.EQ: operator.eq,
    CompareOp.NE: operator.ne,
    CompareOp.LT: operator.lt,
    CompareOp.LE: operator.le,
    CompareOp.GT: operator.gt,
    CompareOp.GE: operator.ge,
}


def binary(op: BinaryOp, left: int, right: int) -> int:
    """The result. Raises ArithmeticFault.

    >>> binary(BinaryOp.FLOORDIV, -7, 2), binary(BinaryOp.SHL, 0, 100), binary(BinaryOp.SHR, -5, 100)
    (-4, 0, -1)
    """
    return _fitting(_BINARY[op](left, right))


def unary(op: UnaryOp, operand: int) -> int:
    """The result. Raises ArithmeticFault."""
    return _fitting(_UNARY[op](operand))


def compare(op: CompareOp, left: object, right: object) -> bool:
    """Of two numbers; EQ and NE also of two references, None being null."""
    return bool(_COMPARE[op](left, right))


def comm_test(op: CommOp, comm: bytes, text: bytes) -> bool:
    """Does a comm, of which only what stands before the NUL counts, equal the text, or start with it?"""
    name = comm.split(b"\0", 1)[0]
    return name == text if op is CommOp.EQUALS else name.startswith(text)


def comm_word(comm: bytes, index: int) -> int:
    """One of the two little-endian words of a comm's 16 bytes, signed.

    >>> comm_word(b"cc", 0) == 0x6363, comm_word(b"cc", 1)
    (True, 0)
    """
    whole = comm.ljust(COMM_BYTES, b"\0")
    return int.from_bytes(whole[8 * index : 8 * index + 8], "little", signed=True)


def _fitting(result: int) -> int:
    if not LONG_MIN <= result <= LONG_MAX:
        raise ArithmeticFault(DOES_NOT_FIT)
    return result
