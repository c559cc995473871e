"""How long what was published, or given by a scorer, counts when nobody gives it anew.

Belongs here: the default. Must not know: who publishes what.
"""

from __future__ import annotations

from typing import Final

LEAST_TTL_MS: Final = 30_000
INTERVALS_IN_TTL: Final = 4


def default_ttl_ms(interval_ms: int) -> int:
    """Some looks may be missed."""
    return max(LEAST_TTL_MS, INTERVALS_IN_TTL * interval_ms)
