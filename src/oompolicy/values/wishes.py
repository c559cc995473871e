"""What those ask for to whom a cgroup was delegated: it counts where it is at nobody's cost but their own.

Belongs here: how far a wish counts. Must not know: how it was told, policies.

A value is opaque, so that only a policy can say what is more. One in which the lowest value goes first says so
(Policy.lowest_first); with it a wish counts as far as it is lower than the value that the cgroup has without it, its
own or inherited. So a cgroup that was delegated can go before others of its parent's, and order what is below it; it
cannot get above what its parent was given. Where nothing was given there is nothing to lower.
"""

from __future__ import annotations

from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.snapshot import Snapshot


def with_wishes(snapshot: Snapshot) -> Snapshot:
    """The snapshot in which wishes have lowered values."""
    if all(memcg.wish is None for memcg in snapshot.kernel.memcgs):
        return snapshot
    lowered: dict[MemCgroup, int | None] = {}
    counts: dict[MemCgroup, int | None] = {}  # what each cgroup has now
    for memcg in snapshot.kernel.memcgs:  # parents come before their children
        value = memcg.value
        if value is None and memcg.parent is not None:
            value = counts.get(memcg.parent, memcg.parent.nearest_value)
        if memcg.wish is not None and value is not None and memcg.wish < value:
            value = lowered[memcg] = memcg.wish
        counts[memcg] = value
    return snapshot.with_values(lowered, {})
