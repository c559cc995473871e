"""The one loop: wait for whatever comes first, and do what it asks for.

Belongs here: one poll(), signals, the order of things. Must not know: what a look is, when one is due, who is to go.
"""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from oompolicy.backends.backend import Backend, Bell, TakeSnapshot
from oompolicy.daemon.console import Console
from oompolicy.daemon.reload import Reload, Reloading, at_once
from oompolicy.daemon.rule_watch import RuleWatch, Sensing
from oompolicy.daemon.signals import LOOK_NOW, RELOAD, STOP, Signals
from oompolicy.daemon.upkeep import Orders, Upkeep
from oompolicy.errors import BackendError, OompolicyError
from oompolicy.rules.judge import Armed
from oompolicy.scoring.scene import PastKill
from oompolicy.service.log import log
from oompolicy.service.notify import Notify
from oompolicy.service.own_time import Turns
from oompolicy.values.order import ValueOrder

# systemd wants a sign of life within its time; half of it leaves room (sd_watchdog_enabled(3)).
_WATCHDOG_SHARE: Final = 2


class Daemon:
    """A policy kept in force by a backend, and rules watched over, until a signal says to stop.

    reload gives new orders on SIGHUP; where it raises, the old ones stay. Without a backend there are rules alone;
    open_sensing opens what other rules read.
    """

    def __init__(
        self,
        backend: Backend | None,
        take_snapshot: TakeSnapshot,
        orders: Orders,
        reload: Callable[[], Orders] | Reload,
        rules: RuleWatch | None = None,
        open_sensing: Callable[[Sequence[Armed]], Sensing] | None = None,
        values: ValueOrder | None = None,
    ) -> None:
        self._values = values or ValueOrder(orders.of_values)
        self._upkeep = None if backend is None else Upkeep(backend, take_snapshot, orders, self._values)
        self._console: Console | None = None
        self._rules = rules
        self._open_sensing = open_sensing
        self._reload = reload if isinstance(reload, Reload) else at_once(reload)
        self._reloading: Reloading | None = None
        self._turns = Turns()
        self._notify = Notify()
        self._alive_ms = 0
        self._bell_fd: int | None = None
        self._poll = select.poll()

    def run(self) -> None:
        """Until SIGTERM or SIGINT; then everything is put back.

        Raises what the backend's start raises. Later trouble is one line in the log, and what is in force stays.
        """
        with Signals() as signals:
            try:
                if self._upkeep is not None:
                    self._upkeep.start(self._poll)
                    self._wait_for_the_bell(self._upkeep.bell)
                if self._rules is not None:
                    self._rules.start(self._poll)
                if self._reload.changes is not None:
                    self._poll.register(self._reload.changes.fd, select.POLLIN)
                self._poll.register(signals.fd, select.POLLIN)
                if self._console is not None:
                    self._console.open(self._poll, self)
                self._notify.ready()
                while not self._is_told_to_stop(signals):
                    pass
                self._notify.stopping()
                if self._upkeep is not None:
                    self._upkeep.put_back()
            finally:
                self._close()

    def serve(self, console: Console) -> None:
        """Have requests answered while it runs."""
        self._console = console

    def go_first(self, turns: Turns) -> None:
        """What rules wait for, and they themselves, go before the work of others; everything else does not."""
        self._turns = turns

    def write_down(self, kills: Callable[[Iterable[PastKill]], None]) -> None:
        """Have it told whom the kernel has killed."""
        if self._upkeep is not None:
            self._upkeep.write_down = kills

    def look_now(self) -> None:
        """Look at once. Raises OompolicyError where nothing is kept in force, or could not be."""
        if self._upkeep is None:
            raise BackendError("look", "nothing is kept in force here: there are rules alone")
        self._upkeep.look(now_ms())
        if self._upkeep.trouble is not None:
            raise BackendError("look", self._upkeep.trouble, "see the log")

    def values_changed(self) -> None:
        """Look soon."""
        if self._upkeep is not None:
            self._upkeep.hurry(now_ms())

    def begin_reload(self) -> None:
        """As on SIGHUP."""
        self._begin_reload()

    def run_once(self) -> None:
        """Put the policy in force once, and leave it so. Raises where that fails."""
        assert self._upkeep is not None
        try:
            self._upkeep.run_once()
        finally:
            self._close()

    def _is_told_to_stop(self, signals: Signals) -> bool:
        """One turn: what is due, and then wait until something is, or somebody says something."""
        self._let_rules_have_their_turn(now_ms())
        for fd, events in self._wait(self._do_what_can_wait()):
            if self._rules is None or not self._rules.owns(fd):
                self._turns.as_others()
            if fd == signals.fd:
                if self._obey(signals.take()):
                    return True
            elif fd == self._bell_fd:
                self._oom_has_ended(now_ms())
            elif self._reload.changes is not None and fd == self._reload.changes.fd:
                self._reload.changes.take(now_ms())
            elif self._reloading is not None and fd == self._reloading.fd:
                self._take_orders()
            else:
                self._take(fd, events)
        return False

    def _wait(self, others_ms: int | None) -> Sequence[tuple[int, int]]:
        """What poll() says; nothing when others_ms has come."""
        if self._rules is None:
            return self._poll.poll(None if others_ms is None else max(others_ms - now_ms(), 0))
        if self._rules.has_rules:
            self._turns.first()
        return self._rules.wait(others_ms)

    def _let_rules_have_their_turn(self, now: int) -> None:
        """Before all others: they are for when there is no time to lose."""
        if self._rules is None:
            return
        due_ms = self._rules.due_ms
        if due_ms is not None and due_ms <= now:
            self._turns.first()
            self._rules.turn(now)

    def _take(self, fd: int, events: int) -> None:
        """What else poll() may have said something of; what a sensor tells is news for scorers, too."""
        is_news = self._upkeep is not None and self._upkeep.owns(fd)
        if self._console is not None and self._console.owns(fd):
            self._console.take(fd)
        elif not is_news and self._rules is not None:
            is_news = self._rules.woken(fd, events, now_ms())
        if is_news and self._upkeep is not None:
            self._upkeep.told(now_ms())

    def _do_what_can_wait(self) -> int | None:
        """Do what is due, rules left aside; when the next thing is, None: not before somebody says something."""
        now, next_ms = now_ms(), None
        if self._upkeep is not None:
            if self._upkeep.due_ms <= now:
                self._turns.as_others()
                self._upkeep.look(now_ms())
            next_ms = self._upkeep.due_ms
        if self._console is not None:
            if self._console.has_clients:
                self._turns.as_others()
            next_ms = _first(next_ms, self._console.turn())
        next_ms = _first(next_ms, self._see_to_changes(now))
        if self._reloading is not None:
            if self._reloading.until_ms <= now:
                self._take_orders()
            next_ms = _first(next_ms, now if self._reloading is None else self._reloading.until_ms)
        if self._notify.watchdog_ms is not None:
            if self._alive_ms <= now:
                self._notify.alive()
                self._alive_ms = now + self._notify.watchdog_ms // _WATCHDOG_SHARE
            next_ms = _first(next_ms, self._alive_ms)
        return next_ms

    def _obey(self, numbers: Iterable[int]) -> bool:
        """Is one of them to stop? Else do what they ask for."""
        for number in numbers:
            if number in STOP:
                log(f"{signal.Signals(number).name}: putting back")
                return True
            if number == RELOAD:
                self._begin_reload()
            if number == LOOK_NOW and self._upkeep is not None:
                self._upkeep.look(now_ms())
        return False

    def _wait_for_the_bell(self, bell: Bell | None) -> None:
        if bell is not None:
            self._bell_fd = bell.fileno()
            self._poll.register(self._bell_fd, select.POLLIN)

    def _oom_has_ended(self, now_ms: int) -> None:
        """The kernel has chosen somebody: a reason to look for both."""
        assert self._upkeep is not None
        self._upkeep.rung(now_ms)
        if self._rules is not None:
            self._rules.told(now_ms)

    def _see_to_changes(self, now_ms: int) -> int | None:
        """A change of the configuration that is over is a reason to reload; when to ask again."""
        changes = self._reload.changes
        if changes is None or changes.due_ms is None or changes.due_ms > now_ms:
            return None if changes is None else changes.due_ms
        self._turns.as_others()
        if changes.is_changed():
            self._begin_reload()
        return None

    def _begin_reload(self) -> None:
        self._turns.as_others()
        self._notify.reloading()
        self._end_reload()
        try:
            self._reloading = self._reload.begin(now_ms())
        except OompolicyError as error:
            self._refuse(error)
            return
        if self._reloading.fd is None:
            self._take_orders()
        else:
            self._poll.register(self._reloading.fd, select.POLLIN)

    def _take_orders(self) -> None:
        assert self._reloading is not None
        self._turns.as_others()
        try:
            orders = self._reloading.take(now_ms())
            if orders is not None and self._rules is not None and self._open_sensing is not None:
                self._rules.obey(orders.rules, orders.budget, self._open_sensing(orders.rules), now_ms())
        except OompolicyError as error:
            self._end_reload()
            self._refuse(error)
            return
        if orders is None:
            return
        self._end_reload()
        log(f"reloaded: policy {orders.policy.name}")
        self._values.obey(orders.of_values)
        if self._upkeep is not None:
            self._upkeep.obey(orders, now_ms())
        self._reload_is_over(None)

    def _refuse(self, error: OompolicyError) -> None:
        log(f"reload: {error}: the old configuration stays in force")
        self._reload_is_over(error)

    def _reload_is_over(self, error: OompolicyError | None) -> None:
        self._notify.ready()
        if self._console is not None:
            self._console.reloaded(error)

    def _end_reload(self) -> None:
        reloading, self._reloading = self._reloading, None
        if reloading is not None:
            if reloading.fd is not None:
                self._poll.unregister(reloading.fd)
            reloading.close()

    def _close(self) -> None:
        self._end_reload()
        if self._console is not None:
            self._console.close()
        if self._reload.changes is not None:
            self._reload.changes.close()
        if self._rules is not None:
            self._rules.close()
        if self._upkeep is not None:
            self._upkeep.close()
        self._notify.close()


def _first(one_ms: int | None, other_ms: int | None) -> int | None:
    if one_ms is None or other_ms is None:
        return other_ms if one_ms is None else one_ms
    return min(one_ms, other_ms)


def now_ms() -> int:
    """A clock that only goes forward, and stands still while the machine sleeps."""
    return time.monotonic_ns() // 1_000_000
