"""What oomd's docs/core_plugins.md says of some detectors and kills, as plain Python, to hold an import against.

Belongs here: those words, each time every 5 s, from scratch. Must not know: how the import is written.
"""

from __future__ import annotations

from collections.abc import Sequence

from oompolicy.rules.readings import Readings

INTERVAL_S = 5


def for_longer(is_true: Sequence[bool], duration_s: int) -> list[bool]:
    """At each look: has it been true for so long?"""
    since: int | None = None
    found = []
    for look, truth in enumerate(is_true):
        since = (look if since is None else since) if truth else None
        found.append(since is not None and (look - since) * INTERVAL_S >= duration_s)
    return found


def pressure_above(looks: Sequence[Readings], path: str, threshold: float, duration_s: int) -> list[bool]:
    """'CONTINUE if 10s pressure > threshold longer than duration'."""
    pressures = [look.cgroups[path].memory.full for look in looks]
    return for_longer([stall is not None and stall.avg10 > threshold for stall in pressures], duration_s)


def memory_reclaim(looks: Sequence[Readings], paths: Sequence[str], duration_s: int) -> list[bool]:
    """'CONTINUE if cgroup's memory has been reclaimed in the past duration period'."""
    scanned = [sum(look.cgroups[path].scanned_pages or 0 for path in paths) for look in looks]
    last: int | None = None
    found = []
    for look, pages in enumerate(scanned):
        if look > 0 and pages > scanned[look - 1]:
            last = look
        found.append(last is not None and (look - last) * INTERVAL_S <= duration_s)
    return found


def swap_free(looks: Sequence[Readings], threshold_percent: float) -> list[bool]:
    """'CONTINUE if percentage of free:total swap drops below threshold_pct %'."""
    machines = [look.machine for look in looks]
    return [one.swap_free_bytes < one.swap_total_bytes * threshold_percent / 100 for one in machines]


def scanned(before: Readings, now: Readings, paths: Sequence[str]) -> dict[str, int]:
    """How much each was scanned: 'Kills the child with the highest pg scan rate'."""
    pages = [[look.cgroups[path].scanned_pages or 0 for path in paths] for look in (before, now)]
    return {path: after - first for path, first, after in zip(paths, *pages, strict=True)}


def rested(fires: Sequence[bool], delay_s: int) -> list[int]:
    """At which looks it kills: 'the ruleset is paused for post_action_delay seconds' after each."""
    killed: list[int] = []
    for look, truth in enumerate(fires):
        if truth and (not killed or (look - killed[-1]) * INTERVAL_S >= delay_s):
            killed.append(look)
    return killed
