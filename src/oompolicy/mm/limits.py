"""The C integers the selection computes with.

Belongs here: their bounds and their wrap-around. Must not know: what is being counted.
"""

from __future__ import annotations

from typing import Final

LONG_MAX: Final = (1 << 63) - 1
LONG_MIN: Final = -(1 << 63)


def to_long(value: int) -> int:
    """The value as a signed 64-bit long holds it (two's complement, as the kernel is built: -fwrapv).

    >>> to_long(LONG_MAX + 1) == LONG_MIN
    True
    """
    return (value - LONG_MIN) % (1 << 64) + LONG_MIN


def div_long(dividend: int, divisor: int) -> int:
    """C's division: it truncates towards zero, where Python's // rounds down.

    >>> div_long(-7, 2), -7 // 2
    (-3, -4)
    """
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient
