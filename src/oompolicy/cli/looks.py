"""Looks at this machine, one after the other, as the daemon takes them: what `top` shows.

Belongs here: what a look has, and what is remembered between two. Must not know: how it is shown, when one is taken.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from oompolicy.backends.hook.in_force import InForce, is_hidden, read_in_force
from oompolicy.cli.inputs import without
from oompolicy.cli.past_kills import past_kills
from oompolicy.config import Config
from oompolicy.errors import OompolicyError
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import Decision, decide
from oompolicy.policy_limit import call_limit, look_limit
from oompolicy.rules.readings import MachineReading
from oompolicy.scorer_file import load_scorer
from oompolicy.service.history import Entry, last_change
from oompolicy.sources.live import live_snapshot
from oompolicy.sources.machine_reading import MachineReader
from oompolicy.sources.senses import live_senses
from oompolicy.sources.unit_files import read_unit_settings
from oompolicy.values.order import Told, ValueOrder

_HIDDEN: Final = "only root sees it"


class Look(NamedTuple):
    """The machine at one moment. in_force, last_kill: None where there is none; a sentence where it cannot be told.

    notes: what is missing, and what went wrong, in sentences.
    """

    time_ms: int
    reading: MachineReading
    in_force: InForce | str | None
    last_kill: Entry | str | None
    decision: Decision
    page_size_bytes: int
    notes: tuple[str, ...]


class Looks:
    """Scorers see each look, and so growth; values come in the daemon's order."""

    def __init__(self, policy: Policy, config: Config, scope: str | None) -> None:
        """Raises OompolicyError where a scorer does not load, or the machine cannot be read."""
        self._policy = policy
        self._scope = scope
        self._state_dir = config.state_dir
        units = read_unit_settings()
        self._unit_notes = units.notes
        scorers = tuple(load_scorer(name) for name in config.scorers)
        told = Told(policy, call_limit(), config.assign, scorers, units)
        self._values = ValueOrder(told, live_senses())
        self._machine = MachineReader(Path("/proc"), ("vmstat", "pressure/memory"))
        self._killed: tuple[object, object] | None = None
        self._last_kill: Entry | str | None = None

    def take(self) -> Look:
        """Look. Raises GoneError where the scope is not there any more."""
        reading = self._machine.read()
        seen = without(live_snapshot(), os.getpid())
        snapshot, of_values = self._values.looked(seen, time.monotonic_ns() // 1_000_000)
        oc = snapshot.oom_control(self._scope)
        decision = decide(oc, self._policy, snapshot.taken_boottime_ns, look_limit())
        notes = (*snapshot.missing, *self._unit_notes, *of_values, *self._faults(decision))
        return Look(
            time.time_ns() // 1_000_000,
            reading,
            _in_force(),
            self._last_of_history(reading),
            decision,
            snapshot.page_size_bytes,
            notes,
        )

    def close(self) -> None:
        """Let go of files."""
        self._machine.close()

    def _faults(self, decision: Decision) -> Iterator[str]:
        faults = decision.faults
        if faults:
            yield (
                f"policy {self._policy.name} faulted for {len(faults)} of {len(decision.candidates)} tasks, "
                f"first for {faults[0].who}: {faults[0].why}; each counts as DEFER"
            )

    def _last_of_history(self, reading: MachineReading) -> Entry | str | None:
        """Read anew only when somebody has been killed: to go through the kernel's log takes a while."""
        killed = last_change(self._state_dir), reading.oom_kills
        if killed != self._killed:
            self._killed = killed
            try:
                kills = past_kills(self._state_dir).kills
            except OompolicyError as error:
                self._last_kill = str(error)
            else:
                happened = [past.entry for past in kills if past.entry.victims and not past.entry.dry_run]
                self._last_kill = happened[-1] if happened else None
        return self._last_kill


def _in_force() -> InForce | str | None:
    try:
        return read_in_force() or (_HIDDEN if is_hidden() else None)
    except OompolicyError as error:
        return str(error)
