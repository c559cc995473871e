"""The backend dry_run: all that oom_score_adj does, but for doing it.

Belongs here: pretending to write, and saying what would be written. Must not know: how a plan is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from oompolicy.backends.backend import TakeSnapshot
from oompolicy.backends.oom_score_adj.backend import OomScoreAdj
from oompolicy.backends.oom_score_adj.originals import Identity, identity_of
from oompolicy.backends.oom_score_adj.process import Written
from oompolicy.snapshot import Snapshot

# Beyond so many lines at once a number says as much.
_SAID_MAX = 20


class Pretended:
    """What would have been written, and a line for each."""

    may_lower = True

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._adj: dict[Identity, int] = {}
        self._said = 0

    def as_written(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot as if all had been written."""
        self._said = 0
        tasks = []
        pretended = {}
        for task in snapshot.kernel.tasks:
            identity = identity_of(task)
            if identity is not None and identity in self._adj:
                pretended[identity] = self._adj[identity]
                task = replace(task, oom_score_adj=pretended[identity])
            tasks.append(task)
        self._adj = pretended
        return replace(snapshot, kernel=replace(snapshot.kernel, tasks=tuple(tasks)))

    def write(self, identity: Identity, comm: str, before: int, adj: int) -> Written:
        """Say it instead."""
        self._adj[identity] = adj
        self._said += 1
        if self._said <= _SAID_MAX:
            self._say(f"would set oom_score_adj of {comm} ({identity.pid}) from {before} to {adj}")
        elif self._said == _SAID_MAX + 1:
            self._say("and so on")
        return Written.DONE


class DryRun(OomScoreAdj):
    """The backend oom_score_adj without any effect; say gets the lines."""

    name = "dry_run"

    def __init__(self, say: Callable[[str], None], within: str | None = None) -> None:
        super().__init__(Pretended(say), None, "correct", within)

    def put_back(self, take_snapshot: TakeSnapshot) -> tuple[str, ...]:
        """Nothing was changed."""
        return ()
