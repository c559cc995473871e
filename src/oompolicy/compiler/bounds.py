"""Between which numbers a value is.

Belongs here: bounds, and what the operations make of them. Must not know: programs, instructions.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Final, NamedTuple

from oompolicy.compiler.ir import BinaryOp, CompareOp, UnaryOp
from oompolicy.mm.limits import LONG_MAX, LONG_MIN


class Bounds(NamedTuple):
    """The least and the greatest it can be; both are within 64 bits, or beyond where a result need not fit."""

    least: int
    greatest: int

    @property
    def fits(self) -> bool:
        """Within 64 bits?"""
        return self.least >= LONG_MIN and self.greatest <= LONG_MAX

    @property
    def within_long(self) -> Bounds:
        """What of it fits."""
        return Bounds(max(self.least, LONG_MIN), min(self.greatest, LONG_MAX))


ANY_LONG: Final = Bounds(LONG_MIN, LONG_MAX)
BOOL: Final = Bounds(0, 1)


def of_binary(op: BinaryOp, left: Bounds, right: Bounds) -> Bounds:
    """Between which numbers the exact result is, where there is one."""
    return _BINARY[op](left, right)


def of_unary(op: UnaryOp, known: Bounds) -> Bounds:
    """The same of one number."""
    match op:
        case UnaryOp.NEG:
            return Bounds(-known.greatest, -known.least)
        case UnaryOp.INVERT:
            return Bounds(~known.greatest, ~known.least)
        case UnaryOp.ABS:
            ends = (abs(known.least), abs(known.greatest))
            return Bounds(0 if known.least <= 0 <= known.greatest else min(ends), max(ends))


def _corners(function: Callable[[int, int], int], left: Bounds, right: Bounds) -> Bounds:
    """Of a function that is monotonic in each operand."""
    found = [function(one, other) for one in left for other in right]
    return Bounds(min(found), max(found))


def _floordiv(left: Bounds, right: Bounds) -> Bounds:
    found = [_corners(operator.floordiv, left, part) for part in _without_0(right)]
    return _both(found) if found else ANY_LONG


def _mod(left: Bounds, right: Bounds) -> Bounds:
    found = []
    for part in _without_0(right):
        if part.least < 0:
            found.append(Bounds(part.least + 1, 0))
        elif left.least >= 0:
            found.append(left if left.greatest < part.least else Bounds(0, min(left.greatest, part.greatest - 1)))
        else:
            found.append(Bounds(0, part.greatest - 1))
    return _both(found) if found else ANY_LONG


def _without_0(known: Bounds) -> list[Bounds]:
    parts = (Bounds(known.least, min(known.greatest, -1)), Bounds(max(known.least, 1), known.greatest))
    return [part for part in parts if part.least <= part.greatest]


def _both(parts: list[Bounds]) -> Bounds:
    return Bounds(min(part.least for part in parts), max(part.greatest for part in parts))


def _and(left: Bounds, right: Bounds) -> Bounds:
    masks = [known.greatest for known in (left, right) if known.least >= 0]
    return Bounds(0, min(masks)) if masks else _bitwise(left, right)


def _or(left: Bounds, right: Bounds) -> Bounds:
    found = _bitwise(left, right)
    return Bounds(max(left.least, right.least), found.greatest) if found.least == 0 else found


def _bitwise(left: Bounds, right: Bounds) -> Bounds:
    """No bit is set, nor different from the sign, beyond those of the operands."""
    bits = max(number.bit_length() if number >= 0 else (~number).bit_length() for number in (*left, *right))
    least = 0 if left.least >= 0 and right.least >= 0 else -(1 << bits)
    return Bounds(least, (1 << bits) - 1)


def _shift(function: Callable[[int, int], int], left: Bounds, right: Bounds) -> Bounds:
    """A count beyond 64 does what 64 does; a negative one has no result."""
    if right.greatest < 0:
        return ANY_LONG
    return _corners(function, left, Bounds(min(max(right.least, 0), _WORD_BITS), min(right.greatest, _WORD_BITS)))


_WORD_BITS: Final = 64
_BINARY: Final[dict[BinaryOp, Callable[[Bounds, Bounds], Bounds]]] = {
    BinaryOp.ADD: lambda left, right: Bounds(left.least + right.least, left.greatest + right.greatest),
    BinaryOp.SUB: lambda left, right: Bounds(left.least - right.greatest, left.greatest - right.least),
    BinaryOp.MUL: lambda left, right: _corners(operator.mul, left, right),
    BinaryOp.FLOORDIV: _floordiv,
    BinaryOp.MOD: _mod,
    BinaryOp.AND: _and,
    BinaryOp.OR: _or,
    BinaryOp.XOR: _bitwise,
    BinaryOp.SHL: lambda left, right: _shift(operator.lshift, left, right),
    BinaryOp.SHR: lambda left, right: _shift(operator.rshift, left, right),
    BinaryOp.MIN: lambda left, right: Bounds(min(left.least, right.least), min(left.greatest, right.greatest)),
    BinaryOp.MAX: lambda left, right: Bounds(max(left.least, right.least), max(left.greatest, right.greatest)),
}


def certain(op: CompareOp, left: Bounds, right: Bounds) -> bool | None:
    """Does the comparison hold whatever the two are? None where it depends."""
    match op:
        case CompareOp.LT:
            return True if left.greatest < right.least else False if left.least >= right.greatest else None
        case CompareOp.LE:
            return True if left.greatest <= right.least else False if left.least > right.greatest else None
        case CompareOp.GT | CompareOp.GE:
            found = certain(CompareOp.LE if op is CompareOp.GT else CompareOp.LT, left, right)
            return None if found is None else not found
        case CompareOp.EQ:
            if left.greatest < right.least or left.least > right.greatest:
                return False
            return True if left.least == left.greatest == right.least == right.greatest else None
        case CompareOp.NE:
            found = certain(CompareOp.EQ, left, right)
            return None if found is None else not found


def where(op: CompareOp, left: Bounds, right: Bounds) -> Bounds:
    """The bounds of the left side where `left op right` holds; empty where it cannot."""
    least, greatest = left
    match op:
        case CompareOp.LT:
            greatest = min(greatest, right.greatest - 1)
        case CompareOp.LE:
            greatest = min(greatest, right.greatest)
        case CompareOp.GT:
            least = max(least, right.least + 1)
        case CompareOp.GE:
            least = max(least, right.least)
        case CompareOp.EQ:
            least, greatest = max(least, right.least), min(greatest, right.greatest)
        case CompareOp.NE if right.least == right.greatest:
            least += least == right.least
            greatest -= greatest == right.least
    return Bounds(least, greatest)
