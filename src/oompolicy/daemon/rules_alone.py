"""The place of a backend where rules alone decide, and scorers are to be asked all the same: for what rules choose by.

Belongs here: keeping nothing in force. Must not know: rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oompolicy.backends.backend import TakeSnapshot
from oompolicy.engine import Enforced, Looked
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit
from oompolicy.scoring.scene import PastKill
from oompolicy.snapshot import Snapshot


class RulesAlone:
    """A look at the machine is all that there is to it."""

    name = "kill"
    bell = None

    def __init__(self, kills: Callable[[], Sequence[PastKill]] = tuple) -> None:
        self._kills = kills

    def start(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Nothing is left by anybody."""
        return ()

    def take_kills(self, snapshot: Snapshot) -> tuple[PastKill, ...]:
        """What the kernel's log says, for scorers; where it cannot be read any more, nothing."""
        try:
            return tuple(self._kills())
        except OSError:
            return ()

    def look(self, snapshot: Snapshot, policy: Policy, limit: CallLimit) -> Looked:
        """There are no scopes to hold an order in."""
        return Looked((), 0)

    def enforce(self) -> Enforced:
        """Nothing is changed."""
        return Enforced((), 0)

    def put_back(self, take_snapshot: TakeSnapshot) -> tuple[str, ...]:
        """Nothing was changed."""
        return ()

    def close(self) -> None:
        """Nothing is held."""
