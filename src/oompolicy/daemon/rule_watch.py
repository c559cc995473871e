"""Rules watched over: look when something may have changed, judge, have it done, look again.

Belongs here: the order of these, and that trouble in one of them is a line in the log. Must not know: what is true of a
condition (rules/), where readings come from (sources/), how an order is carried out (backends/kill).
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import NamedTuple, Protocol

from oompolicy.daemon.upkeep import a_bug
from oompolicy.errors import OompolicyError
from oompolicy.rules.ebb import Ebb, noticed
from oompolicy.rules.judge import Armed, Judgement
from oompolicy.rules.pace import (
    ALERT_SHARE,
    CALM_SHARE,
    CLOSE_MS,
    NEAR_MS,
    RESTS_AT_MOST_MS,
    SUSTAINED_EVERY_MS,
    Amounts,
    Glances,
    Pace,
    Seen,
    glance_wait_ms,
    glanced,
    left_ms,
    looked,
    told,
)
from oompolicy.rules.readings import Readings
from oompolicy.rules.rule import Budget, Order, Outcome
from oompolicy.rules.watch import EventsWatch, PsiWatch, Sensors
from oompolicy.service.log import log


class Sensing(Protocol):
    """Readings, and what wakes (sources/sensors.py)."""

    notes: list[str]
    generation: int

    @property
    def paths(self) -> Iterable[str]: ...  # noqa: D102
    @property
    def is_blind(self) -> bool: ...  # noqa: D102
    def register(self, poll: select.poll) -> None: ...  # noqa: D102
    def owns(self, fd: int) -> bool: ...  # noqa: D102
    def take(self, fd: int, events: int) -> bool: ...  # noqa: D102
    def follow(self, paths: Iterable[str]) -> None: ...  # noqa: D102
    def arm(self, pressures: Iterable[PsiWatch], files: Iterable[EventsWatch]) -> None: ...  # noqa: D102
    def glance(self) -> Amounts: ...  # noqa: D102
    def read(self, at_ms: int) -> Readings: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Judges(Protocol):
    """Rules with what they remember (judging.py)."""

    @property
    def has_rules(self) -> bool: ...  # noqa: D102
    @property
    def scopes(self) -> frozenset[str]: ...  # noqa: D102
    def set_paths(self, paths: Iterable[str]) -> None: ...  # noqa: D102
    def looked(self, readings: Readings) -> Judgement: ...  # noqa: D102
    def ended(self, outcome: Outcome, now_ms: int) -> Judgement: ...  # noqa: D102
    def sensors(self) -> Sensors: ...  # noqa: D102
    def replace(self, rules: Sequence[Armed], overall: Budget | None) -> None: ...  # noqa: D102


class Pending(Protocol):
    """An order being carried out (backends/kill/pending.py): advance it at wake_at_ms, or when a descriptor tells."""

    wake_at_ms: int

    def fds(self) -> tuple[int, ...]: ...  # noqa: D102
    def advance(self, now_ms: int) -> Outcome | None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Keeper(Protocol):
    """What was set for a time (backends/kill/changes.py), and who is told of whom rules have killed."""

    def ended(self, outcome: Outcome) -> None: ...  # noqa: D102
    def next_due_ms(self) -> int | None: ...  # noqa: D102
    def undo_due(self, now_ms: int) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


Act = Callable[[Order, int], Pending]  # the order, now_ms; may raise OompolicyError


class Clocks(NamedTuple):
    """now_ms only goes forward. cpu_ns is the time that this thread has been on a CPU."""

    now_ms: Callable[[], int]
    cpu_ns: Callable[[], int]


class RuleWatch:
    """What a look took is reckoned by clocks.cpu_ns; an order under way has the time of clocks.now_ms."""

    def __init__(
        self, sensing: Sensing, judges: Judges, act: Act, clocks: Clocks, keeper: Keeper | None = None
    ) -> None:
        self._sensing = sensing
        self._judges = judges
        self._act = act
        self._keeper = keeper
        self._cpu_ns = clocks.cpu_ns
        self._now_ms = clocks.now_ms
        self._poll = select.poll()
        self._pace = Pace()
        self._look_ms: int | None = 0
        self._looked_ms: int | None = None
        self._full_ms: int | None = 0  # until then amounts alone may put the look off
        self._level: tuple[float, Amounts] | None = None  # how far the nearest was at the last look, and from where
        self._glances = Glances()
        self._ebb = Ebb()
        self._rests_until_ms = 0  # what a look may take of the time forbids another one before
        self._generation = -1
        self._follow_ms: int | None = None
        self._follows_from_ms = 0
        self._undo_ms: int | None = None  # when the keeper is next to undo something
        self._pending: dict[Pending, Order] = {}
        self._waited_for: set[int] = set()
        self._said: set[str] = set()

    def start(self, poll: select.poll) -> None:
        """Have what wakes registered with the loop's poll()."""
        self._poll = poll
        self._sensing.register(poll)
        self._say(self._sensing.notes)
        self._ask_the_keeper()

    def obey(self, rules: Sequence[Armed], overall: Budget | None, sensing: Sensing, now_ms: int) -> None:
        """Other rules from now on, and what they read; orders under way go on."""
        self._sensing.close()
        self._sensing = sensing
        self._judges.replace(rules, overall)
        self._generation = -1
        self._follows_from_ms = now_ms
        self._level = None
        self._look_ms = self._full_ms = now_ms
        self.start(self._poll)

    @property
    def has_rules(self) -> bool:
        """Is there anything to be judged?"""
        return self._judges.has_rules

    def owns(self, fd: int) -> bool:
        """Is it a descriptor of a sensor's, or of an order's under way?"""
        return self._sensing.owns(fd) or fd in self._waited_for

    @property
    def due_ms(self) -> int | None:
        """When to take a turn at the latest; None: not before something wakes."""
        if not self._pending and self._follow_ms is None and self._undo_ms is None:
            return self._look_ms
        wake_at_ms = (each.wake_at_ms for each in self._pending)
        return _first(self._look_ms, self._follow_ms, self._undo_ms, *wake_at_ms)

    def wait(self, others_ms: int | None) -> Sequence[tuple[int, int]]:
        """What the loop's poll() says; nothing when others_ms has come. Turns are taken meanwhile.

        Nothing else is asked whether it is due: glances are all that happens while memory is fine, and after seconds
        asleep every line of code comes from memory and not from a cache.
        """
        while True:
            due_ms, now_ms = self.due_ms, self._now_ms()
            if others_ms is not None and (due_ms is None or others_ms < due_ms):
                due_ms = others_ms
            told = self._poll.poll(None if due_ms is None else max(due_ms - now_ms, 0))
            now_ms = self._now_ms()
            if told or (others_ms is not None and others_ms <= now_ms):
                return told
            self.turn(now_ms)

    def woken(self, fd: int, events: int, now_ms: int) -> bool:
        """poll() has said this of a descriptor: take a turn now, if it is a reason to. Is it one of a sensor?"""
        is_reason = False
        if self._sensing.owns(fd):
            try:
                is_reason = self._sensing.take(fd, events)
            except OSError as error:
                self._say([f"sensors: {error}"])
                is_reason = True
            if is_reason:
                self.told(now_ms)
            else:
                self._follow_soon(now_ms)
        else:
            for pending in self._pending:
                if fd in pending.fds():
                    pending.wake_at_ms = now_ms
        return is_reason

    def told(self, now_ms: int) -> None:
        """Memory is short somewhere: look now, and for a while. Where one is told all the time, not all the time."""
        self._pace = told(self._pace, now_ms)
        soon_ms = now_ms if self._looked_ms is None else max(now_ms, self._looked_ms + CLOSE_MS)
        self._look_ms, self._full_ms = _first(self._look_ms, soon_ms), _first(self._full_ms, soon_ms)

    def turn(self, now_ms: int) -> None:
        """Do what is due."""
        if self._keeper is not None and self._undo_ms is not None and self._undo_ms <= now_ms:
            self._keeper.undo_due(now_ms)
            self._ask_the_keeper()
        if self._follow_ms is not None and self._follow_ms <= now_ms and self._follow(now_ms):
            # New scopes are judged soon, many at once where many come at once.
            self._look_ms = self._full_ms = _first(self._look_ms, now_ms + NEAR_MS)
        if not self._pending and self._is_put_off(now_ms):
            return
        for pending in [each for each in self._pending if each.wake_at_ms <= now_ms]:
            self._advance(pending)
        if self._look_ms is not None and self._look_ms <= now_ms:
            self._look(now_ms)
        self._wait_for_pending()
        self._ask_the_keeper()

    def _ask_the_keeper(self) -> None:
        """Only where something was done, or undone: to ask takes longer than a glance."""
        self._undo_ms = None if self._keeper is None else self._keeper.next_due_ms()

    def close(self) -> None:
        """Let go of everything; what has been begun stays done."""
        for pending in self._pending:
            pending.close()
        self._pending = {}
        if self._keeper is not None:
            self._keeper.close()
        self._sensing.close()

    def _is_put_off(self, now_ms: int) -> bool:
        """Do amounts alone say that no threshold can have been crossed?

        This is all that happens while memory is fine, and so it is kept small: after a sleep every line of code comes
        from memory, not from a cache, which costs more than running it.
        """
        if self._level is None or (self._full_ms is not None and self._full_ms <= now_ms):
            return False
        try:
            amounts = self._sensing.glance()
        except OompolicyError:
            return False
        left = left_ms(*self._level, amounts)
        self._ebb = noticed(self._ebb, amounts[1], now_ms)
        if now_ms >= self._rests_until_ms and (left <= 0 or (self._ebb.is_fast and self._has_not_looked(now_ms))):
            return False
        self._glances = glances = glanced(self._glances, left, now_ms)
        look_ms = now_ms + int(glance_wait_ms(left, glances.is_falling))
        if left <= 0:
            look_ms = self._rests_until_ms
        self._look_ms = look_ms if self._full_ms is None else min(look_ms, self._full_ms)
        return True

    def _has_not_looked(self, now_ms: int) -> bool:
        return self._looked_ms is None or now_ms >= self._looked_ms + SUSTAINED_EVERY_MS

    def _look(self, now_ms: int) -> None:
        self._looked_ms, started_ns = now_ms, self._cpu_ns()
        try:
            if self._generation != self._sensing.generation and self._follows_from_ms <= now_ms:
                self._follow(now_ms)
            readings = self._sensing.read(now_ms)
            self._follow_soon(now_ms)
            judgement = self._judges.looked(readings)
            acted_ns, again_ms = self._begin_all(judgement.orders, now_ms)
            watching = self._arm()
            _tell(judgement)
        except Exception as error:  # a bug of ours must not end what keeps the machine alive
            self._fail(error_in_words(error), now_ms)
            return
        self._aim(watching.level_ms, readings, now_ms)
        took_ms = (self._cpu_ns() - started_ns - acted_ns) / 1e6
        others = [each for each in (judgement.look_at_ms, _after(now_ms, watching.other_ms)) if each is not None]
        self._ebb = noticed(self._ebb, readings.machine.mem_available_bytes, now_ms)
        seen = Seen(watching.level_ms, min(others, default=None), self._sensing.is_blind, took_ms, self._ebb.is_fast)
        self._pace, self._look_ms = looked(self._pace, seen, now_ms)
        # In an alert, or where nobody tells, all is looked at; else amounts may speak for themselves.
        _, self._full_ms = looked(self._pace, replace(seen, earliest_ms=None), now_ms)
        self._rests_until_ms = now_ms + round(took_ms * ALERT_SHARE)
        if self._level is not None and self._look_ms is not None:
            # A threshold is near, and looks are costly: amounts alone tell in between how near it is.
            self._look_ms = min(self._look_ms, now_ms + max(round(watching.level_ms or 0), NEAR_MS))
        if again_ms is not None:
            self._look_ms = self._full_ms = _first(self._look_ms, max(again_ms, now_ms + CLOSE_MS))

    def _aim(self, level_ms: float | None, readings: Readings, now_ms: int) -> None:
        """From now on amounts are compared with these."""
        self._level = None
        if level_ms is not None:
            machine = readings.machine
            memory = machine.mem_total_bytes, machine.mem_available_bytes, machine.mem_free_bytes
            self._level = level_ms, (*memory, machine.swap_total_bytes, machine.swap_free_bytes)
            self._glances = Glances(((now_ms, level_ms),), self._glances.is_falling or self._pace.is_falling)

    def _fail(self, why: str, now_ms: int) -> None:
        self._say([why])
        self._level = None
        self._pace, self._look_ms = looked(self._pace, Seen(is_blind=True), now_ms)
        self._full_ms = self._look_ms

    def _follow_soon(self, now_ms: int) -> None:
        if self._generation != self._sensing.generation:
            self._follow_ms = _first(self._follow_ms, max(now_ms, self._follows_from_ms))

    def _follow(self, now_ms: int) -> bool:
        """There are other cgroups than before; is any of them a new scope?"""
        self._follow_ms, started_ns = None, self._cpu_ns()
        self._generation = self._sensing.generation
        before = self._judges.scopes
        self._judges.set_paths(self._sensing.paths)
        self._sensing.follow(self._judges.scopes)
        # Of 10,000 cgroups it takes 15 ms: where some come and go all the time, not each time.
        took_ms = (self._cpu_ns() - started_ns) / 1e6
        self._follows_from_ms = now_ms + round(min(took_ms * CALM_SHARE, RESTS_AT_MOST_MS))
        return not self._judges.scopes <= before

    def _arm(self) -> Sensors:
        watching = self._judges.sensors()
        self._sensing.arm(watching.psi, watching.events)
        self._say(self._sensing.notes)
        return watching

    def _begin_all(self, orders: Iterable[Order], now_ms: int) -> tuple[int, int | None]:
        """Have them done. The time on a CPU that it took, which is no look's; when to look again for one that is over.

        A kill takes a hundred times as long as a look: reckoned with it, the next look would be half a minute away.
        """
        started_ns = self._cpu_ns()
        self._look_ms = None
        for order in orders:
            self._begin(order, now_ms)
        return self._cpu_ns() - started_ns, self._look_ms

    def _begin(self, order: Order, now_ms: int) -> None:
        with _about(order):
            try:
                pending = self._act(order, now_ms)
            except Exception as error:  # one order that goes wrong must not end the watch over the others
                log(f"rule {order.rule.name}: {error_in_words(error)}")
                self._ended(Outcome(order, at_ms=now_ms, failed=str(error)), now_ms)
                return
        self._pending[pending] = order
        self._advance(pending)

    def _advance(self, pending: Pending) -> None:
        """With a time of its own: to choose the victim took a look at all processes, and others may be before it."""
        order, now_ms = self._pending[pending], self._now_ms()
        with _about(order):
            try:
                outcome = pending.advance(now_ms)
            except Exception as error:  # as in _begin()
                log(error_in_words(error))
                outcome = Outcome(order, at_ms=now_ms, failed=str(error))
        if outcome is not None:
            del self._pending[pending]
            pending.close()
            self._ended(outcome, now_ms)

    def _ended(self, outcome: Outcome, now_ms: int) -> None:
        """An order is over, in whatever way: the rule rests, and is judged again when it has."""
        if self._keeper is not None:
            self._keeper.ended(outcome)
        judgement = self._judges.ended(outcome, now_ms)
        _tell(judgement)
        if judgement.look_at_ms is not None:
            self._look_ms = _first(self._look_ms, judgement.look_at_ms)
            self._full_ms = _first(self._full_ms, judgement.look_at_ms)

    def _wait_for_pending(self) -> None:
        """Have poll() wait for what the orders under way wait for, and no longer for what they do not."""
        wanted = {fd for pending in self._pending for fd in pending.fds()}
        for fd in self._waited_for - wanted:
            try:
                self._poll.unregister(fd)
            except KeyError:
                continue
        for fd in wanted - self._waited_for:
            self._poll.register(fd, select.POLLIN)
        self._waited_for = wanted

    def _say(self, sentences: Iterable[str]) -> None:
        """What has been said is not said again, until it has been long ago."""
        for sentence in sentences:
            if sentence not in self._said:
                if len(self._said) > 1000:
                    self._said.clear()
                self._said.add(sentence)
                log(sentence)


def _about(order: Order) -> AbstractContextManager[None]:
    """What is said of an order can be found by its rule, and by its scope."""
    return log.about(rule=order.rule.name, scope=order.scope)


def _tell(judgement: Judgement) -> None:
    for note in judgement.notes:
        log(note)


def error_in_words(error: Exception) -> str:
    """What a person can mend, or what is to be reported."""
    return str(error) if isinstance(error, OompolicyError) else a_bug(error)


def _first(*times: int | None) -> int | None:
    return min((each for each in times if each is not None), default=None)


def _after(now_ms: int, wait_ms: int | None) -> int | None:
    return None if wait_ms is None else now_ms + wait_ms
