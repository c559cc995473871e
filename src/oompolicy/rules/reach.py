"""How soon two sides of a comparison can meet, where both are made of amounts: they change no faster than memory fills.

Belongs here: the greatest speed of a number. Must not know: what is looked at meanwhile, bounds of the pace.
"""

from __future__ import annotations

from oompolicy.rules.look import Look
from oompolicy.rules.tree import Arithmetic, Fixed, Number, Reads, constant


def speed_per_s(number: Number, look: Look) -> float | None:
    """By how much it can change in a second, in its own unit; None where nothing bounds it.

    A product or quotient is bounded where one side of it is a constant.
    """
    match number:
        case Fixed():
            return 0.0
        case Reads(field=field):
            whole = 100.0 if field.whole is None else field.whole(look)
            return None if field.mib_per_s is None or not whole else field.mib_per_s * 100 / whole
        case Arithmetic(op=op, left=left, right=right):
            speeds = speed_per_s(left, look), speed_per_s(right, look)
            if speeds[0] is None or speeds[1] is None:
                return None
            if op in ("+", "-"):
                return speeds[0] + speeds[1]
            by = constant(right)
            if op == "*":
                factor, speed = (by, speeds[0]) if by is not None else (constant(left), speeds[1])
                return None if factor is None else speed * abs(factor)
            return speeds[0] / abs(by) if op == "/" and by else None
        case _:
            return None


def meet_in_ms(left: tuple[Number, float | None], right: tuple[Number, float | None], look: Look) -> float | None:
    """The least time until numbers that are now so far apart can be equal; None where that is not known, or never."""
    speeds = speed_per_s(left[0], look), speed_per_s(right[0], look)
    if left[1] is None or right[1] is None or speeds[0] is None or speeds[1] is None:
        return None
    apart, speed = abs(left[1] - right[1]), speeds[0] + speeds[1]
    return apart * 1000 / speed if speed else None
