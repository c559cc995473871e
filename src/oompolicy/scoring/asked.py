"""What scorers ask of the machine at one look: read once, and only if it is asked for.

Belongs here: the questions, and the comparison with their last answers. Must not know: files, scorers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from oompolicy.mm.sched import Task
from oompolicy.rules.fields import Field
from oompolicy.rules.look import MACHINE, Look
from oompolicy.rules.readings import CgroupReading, MachineReading, Readings
from oompolicy.scoring.identity import task_identity

# Fields of a cgroup read nothing of the machine.
_UNREAD: Final = MachineReading()

_Cgroup = tuple[str, tuple[str, ...]]  # its path, and the files that were read
_Counted = tuple[str | int, ...]


class Senses(Protocol):
    """What is read of a machine that is at hand, now, on request; None where it is gone, or not known here."""

    def machine(self) -> MachineReading | None:
        """Amounts, pressure, counters."""

    def cgroup(self, path: str, files: tuple[str, ...]) -> CgroupReading | None:
        """What these files of a cgroup say (their names in v2)."""

    def faults(self, task: Task) -> int | None:
        """How many pages the process has faulted in since it began."""

    def charges(self, path: str) -> int | None:
        """How many pages the cgroup's processes have faulted in, or were charged, since it was made."""


@dataclass(slots=True)
class Answers:
    """Of one look, by what was asked. at_ms: when."""

    at_ms: int
    machine: MachineReading | None = None
    cgroups: dict[_Cgroup, CgroupReading | None] = field(default_factory=dict)
    counters: dict[_Counted, int | None] = field(default_factory=dict)


class Asked:
    """The questions of one look. before: the answers of an earlier one; senses: None where no machine is at hand."""

    def __init__(self, at_ms: int, senses: Senses | None, before: Answers | None) -> None:
        self.answers = Answers(at_ms)
        self._senses = senses
        self._before = None if before is None or before.at_ms >= at_ms else before

    def field(self, field: Field, path: str) -> float | None:
        """A field of docs/conditions.md, of the machine ("/") or of a cgroup."""
        if not field.is_of_cgroup:
            return self._of_machine(field)
        return None if path == MACHINE else self._of_cgroup(field, path)

    def faults_per_s(self, task: Task) -> int | None:
        """Pages a second that the process has faulted in since they were asked for before."""
        senses = self._senses
        return None if senses is None else self._rate(("task", *task_identity(task)), lambda: senses.faults(task))

    def charges_per_s(self, path: str) -> int | None:
        """The same of a cgroup, see Senses.charges()."""
        senses = self._senses
        return None if senses is None else self._rate(("cgroup", path), lambda: senses.charges(path))

    def _of_machine(self, field: Field) -> float | None:
        now, before = self.answers, self._before
        if now.machine is None and self._senses is not None:
            now.machine = self._senses.machine()
        if now.machine is None:
            return None
        earlier = None if before is None or before.machine is None else Readings(before.at_ms, before.machine)
        return field.read(Look(Readings(now.at_ms, now.machine), MACHINE, earlier))

    def _of_cgroup(self, field: Field, path: str) -> float | None:
        now, before, key = self.answers.cgroups, self._before, (path, field.files)
        if key not in now:
            now[key] = None if self._senses is None else self._senses.cgroup(path, field.files)
        reading = now[key]
        if reading is None:
            return None
        was = None if before is None else before.cgroups.get(key)
        earlier = None if was is None or before is None else Readings(before.at_ms, _UNREAD, {path: was})
        return field.read(Look(Readings(self.answers.at_ms, _UNREAD, {path: reading}), path, earlier))

    def _rate(self, key: _Counted, read: Callable[[], int | None]) -> int | None:
        counters = self.answers.counters
        if key not in counters:
            counters[key] = read()
        now, before = counters[key], self._before
        was = None if before is None else before.counters.get(key)
        if now is None or was is None or before is None:
            return None
        return (now - was) * 1000 // (self.answers.at_ms - before.at_ms)
