"""A policy kept in force by a backend: look at the machine, let the engine decide, put in force.

Belongs here: what is done at a look, and that trouble is one line. Must not know: waiting, signals.
"""

from __future__ import annotations

import os
import time
import traceback
from dataclasses import dataclass, replace
from typing import Final

from oompolicy.assign import Assignment, assigned
from oompolicy.backends.backend import Backend, Bell, TakeSnapshot
from oompolicy.engine import Blind, Enforce, Event, Looked, Reconfigured, Say, State, step
from oompolicy.errors import OompolicyError
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit
from oompolicy.policy.scoring import Scoring
from oompolicy.rules.judge import Armed
from oompolicy.rules.rule import Budget
from oompolicy.service.log import log

# Looks that something else than time brings on: so far apart at least, and a tenth of the time at most.
HURRIED_EVERY_MS: Final = 500
HURRIED_SHARE: Final = 10


@dataclass(frozen=True, slots=True)
class Orders:
    """What may be changed while the daemon runs."""

    policy: Policy
    assign: tuple[Assignment, ...]
    interval_ms: int
    limit: CallLimit
    rules: tuple[Armed, ...] = ()
    budget: Budget | None = None  # of all rules together


class Upkeep:
    """One backend at work for one policy."""

    def __init__(self, backend: Backend, take_snapshot: TakeSnapshot, orders: Orders) -> None:
        self._backend = backend
        self._take_snapshot = take_snapshot
        self._orders = orders
        self._scoring = Scoring(orders.policy, orders.limit)
        self._state = State(orders.interval_ms)
        self._hurried_ms: int | None = None
        self._looked_ms = 0
        self._took_ms = 0

    @property
    def due_ms(self) -> int:
        """When to look next."""
        return self._state.look_at_ms if self._hurried_ms is None else min(self._state.look_at_ms, self._hurried_ms)

    def start(self) -> None:
        """Raises what the backend's start raises."""
        for line in self._backend.start(self._take_snapshot()):
            log(line)
        log(f"policy {self._orders.policy.name}, backend {self._backend.name}, pid {os.getpid()}")

    def run_once(self) -> None:
        """Put the policy in force once. Raises where that fails."""
        for line in self._backend.start(self._take_snapshot()):
            log(line)
        for note in dict.fromkeys(self._seen().notes):
            log(note)
        self._backend.enforce()

    def look(self, now_ms: int) -> None:
        """Later trouble is one line in the log, and what is in force stays."""
        began_ns = time.thread_time_ns()
        self._hurried_ms = None
        try:
            self._apply(self._seen(), now_ms)
        except OompolicyError as error:
            self._apply(Blind(str(error)), now_ms)
        except Exception as error:  # a bug of ours must not leave the machine without what is in force
            self._apply(Blind(a_bug(error)), now_ms)
        self._looked_ms = now_ms
        self._took_ms = (time.thread_time_ns() - began_ns) // 1_000_000

    def hurry(self, now_ms: int) -> None:
        """Something has changed: look now, or as soon as looks have rested for nine times as long as one takes."""
        soonest_ms = self._looked_ms + max(HURRIED_EVERY_MS, self._took_ms * HURRIED_SHARE)
        if self._hurried_ms is None:
            self._hurried_ms = max(now_ms, soonest_ms)

    @property
    def bell(self) -> Bell | None:
        """Rings when the kernel has chosen somebody; None where nobody rings."""
        return self._backend.bell

    def rung(self, now_ms: int) -> None:
        """The bell has rung: there is an OOM to tell of, and the machine is another."""
        if self._backend.bell is not None:
            self._backend.bell.silence()
        self.hurry(now_ms)

    def obey(self, orders: Orders, now_ms: int) -> None:
        """Other orders from now on."""
        self._orders = orders
        self._scoring = Scoring(orders.policy, orders.limit)
        self._apply(Reconfigured(orders.interval_ms), now_ms)

    def put_back(self) -> None:
        """Undo everything, as far as that goes."""
        try:
            for line in self._backend.put_back(self._take_snapshot):
                log(line)
        except OompolicyError as error:
            log(f"{error}: not everything is put back: run `oompolicy restore`")

    def close(self) -> None:
        """Let go of what is held."""
        self._backend.close()

    def _seen(self) -> Looked:
        found = self._scoring.scored(assigned(self._take_snapshot(), self._orders.assign))
        looked = self._backend.look(found.snapshot, self._orders.policy, self._orders.limit)
        if found.fault is None:
            return looked
        told = f"policy {self._orders.policy.name} faulted for {found.fault.who}: {found.fault.why}: its values stay"
        return replace(looked, notes=(told, *looked.notes))

    def _apply(self, event: Event, now_ms: int) -> None:
        self._state, actions = step(self._state, event, now_ms)
        for action in actions:
            if isinstance(action, Say):
                log(action.text)
            elif isinstance(action, Enforce):
                enforced = self._backend.enforce()
                if enforced.changed:
                    log(f"{action.why}: {enforced.changed} set anew")
                self._apply(enforced, now_ms)


def a_bug(error: Exception) -> str:
    """An error that is no person's to mend, with its place."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{where.filename.rpartition('/')[2]}:{where.lineno}"
    return f"{type(error).__name__}: {error} ({place}): please report this"
