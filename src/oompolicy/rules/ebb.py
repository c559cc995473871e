"""Is memory going so fast that little time is left? Pure.

Belongs here: the speed of late, and when it is a reason for haste. Must not know: thresholds, looks, what is done then.

How far a threshold is says nothing of a rule that waits for something else as well; that all will be gone soon is a
reason to look at everything, whatever rules say of memory.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from oompolicy.rules.marks import Marks, marked

# A look, a choice and a kill have to find room in it, on a machine that is slow because its memory is going.
GONE_WITHIN_MS: Final = 3_000


class Ebb(NamedTuple):
    """marks: when what was available. is_fast: at that speed all is gone within GONE_WITHIN_MS."""

    marks: Marks = ()
    is_fast: bool = False


def noticed(ebb: Ebb, available_bytes: int, now_ms: int) -> Ebb:
    """What is available now.

    >>> noticed(noticed(Ebb(), 200, 0), 190, 100).is_fast  # 10 in 100 ms: the rest is gone in 1,900 ms
    True
    >>> noticed(noticed(Ebb(), 200, 0), 197, 100).is_fast
    False
    """
    before, marks = marked(ebb.marks, available_bytes, now_ms)
    if before is None:
        return Ebb(marks, ebb.is_fast)
    fallen = before[1] - available_bytes
    return Ebb(marks, fallen > 0 and available_bytes * (now_ms - before[0]) < GONE_WITHIN_MS * fallen)
