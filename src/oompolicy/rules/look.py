"""What the condition of one rule sees for one scope: the readings now, and some from before to compare with.

Belongs here: the pair of readings. Must not know: fields by name, conditions.
"""

from __future__ import annotations

from dataclasses import dataclass

from oompolicy.rules.readings import CgroupReading, MachineReading, Readings

MACHINE = "/"  # the scope of a rule for the whole machine


@dataclass(frozen=True, slots=True)
class Look:
    """Readings for one scope, a cgroup's path or "/" for the machine; before: earlier ones, None at first."""

    now: Readings
    scope: str = MACHINE
    before: Readings | None = None

    @property
    def machine(self) -> MachineReading:
        """The machine now."""
        return self.now.machine

    @property
    def cgroup(self) -> CgroupReading | None:
        """The scope's cgroup now; None where it was not read, as for the machine."""
        return self.now.cgroups.get(self.scope)

    @property
    def earlier(self) -> Look | None:
        """The same scope before; it has no earlier itself. None where there is none, or the clock has not moved."""
        if self.before is None or self.before.at_ms >= self.now.at_ms:
            return None
        return Look(self.before, self.scope)

    def is_first(self, of_cgroup: bool) -> bool:
        """Is there nothing to compare with: no earlier look, or none that has read the scope's cgroup, which is new?"""
        return self.earlier is None or (of_cgroup and self.earlier.cgroup is None)

    @property
    def span_s(self) -> float:
        """Seconds between the two; 0 where there is nothing earlier."""
        return 0.0 if self.before is None else max(self.now.at_ms - self.before.at_ms, 0) / 1000
