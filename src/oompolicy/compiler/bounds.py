"""Between which numbers a value is.

Belongs here: bounds, and what the operations make of them. Must not know: programs, instructions.
"""

from __future__ import annotations

from typing import Final, NamedTuple

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
