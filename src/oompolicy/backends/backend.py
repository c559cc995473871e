"""What the daemon asks of a backend.

Belongs here: the questions. Must not know: how any backend answers them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from oompolicy.engine import Enforced, Looked
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit
from oompolicy.scoring.scene import PastKill
from oompolicy.snapshot import Snapshot

TakeSnapshot: TypeAlias = Callable[[], Snapshot]


class Bell(Protocol):
    """What the kernel rings when it has chosen somebody."""

    def fileno(self) -> int:
        """For poll(): readable once it has rung."""

    def silence(self) -> None:
        """Until it rings the next time."""


class Backend(Protocol):
    """A way to make a policy the kernel's own choice.

    Each may raise OompolicyError; what was in force stays in force then.
    """

    name: str

    def start(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Before anything else: see to what an earlier daemon has left. The lines are for the log."""

    def take_kills(self, snapshot: Snapshot) -> tuple[PastKill, ...]:
        """Whom the kernel has killed since this was asked last, as far as it can be told."""

    @property
    def bell(self) -> Bell | None:
        """From start() to close(); None where nobody rings."""

    def look(self, snapshot: Snapshot, policy: Policy, limit: CallLimit) -> Looked:
        """How what is in force serves the policy now. The snapshot has the table of values applied."""

    def enforce(self) -> Enforced:
        """Put the policy in force for the machine as it was looked at last."""

    def put_back(self, take_snapshot: TakeSnapshot) -> tuple[str, ...]:
        """Undo everything. The lines are for the log."""

    def close(self) -> None:
        """Let go of what is held; nothing is put back."""
