"""What scorers may ask of this machine at a look: readings of it and of single cgroups, and how fast memory is taken.

Belongs here: which reader answers what. Must not know: who asks, what becomes of an answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from oompolicy.errors import OompolicyError
from oompolicy.mm.sched import Task
from oompolicy.rules.readings import CgroupReading, MachineReading
from oompolicy.sources.cgroup_mount import Hierarchy, find_memory_hierarchy
from oompolicy.sources.cgroup_reading import CgroupReader
from oompolicy.sources.kept_file import KeptFile, number_of
from oompolicy.sources.live import TICK_NS
from oompolicy.sources.machine_reading import RESOURCES, MachineReader
from oompolicy.sources.process_details import ProcDetails

_ALL_OF_MACHINE: Final = ("vmstat", *(f"pressure/{resource}" for resource in RESOURCES))
# v1 counts charges of anonymous memory and of the page cache (memcg1_stat_format(), mm/memcontrol-v1.c), one for a huge
# page; v2 has no such counter, and page faults come nearest (memory_stat_format(), mm/memcontrol.c). Both with what
# is below.
_CHARGES: Final = {"v1": b"\ntotal_pgpgin ", "v2": b"\npgfault "}


class LiveSenses:
    """Of the machine below these two roots. Files are opened when they are asked for, the machine's own kept."""

    def __init__(self, details: ProcDetails, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._details = details
        self._proc = proc
        self._sys = sys
        self._machine: MachineReader | None = None
        self._hierarchy: Hierarchy | None = None

    def machine(self) -> MachineReading | None:
        """Amounts, pressure, counters; None where they cannot be read."""
        try:
            if self._machine is None:
                self._machine = MachineReader(self._proc, _ALL_OF_MACHINE)
            return self._machine.read()
        except OompolicyError:
            return None

    def cgroup(self, path: str, files: tuple[str, ...]) -> CgroupReading | None:
        """What these files of a cgroup say; None where it is gone."""
        hierarchy = self._found_hierarchy()
        if hierarchy is None:
            return None
        try:
            directory = hierarchy.directory / path.lstrip("/")
            return CgroupReader(directory, path, hierarchy.version, files, is_kept=False).read()
        except OompolicyError:
            return None

    def faults(self, task: Task) -> int | None:
        """How many pages the process has faulted in since it began; None where it is gone."""
        return self._details.faults(task)

    def charges(self, path: str) -> int | None:
        """See _CHARGES; None where the cgroup is gone, or does not count."""
        hierarchy = self._found_hierarchy()
        if hierarchy is None:
            return None
        try:
            file = KeptFile(hierarchy.directory / path.lstrip("/") / "memory.stat")
            text = file.read()
            file.close()
        except OSError:
            return None
        return None if text is None else number_of(b"\n" + text, _CHARGES[hierarchy.version])

    def _found_hierarchy(self) -> Hierarchy | None:
        if self._hierarchy is None:
            self._hierarchy = find_memory_hierarchy(self._proc, self._sys)
        return self._hierarchy


def live_senses(proc: str | Path = "/proc", sys: str | Path = "/sys") -> LiveSenses:
    """Of this machine."""
    proc, sys = Path(proc), Path(sys)
    return LiveSenses(ProcDetails(proc, TICK_NS), proc, sys)
