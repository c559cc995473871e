"""What a policy answers, and the points the kernel compares for it.

Belongs here: the one definition of the bands; the model, the hook and the documents are made from it.
Must not know: tasks, snapshots, who computes badness.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Verdict(enum.Enum):
    """A policy's answer where it is not a score."""

    KILL = "KILL"  # take this one before all others
    DEFER = "DEFER"  # no opinion: the kernel's badness
    SPARE = "SPARE"  # only if nothing else is left


KILL: Final = Verdict.KILL
DEFER: Final = Verdict.DEFER
SPARE: Final = Verdict.SPARE


class Band(enum.Enum):
    """Where points come from; the value is the word printed."""

    KILL = "KILL"
    PRESELECTED = "preselected"
    SCORE = "score"
    DEFER = "DEFER"
    SPARE = "SPARE"


class Points(NamedTuple):
    """One row of the table: points = base + clamp(addend), or the addend itself where it is not clamped."""

    base: int
    addend: str
    is_clamped: bool = True


# One less than 2^60, so that no two bands share a number: even the largest score stays below the least preselected.
CLAMP: Final = (1 << 60) - 1

POINTS: Final[dict[Band, Points]] = {
    Band.KILL: Points(1 << 62, "badness"),
    Band.PRESELECTED: Points(1 << 61, "score"),
    Band.SCORE: Points(0, "score"),
    Band.DEFER: Points(0, "badness", is_clamped=False),
    Band.SPARE: Points(-(1 << 61), "badness"),
}


def clamp(value: int) -> int:
    """The value within ±CLAMP.

    >>> clamp(1 << 62) == CLAMP, clamp(-7)
    (True, -7)
    """
    return max(-CLAMP, min(CLAMP, value))


def band_of(verdict: int | Verdict, preselected: bool) -> Band:
    """The row of the table for an answer. KILL and SPARE outrank preselection; a score and DEFER are lifted by it."""
    if isinstance(verdict, Verdict) and verdict is not DEFER:
        return Band[verdict.name]
    if preselected:
        return Band.PRESELECTED
    return Band.DEFER if isinstance(verdict, Verdict) else Band.SCORE


def points_of(verdict: int | Verdict, badness: int, preselected: bool = False) -> int:
    """The points the kernel compares, signed 64 bit, higher dies.

    >>> points_of(DEFER, badness=120), points_of(-40, badness=120)
    (120, -40)
    >>> points_of(SPARE, badness=10**9) < points_of(-(1 << 62), badness=0)
    True
    """
    row = POINTS[band_of(verdict, preselected)]
    score = badness if isinstance(verdict, Verdict) else verdict
    addend = badness if row.addend == "badness" else score
    return row.base + (clamp(addend) if row.is_clamped else addend)
