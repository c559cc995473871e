"""What a number was some time ago, to tell how fast it goes. Pure.

Belongs here: which of the moments before is compared with. Must not know: what the number is of.

Amounts of memory go in steps (what CPUs have taken is folded into them in batches: stat_threshold, mm/vmstat.c), so
speeds are told from two that are APART_MS apart at least.
"""

from __future__ import annotations

from typing import Final, TypeAlias

APART_MS: Final = 100

Mark: TypeAlias = tuple[int, float]  # when, and what it was
Marks: TypeAlias = tuple[Mark, ...]  # the older first; two at most


def marked(marks: Marks, value: float, now_ms: int) -> tuple[Mark | None, Marks]:
    """The youngest mark that is old enough to compare with, None where there is none yet; and marks, with this one.

    >>> marked(((0, 9), (100, 8)), 7, 150)
    ((0, 9), ((0, 9), (100, 8)))
    >>> marked(((0, 9), (100, 8)), 7, 200)
    ((100, 8), ((100, 8), (200, 7)))
    """
    if not marks:
        return None, ((now_ms, value),)
    youngest = marks[-1]
    if now_ms - youngest[0] >= APART_MS:
        return youngest, (youngest, (now_ms, value))
    oldest = marks[0]
    return (oldest if now_ms - oldest[0] >= APART_MS else None), marks
