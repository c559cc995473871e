"""The one loop: look, let the engine decide, act, wait.

Belongs here: signals, the clock, the log, and the order of things. Must not know: when to act (engine), how (backends).

It imports nothing once it runs, and nothing big ever: what needs libraries (the command line, the configuration) has
been done before, and a reload is the caller's.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import FrameType, TracebackType

from oompolicy.assign import Assignment, assigned
from oompolicy.backends.backend import Backend, TakeSnapshot
from oompolicy.engine import Blind, Enforce, Event, Looked, Reconfigured, Say, State, step
from oompolicy.errors import OompolicyError
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit
from oompolicy.policy.scoring import Scoring

_STOP = frozenset({signal.SIGTERM, signal.SIGINT})
_LOOK_NOW = signal.SIGUSR1
_HANDLED = _STOP | {signal.SIGHUP, _LOOK_NOW}


@dataclass(frozen=True, slots=True)
class Orders:
    """What may be changed while the daemon runs."""

    policy: Policy
    assign: tuple[Assignment, ...]
    interval_ms: int
    limit: CallLimit


def log(text: str) -> None:
    """One line on standard error; who reads it there (journald, a terminal) adds the time."""
    printable = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    # Nobody may be listening any more: that must not stop the daemon.
    with contextlib.suppress(OSError):
        sys.stderr.write(f"oompolicy: {printable}\n")
        sys.stderr.flush()


class Daemon:
    """A policy kept in force by a backend until a signal says to stop.

    reload gives new orders on SIGHUP; where it raises, the old ones stay.
    """

    def __init__(
        self, backend: Backend, take_snapshot: TakeSnapshot, orders: Orders, reload: Callable[[], Orders]
    ) -> None:
        self._backend = backend
        self._take_snapshot = take_snapshot
        self._orders = orders
        self._reload = reload
        self._scoring = Scoring(orders.policy, orders.limit)
        self._state = State(orders.interval_ms)

    def run(self) -> None:
        """Until SIGTERM or SIGINT; then everything is put back.

        Raises what the backend's start raises. Later trouble is one line in the log, and what is in force stays.
        """
        with _Signals() as signals:
            try:
                for line in self._backend.start(self._take_snapshot()):
                    log(line)
                log(f"policy {self._orders.policy.name}, backend {self._backend.name}, pid {os.getpid()}")
                while not self._is_told_to_stop(signals):
                    self._turn()
                self._put_back()
            finally:
                self._backend.close()

    def run_once(self) -> None:
        """Put the policy in force once, and leave it so. Raises where that fails."""
        try:
            for line in self._backend.start(self._take_snapshot()):
                log(line)
            for note in dict.fromkeys(self._seen().notes):
                log(note)
            self._backend.enforce()
        finally:
            self._backend.close()

    def _turn(self) -> None:
        try:
            self._apply(self._seen())
        except OompolicyError as error:
            self._apply(Blind(str(error)))
        except Exception as error:  # a bug of ours must not leave the machine without what is in force
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename.rpartition('/')[2]}:{where.lineno}"
            self._apply(Blind(f"{type(error).__name__}: {error} ({place}): please report this"))

    def _seen(self) -> Looked:
        found = self._scoring.scored(assigned(self._take_snapshot(), self._orders.assign))
        looked = self._backend.look(found.snapshot, self._orders.policy, self._orders.limit)
        if found.fault is None:
            return looked
        told = f"policy {self._orders.policy.name} faulted for {found.fault.who}: {found.fault.why}: its values stay"
        return replace(looked, notes=(told, *looked.notes))

    def _apply(self, event: Event) -> None:
        self._state, actions = step(self._state, event, _now_ms())
        for action in actions:
            if isinstance(action, Say):
                log(action.text)
            elif isinstance(action, Enforce):
                enforced = self._backend.enforce()
                if enforced.changed:
                    log(f"{action.why}: {enforced.changed} set anew")
                self._apply(enforced)

    def _is_told_to_stop(self, signals: _Signals) -> bool:
        """Wait until it is time to look, or somebody says that it is; obey SIGHUP meanwhile."""
        while True:
            is_time = False
            for number in signals.wait(max(self._state.look_at_ms - _now_ms(), 0)):
                if number in _STOP:
                    log(f"{signal.Signals(number).name}: putting back")
                    return True
                if number == signal.SIGHUP:
                    self._reload_orders()
                is_time |= number == _LOOK_NOW
            if is_time or _now_ms() >= self._state.look_at_ms:
                return False

    def _reload_orders(self) -> None:
        try:
            self._orders = self._reload()
        except OompolicyError as error:
            log(f"reload: {error}: the old configuration stays in force")
            return
        self._scoring = Scoring(self._orders.policy, self._orders.limit)
        log(f"reloaded: policy {self._orders.policy.name}")
        self._apply(Reconfigured(self._orders.interval_ms))

    def _put_back(self) -> None:
        try:
            for line in self._backend.put_back(self._take_snapshot):
                log(line)
        except OompolicyError as error:
            log(f"{error}: not everything is put back: run `oompolicy restore`")


class _Signals:
    """Signals as bytes in a pipe, so that none is lost between two looks at it."""

    def __enter__(self) -> _Signals:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = {number: signal.signal(number, _noted) for number in _HANDLED}
        self._before_fd = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._poll = select.poll()
        self._poll.register(self._reading, select.POLLIN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._before_fd)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._reading)
        os.close(self._writing)

    def wait(self, timeout_ms: int) -> Iterator[int]:
        """Those that came, at the latest after so long."""
        if self._poll.poll(timeout_ms):
            yield from os.read(self._reading, 4096)


def _noted(number: int, frame: FrameType | None) -> None:
    """Python has written the number into the pipe; nothing else may happen in a handler."""


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
