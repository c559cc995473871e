"""What the daemon has seen happen, as entries of the history.

Belongs here: outcomes of rules and kills of the kernel in its words, and what is not worth a line. Must not know: the
file, how it is shown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from oompolicy.rules.rule import Kill, Other, Outcome, Victim
from oompolicy.scoring.scene import PastKill
from oompolicy.service.history import Entry, History

# A rule that fails, or is dry, fires again after each cooldown: told each time, it would push out what did happen.
_REPEATED_WITHIN_MS: Final = 600_000
_REMEMBERED_MAX: Final = 256


class KeptHistory:
    """Writes down, and never raises."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._said: dict[tuple[str, str], tuple[tuple[object, ...], int]] = {}

    def ended(self, outcome: Outcome) -> None:
        """An order of a rule is over: what became of it."""
        rule = outcome.order.rule
        if rule.action is Other.NOTHING or self._is_repeated(outcome):
            return
        is_kill, is_dry = isinstance(rule.action, Kill), rule.is_dry_run
        measures = (is_kill and outcome.killed > 0) or rule.action is Other.RECLAIM
        self._history.append(
            Entry(
                time_ms=time.time_ns() // 1_000_000,
                by="rule",
                rule=rule.name,
                action=_action(rule.action),
                scope=outcome.order.scope,
                victims=outcome.victims,
                killed=outcome.killed,
                cgroup=outcome.cgroup,
                why=outcome.order.why,
                freed_bytes=outcome.freed_bytes if measures and not is_dry else None,
                failed=outcome.failed,
                dry_run=is_dry,
            )
        )

    def seen(self, kills: Iterable[PastKill]) -> None:
        """The kernel has killed them."""
        for kill in kills:
            ago_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000 - kill.at_ms
            self._history.append(
                Entry(
                    time_ms=time.time_ns() // 1_000_000 - ago_ms,
                    by="kernel",
                    rule=None,
                    action="kill",
                    scope=kill.scope,
                    victims=(Victim(kill.pid, kill.comm),),
                    killed=1,
                    cgroup=kill.cgroup,
                    why=kill.why,
                    freed_bytes=None,
                    failed=None,
                    dry_run=False,
                )
            )

    def close(self) -> None:
        """Let go of the file."""
        self._history.close()

    def _is_repeated(self, outcome: Outcome) -> bool:
        """Was nothing done, for the same reason as the last time, not long ago?"""
        rule = outcome.order.rule
        key = rule.name, outcome.order.scope
        if outcome.killed or (outcome.failed is None and not rule.is_dry_run):
            self._said.pop(key, None)
            return False
        what, now_ms = (outcome.failed, outcome.victims), time.monotonic_ns() // 1_000_000
        before, before_ms = self._said.get(key, ((), 0))
        if before == what and now_ms - before_ms < _REPEATED_WITHIN_MS:
            return True
        if len(self._said) >= _REMEMBERED_MAX:
            self._said.clear()
        self._said[key] = what, now_ms
        return False


def _action(action: Kill | Other) -> str:
    """As the configuration calls it."""
    if isinstance(action, Other):
        return action.value
    return "kill" if action is Kill.PROCESS else f"kill_{action.value}"
