"""All sources of values, in the order in which they count.

Belongs here: the order. Must not know: how any of them comes by its values.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from oompolicy.assign import Assignment, assigned
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit
from oompolicy.scoring.asked import Senses
from oompolicy.scoring.scene import PastKill
from oompolicy.scoring.scorer import Scorer, scorers_of
from oompolicy.scoring.scoring import Scoring
from oompolicy.snapshot import Snapshot
from oompolicy.values.given import GivenValues
from oompolicy.values.unit_settings import UnitSettings
from oompolicy.values.wishes import with_wishes

KILLS_REMEMBERED: Final = 256


@dataclass(frozen=True, slots=True)
class Told:
    """What the configuration says of values."""

    policy: Policy
    limit: CallLimit
    assign: Sequence[Assignment] = ()
    scorers: Sequence[Scorer] = ()
    units: UnitSettings = field(default_factory=UnitSettings)
    ttl_ms: int | None = None


class Valued(NamedTuple):
    """The snapshot with everybody's value, and lines for the log, each worth saying once."""

    snapshot: Snapshot
    notes: tuple[str, ...] = ()


class ValueOrder:
    """From look to look. kills: whom scorers are told of as killed."""

    def __init__(self, told: Told, senses: Senses | None = None, given: GivenValues | None = None) -> None:
        self.given = GivenValues() if given is None else given
        self.kills: deque[PastKill] = deque(maxlen=KILLS_REMEMBERED)
        self._told = told
        self._scoring = Scoring(scorers_of(told.policy, told.scorers), told.limit, senses, told.ttl_ms)

    @property
    def has_scorers(self) -> bool:
        """Is there anybody to ask at a look?"""
        return self._scoring.has_any

    @property
    def next_end_ms(self) -> int | None:
        """When a value that was given for a time is over."""
        return self.given.next_end_ms

    def forget_ended(self, now_ms: int) -> None:
        """Those given for a time that is over."""
        self.given.all(now_ms)

    def obey(self, told: Told) -> None:
        """Another configuration from now on."""
        self._told = told
        self._scoring.obey(scorers_of(told.policy, told.scorers), told.limit, told.ttl_ms)

    def looked(self, snapshot: Snapshot, now_ms: int) -> Valued:
        """Everybody's value at this look; scorers are asked."""
        set_down = assigned(self._told.units.valued(snapshot), self._told.assign)
        scored = self._scoring.scored(set_down, tuple(self.kills))
        return Valued(self._lowered(self.given.valued(scored.snapshot, now_ms)), scored.notes)

    def between_looks(self, snapshot: Snapshot, now_ms: int) -> Snapshot:
        """The same with what scorers said at the last look: nobody is asked, and nothing takes long."""
        *_, (_, found) = self.steps(snapshot, now_ms)
        return found

    def steps(self, snapshot: Snapshot, now_ms: int) -> Iterator[tuple[str, Snapshot]]:
        """Source by source, the later going before the earlier: its name, and the snapshot with its values."""
        yield "set", snapshot
        # A cgroup on which a value is set has no need of its unit's.
        yield "unit", (snapshot := self._told.units.valued(snapshot))
        yield "assign", (snapshot := assigned(snapshot, self._told.assign))
        yield "scorer", (snapshot := self._scoring.as_before(snapshot))
        yield "control", (snapshot := self.given.valued(snapshot, now_ms))
        yield "owner", self._lowered(snapshot)

    def _lowered(self, snapshot: Snapshot) -> Snapshot:
        return with_wishes(snapshot) if self._told.policy.lowest_first else snapshot
