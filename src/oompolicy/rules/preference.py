"""What a cgroup's owner has asked for, when victims are sought: to go first, last, or never.

Belongs here: the kinds of preference and their order. Must not know: where they are written, whose word counts.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias


class Preference(enum.IntEnum):
    """The lower goes first; who has OMIT is never chosen."""

    PREFER = 0
    NONE = 1
    AVOID = 2
    OMIT = 3


# By the path of a memcg; a path that is not there has none.
Preferences: TypeAlias = Mapping[str, Preference]
