"""How kernels differ in choosing a victim: one flag each, with the commit that changed it.

Belongs here: the flags, the table of boundaries, and reading a release string. Must not know: how a flag is obeyed.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final


class RootBonus(enum.Enum):
    """What a task with CAP_SYS_ADMIN is spared."""

    NONE = "none"
    ADJ_30 = "its oom_score_adj counts 30 less"
    PERCENT_3 = "3 % of its points"


class Ties(enum.Enum):
    """Which of two tasks with equal points is chosen."""

    LAST = "the one scanned last"
    FIRST = "the one scanned first"


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one kernel; the defaults are the newest kernel's."""

    per_mille: bool = False
    root_bonus: RootBonus = RootBonus.NONE
    ties: Ties = Ties.LAST
    clamp_to_one: bool = False
    sacrifice_child: bool = False
    counts_pgtables: bool = True


NEWEST: Final = Rules()
