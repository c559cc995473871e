"""One rule in one scope: where it stands, and where it goes from there.

Belongs here: the phases and the table of transitions. Must not know: conditions, who is next.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final

from oompolicy.rules.condition import Memory
from oompolicy.rules.look import MACHINE
from oompolicy.rules.rule import Kill, Other, Outcome, Rule

# An executor that never answers must not hold up all rules: so long after the rule's own limits.
ORDER_LIMIT_MS: Final = 30_000

# How long the memory of the dead may take to come back.
RECOVERY_LIMIT_MS: Final = 5_000

# What makes an end of processes, and so counts against a budget.
_ENDS: Final = frozenset((*Kill, Other.RESTART))
# What is done at once, and concerns nobody's memory.
_MERELY_SAID: Final = frozenset((Other.NOTIFY, Other.NOTHING))


class Phase(enum.Enum):
    """Where a case stands."""

    WATCHING = "watching"  # it fires when its condition is true
    ORDERED = "ordered"  # an order is being carried out
    RECOVERING = "recovering"  # somebody is dead, and the memory is not back yet
    RESTING = "resting"  # its cooldown


class Signal(enum.Enum):
    """What happens to a case."""

    FIRED = "fired"
    SAID = "said"  # fired, and there is nothing to wait for: a dry run, a notification
    DIED = "died"
    FREED = "freed"
    DONE = "done"  # what was ordered is no kill
    FAILED = "failed"
    TIME_UP = "time up"


# What is not here changes nothing: an outcome that comes after its time is up, for one.
TRANSITIONS: Final = {
    (Phase.WATCHING, Signal.FIRED): Phase.ORDERED,
    (Phase.WATCHING, Signal.SAID): Phase.RESTING,
    (Phase.ORDERED, Signal.DIED): Phase.RECOVERING,
    (Phase.ORDERED, Signal.FREED): Phase.RESTING,
    (Phase.ORDERED, Signal.DONE): Phase.RESTING,
    (Phase.ORDERED, Signal.FAILED): Phase.RESTING,
    (Phase.ORDERED, Signal.TIME_UP): Phase.RESTING,
    (Phase.RECOVERING, Signal.FREED): Phase.RESTING,
    (Phase.RECOVERING, Signal.TIME_UP): Phase.RESTING,
    (Phase.RESTING, Signal.TIME_UP): Phase.WATCHING,
}

# In these nobody else may order anything about the same memory.
BUSY: Final = frozenset((Phase.ORDERED, Phase.RECOVERING))


_BLANK: Final = Memory()


@dataclass(frozen=True, slots=True)
class Case:
    """What is remembered of one rule in one scope.

    text: the condition that memory is of. until_ms: when the phase's time is up. spent_ms: when each kill was ordered
    that its budget still counts. ordered_ms: when the order that is being carried out was given, and concerns: about
    whose memory, a cgroup's path or "/".
    """

    text: str
    memory: Memory = _BLANK
    phase: Phase = Phase.WATCHING
    until_ms: int = 0
    spent_ms: tuple[int, ...] = ()
    ordered_ms: int = 0
    concerns: str = MACHINE

    def after(self, signal: Signal, rule: Rule, now_ms: int) -> Case:
        """The case after a signal; the same one where that changes nothing."""
        phase = TRANSITIONS.get((self.phase, signal))
        if phase is None:
            return self
        # What had lasted has been answered: it must last anew.
        memory = self.memory.restarted() if rule.must_last_anew else self.memory
        changed = replace(self, phase=phase, until_ms=now_ms + _lasts_ms(phase, rule), memory=memory)
        return replace(changed, ordered_ms=now_ms) if phase is Phase.ORDERED else changed


def _lasts_ms(phase: Phase, rule: Rule) -> int:
    match phase:
        case Phase.WATCHING:
            return 0
        case Phase.ORDERED:
            return rule.grace_ms + (rule.pre_kill_limit_ms if rule.pre_kill else 0) + ORDER_LIMIT_MS
        case Phase.RECOVERING:
            return RECOVERY_LIMIT_MS
        case Phase.RESTING:
            return rule.cooldown_ms


def spends(rule: Rule) -> bool:
    """Does its order count against budgets?"""
    return rule.action in _ENDS and not rule.is_dry_run


def is_merely_said(rule: Rule) -> bool:
    """Is there nothing to wait for?"""
    return rule.is_dry_run or rule.action in _MERELY_SAID


def touches_memory(rule: Rule) -> bool:
    """Must it wait for others that are busy with the same memory? A dry run waits as the real one would."""
    return rule.action not in _MERELY_SAID


def signal_of(outcome: Outcome) -> Signal:
    """What an outcome means for its case."""
    if outcome.failed is not None:
        return Signal.FAILED
    if not isinstance(outcome.order.rule.action, Kill):
        return Signal.DONE
    if not outcome.killed:
        return Signal.FAILED
    return Signal.FREED if outcome.freed_bytes > 0 else Signal.DIED
