"""When the daemon acts: pure transitions, (state, event, now) -> (state, actions).

Belongs here: when what is in force must be made anew, and what is worth a line in the log.
Must not know: clocks, files, signals, how anything is put in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

# An order that does not hold as a whole may do so after some processes have gone: try again, but not all the time.
TRY_FOR_MORE_AFTER_MS: Final = 60_000

# What has been said is said again after so much else: a log that never forgets would grow for ever.
TOLD_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Standing:
    """How well what is in force serves the policy in one scope (None: the machine).

    The first `held` of its candidates die in the policy's order. margin_pages is the growth that would change the
    first choice, None where no growth does.
    """

    scope: str | None
    candidates: int
    held: int
    totalpages: int
    margin_pages: int | None

    @property
    def is_whole(self) -> bool:
        """Does the whole order hold?"""
        return self.held == self.candidates

    @property
    def in_words(self) -> str:
        """One line for the log."""
        name = "the machine" if self.scope is None else self.scope
        if self.is_whole:
            return f"{name}: the whole order holds"
        if self.held == 0:
            return f"{name}: the order cannot be held, not even its first victim"
        return f"{name}: the first {self.held} of {self.candidates} in the order hold"


@dataclass(frozen=True, slots=True)
class Looked:
    """The machine as it is now, under what is in force: standings by scope, and what is new about it.

    crowd tells one set of candidates from another. notes are lines for the log, each worth saying once: faults of the
    policy, what others have changed. drifted is how many of what we set has been changed and is to be set again.
    stale: why what is in force must be made anew whatever the standings, None where they tell.
    """

    standings: tuple[Standing, ...]
    crowd: int
    notes: tuple[str, ...] = ()
    drifted: int = 0
    stale: str | None = None


@dataclass(frozen=True, slots=True)
class Enforced:
    """What was put in force by the action of that name: what that promises, and notes, as in Looked."""

    standings: tuple[Standing, ...]
    changed: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """Another policy, table or interval is to be obeyed from now on."""

    interval_ms: int


@dataclass(frozen=True, slots=True)
class Blind:
    """The machine could not be looked at, or what was planned not be put in force; why, in words."""

    why: str


Event: TypeAlias = Looked | Enforced | Reconfigured | Blind


@dataclass(frozen=True, slots=True)
class Enforce:
    """Make a plan for the machine as it was looked at, and put it in force. why is for the log."""

    why: str


@dataclass(frozen=True, slots=True)
class Say:
    """One line for the log."""

    text: str


Action: TypeAlias = Enforce | Say


@dataclass(frozen=True, slots=True)
class State:
    """What the engine remembers.

    promised is what was put in force last, for the candidates of promised_crowd; None: nothing yet, or nothing that
    is still valid. told are the notes already in the log, blind is why nothing can be seen or done now.
    """

    interval_ms: int
    look_at_ms: int = 0
    crowd: int = 0
    promised: tuple[Standing, ...] | None = None
    promised_crowd: int = 0
    promised_at_ms: int = 0
    told: frozenset[str] = frozenset()
    blind: str | None = None


def step(state: State, event: Event, now_ms: int) -> tuple[State, tuple[Action, ...]]:
    """The next state, and what to do. now_ms is any clock that only goes forward; look again at state.look_at_ms."""
    return _TRANSITIONS[type(event)](state, event, now_ms)


def _looked(state: State, event: Looked, now_ms: int) -> tuple[State, tuple[Action, ...]]:
    state, said = _told(state, event.notes)
    why = _why_enforce(state, event, now_ms)
    state = replace(state, look_at_ms=now_ms + state.interval_ms, crowd=event.crowd)
    return state, said if why is None else (*said, Enforce(why))


def _told(state: State, notes: tuple[str, ...]) -> tuple[State, tuple[Action, ...]]:
    """Say those that have not been said yet."""
    told = state.told if len(state.told) < TOLD_MAX else frozenset()
    new = tuple(dict.fromkeys(note for note in notes if note not in told))
    return replace(state, told=told.union(new)), tuple(map(Say, new))


def _why_enforce(state: State, event: Looked, now_ms: int) -> str | None:
    """Why what is in force must be made anew; None where it still serves, though it may not be what one would make now.

    Keeping it as long as half of its margin is left keeps the number of writes small.
    """
    if state.promised is None:
        return "the policy is new"
    if event.stale is not None:
        return event.stale
    if event.drifted:
        return f"{event.drifted} changed by somebody else"
    promised = {standing.scope: standing for standing in state.promised}
    for now in event.standings:
        before = promised.get(now.scope)
        name = "the machine" if now.scope is None else now.scope
        if before is None:
            if not now.is_whole:
                return f"{name}: a new scope"
        elif now.held < (now.candidates if before.is_whole else min(before.held, now.candidates)):
            return f"{name}: the order has changed"
        elif _margin(now) * 2 < _margin(before):
            return f"{name}: less than half of the margin is left"
    is_whole = all(standing.is_whole for standing in state.promised)
    is_time = now_ms >= state.promised_at_ms + TRY_FOR_MORE_AFTER_MS
    if not is_whole and is_time and event.crowd != state.promised_crowd:
        return "more of the order may hold now"
    return None


def _margin(standing: Standing) -> int:
    """In pages; nothing grows beyond the size of its scope."""
    return standing.totalpages if standing.margin_pages is None else min(standing.margin_pages, standing.totalpages)


def _enforced(state: State, event: Enforced, now_ms: int) -> tuple[State, tuple[Action, ...]]:
    news = tuple(Say(line) for line in _news(state.promised, event.standings))
    state, said = _told(state, event.notes)
    state = replace(state, promised=event.standings, promised_crowd=state.crowd, promised_at_ms=now_ms, blind=None)
    return state, (*news, *said)


def _news(before: Iterable[Standing] | None, now: tuple[Standing, ...]) -> list[str]:
    """Lines for the scopes that went from whole to not, or back; at first for all that are not whole."""
    was_whole = {standing.scope: standing.is_whole for standing in before or ()}
    lines = [standing.in_words for standing in now if standing.is_whole != was_whole.get(standing.scope, True)]
    if before is None and now:
        whole = sum(standing.is_whole for standing in now)
        lines.insert(0, f"the whole order holds in {whole} of {len(now)} scopes")
    return lines


def _reconfigured(state: State, event: Reconfigured, now_ms: int) -> tuple[State, tuple[Action, ...]]:
    return State(event.interval_ms, look_at_ms=now_ms), ()


def _blind(state: State, event: Blind, now_ms: int) -> tuple[State, tuple[Action, ...]]:
    """Say it once, keep what is in force, look again; what was half put in force is made anew."""
    said = () if event.why == state.blind else (Say(event.why),)
    return replace(state, look_at_ms=now_ms + state.interval_ms, promised=None, blind=event.why), said


_TRANSITIONS: Final[dict[type, Callable[..., tuple[State, tuple[Action, ...]]]]] = {
    Looked: _looked,
    Enforced: _enforced,
    Reconfigured: _reconfigured,
    Blind: _blind,
}
