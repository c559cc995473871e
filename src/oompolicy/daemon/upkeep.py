"""A policy kept in force by a backend: look at the machine, let the engine decide, put in force.

Belongs here: what is done at a look, and that trouble is one line. Must not know: waiting, signals.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from oompolicy.assign import Assignment
from oompolicy.backends.backend import Backend, Bell, TakeSnapshot
from oompolicy.daemon.stalls import Stalls
from oompolicy.engine import Blind, Enforce, Event, Looked, Reconfigured, Say, State, step
from oompolicy.errors import OompolicyError
from oompolicy.mistakes import frames_of
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit
from oompolicy.policy_limit import look_limit
from oompolicy.rules.judge import Armed
from oompolicy.rules.rule import Budget
from oompolicy.scoring.scene import PastKill
from oompolicy.scoring.scorer import Scorer
from oompolicy.service.log import log
from oompolicy.values.order import Told, ValueOrder
from oompolicy.values.unit_settings import UnitSettings


@dataclass(frozen=True, slots=True)
class Haste:
    """How long looks rest that something else than time brings on: at least, and times what the last one took."""

    rest_ms: int
    times: int


NEWS: Final = Haste(500, 9)  # of what happens on the machine: a tenth of the time at most
REQUESTED: Final = Haste(50, 1)  # by root: half of it


@dataclass(frozen=True, slots=True)
class Orders:
    """What may be changed while the daemon runs."""

    policy: Policy
    assign: tuple[Assignment, ...]
    interval_ms: int
    limit: CallLimit  # of each call of a scorer
    rules: tuple[Armed, ...] = ()
    budget: Budget | None = None  # of all rules together
    scorers: tuple[Scorer, ...] = ()
    units: UnitSettings = field(default_factory=UnitSettings)
    ttl_ms: int | None = None  # of values that a scorer does not give anew

    @property
    def of_values(self) -> Told:
        """What they say of values."""
        return Told(self.policy, self.limit, self.assign, self.scorers, self.units, self.ttl_ms)


class Upkeep:
    """One backend at work for one policy."""

    def __init__(self, backend: Backend, take_snapshot: TakeSnapshot, orders: Orders, values: ValueOrder) -> None:
        self._backend = backend
        self._take_snapshot = take_snapshot
        self._orders = orders
        self._values = values
        self._stalls = Stalls()
        self._poll: select.poll | None = None
        self._state = State(orders.interval_ms)
        self._hurried_ms: int | None = None
        self._looked_ms = 0
        self._took_ms = 0
        self.write_down: Callable[[Iterable[PastKill]], None] | None = None  # whom the kernel has killed

    @property
    def due_ms(self) -> int:
        """When to look next."""
        times = (self._state.look_at_ms, self._hurried_ms, self._values.next_end_ms)
        return min(each for each in times if each is not None)

    @property
    def trouble(self) -> str | None:
        """Why nothing can be seen, or put in force, now; None: it is."""
        return self._state.blind

    def start(self, poll: select.poll) -> None:
        """Raises what the backend's start raises."""
        for line in self._backend.start(self._take_snapshot()):
            log(line)
        log(f"policy {self._orders.policy.name}, backend {self._backend.name}, pid {os.getpid()}")
        self._poll = poll
        self._listen()

    def run_once(self) -> None:
        """Put the policy in force once. Raises where that fails."""
        for line in self._backend.start(self._take_snapshot()):
            log(line)
        for note in dict.fromkeys(self._seen(0).notes):
            log(note)
        self._backend.enforce()

    def look(self, now_ms: int) -> None:
        """Later trouble is one line in the log, and what is in force stays."""
        began_ns = time.thread_time_ns()
        self._hurried_ms = None
        self._values.forget_ended(now_ms)
        try:
            self._apply(self._seen(now_ms), now_ms)
        except OompolicyError as error:
            self._apply(Blind(str(error)), now_ms)
        except Exception as error:  # a bug of ours must not leave the machine without what is in force
            self._apply(Blind(a_bug(error)), now_ms)
        self._looked_ms = now_ms
        self._took_ms = (time.thread_time_ns() - began_ns) // 1_000_000

    def hurry(self, now_ms: int, haste: Haste = REQUESTED) -> None:
        """A value has changed: look soon."""
        due_ms = max(now_ms, self._looked_ms + max(haste.rest_ms, self._took_ms * haste.times))
        self._hurried_ms = due_ms if self._hurried_ms is None else min(due_ms, self._hurried_ms)

    def told(self, now_ms: int) -> None:
        """Something has happened on the machine: scorers, if there are any, are asked soon."""
        if self._values.has_scorers:
            self.hurry(now_ms, NEWS)

    def owns(self, fd: int) -> bool:
        """Is this descriptor one that tells of something?"""
        return self._stalls.owns(fd)

    @property
    def bell(self) -> Bell | None:
        """Rings when the kernel has chosen somebody; None where nobody rings."""
        return self._backend.bell

    def rung(self, now_ms: int) -> None:
        """The bell has rung: there is an OOM to tell of, and the machine is another."""
        if self._backend.bell is not None:
            self._backend.bell.silence()
        self.hurry(now_ms, NEWS)

    def obey(self, orders: Orders, now_ms: int) -> None:
        """Other orders from now on."""
        self._orders = orders
        self._listen()
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
        self._stalls.close()
        self._backend.close()

    def _listen(self) -> None:
        """Scorers are asked when tasks stall, too."""
        if not self._values.has_scorers:
            self._stalls.close()
        elif self._poll is not None and not self._stalls.open(self._poll):
            log("the kernel does not tell of stalls here: scorers are asked when a rule's sensors tell, and regularly")

    def _seen(self, now_ms: int) -> Looked:
        snapshot = self._take_snapshot()
        kills = self._backend.take_kills(snapshot)
        self._values.kills.extend(kills)
        if self.write_down is not None:
            self.write_down(kills)
        valued = self._values.looked(snapshot, now_ms)
        looked = self._backend.look(valued.snapshot, self._orders.policy, look_limit())
        return replace(looked, notes=(*valued.notes, *looked.notes)) if valued.notes else looked

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
    *_, (file, line) = frames_of(error)
    place = f"{file.rpartition('/')[2]}:{line}"
    return f"{type(error).__name__}: {error} ({place}): please report this"
