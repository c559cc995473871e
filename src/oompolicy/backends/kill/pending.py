"""What the loop sees of an action under way, and what actions stand on.

Belongs here: the questions between the loop and an action. Must not know: what any action does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from oompolicy.rules.rule import Order, Outcome


class Pending(Protocol):
    """An order being carried out.

    Call advance at wake_at_ms, or as soon as one of fds() is readable, until it gives the outcome; it never waits.
    Whoever waits may set wake_at_ms to an earlier time; each step sets it anew.
    """

    wake_at_ms: int

    def fds(self) -> tuple[int, ...]:
        """Descriptors that are readable when there is something to do."""

    def advance(self, now_ms: int) -> Outcome | None:
        """The next step, if it is due; the outcome once there is one."""

    def close(self) -> None:
        """Let go of what is held; what has been done stays."""


class Runner(Protocol):
    """Who runs commands, so that the one who kills need not fork."""

    def start(self, argv: tuple[str, ...], env: Mapping[str, str], limit_ms: int) -> int | None:
        """Run a command, and end it after so long. A ticket; None where commands cannot be run any more."""

    def ended(self, ticket: int) -> str | None:
        """How it ended, in words; None while it runs."""

    def fds(self) -> tuple[int, ...]:
        """Readable when a command has ended."""


Say = Callable[[str], None]


class Done:
    """An order that is over as soon as it is begun."""

    wake_at_ms = 0

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def fds(self) -> tuple[int, ...]:
        """None."""
        return ()

    def advance(self, now_ms: int) -> Outcome | None:
        """What became of it."""
        return self._outcome

    def close(self) -> None:
        """Nothing is held."""


def why(order: Order) -> str:
    """How an order is called in the log."""
    where = "the machine" if order.scope == "/" else f"cgroup {order.scope}"
    return f"rule {order.rule.name}: {where}: {order.why}"
