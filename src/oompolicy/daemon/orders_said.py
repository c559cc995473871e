"""Orders that are only said: what a rule would have done.

Belongs here: the words. Must not know: how an order would be carried out.
"""

from __future__ import annotations

from oompolicy.rules.rule import Order, Outcome
from oompolicy.service.log import log


class _Said:
    """An order that is over as soon as it is begun."""

    wake_at_ms = 0

    def __init__(self, order: Order) -> None:
        self._order = order

    def fds(self) -> tuple[int, ...]:
        """None."""
        return ()

    def advance(self, now_ms: int) -> Outcome:
        """Nothing was done."""
        return Outcome(self._order, at_ms=now_ms, failed="nothing is carried out here, only said")

    def close(self) -> None:
        """Nothing is held."""


def said_only(order: Order, now_ms: int) -> _Said:
    """Say it."""
    where = "the machine" if order.scope == "/" else f"cgroup {order.scope}"
    what = order.rule.action.value
    log(f"rule {order.rule.name}, {where}: {order.why}: would {what}")
    return _Said(order)
