"""An entry of the history as one literal. Must not know: what is tested."""

from __future__ import annotations

from oompolicy.rules.rule import Victim
from oompolicy.service.history import Entry

KILL = Entry(
    time_ms=1_700_000_000_000,
    by="rule",
    rule="low",
    action="kill",
    scope="/",
    victims=(Victim(42, "sort"),),
    killed=1,
    cgroup="/batch",
    why="mem_available_percent 4.0 < 5",
    freed_bytes=1 << 20,
    failed=None,
    dry_run=False,
)
