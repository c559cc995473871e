"""Victims of earlier reports of the same log: where they stand in a later table, their memory was already freed.

Belongs here: remembering kills and recognizing them in a table. Must not know: how lines are read.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from oompolicy.sources.oom_report.kill_lines import Reaped
from oompolicy.sources.oom_report.report import OomReport, TaskRow

REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class _Victim:
    comm: str | None
    total_vm_kb: int | None
    left_kb: int | None  # what it held after it was reaped; None where no line says that it was


class EarlierVictims:
    """The last few thousand kills of a log, since the machine was booted."""

    def __init__(self) -> None:
        self._victims: OrderedDict[int, _Victim] = OrderedDict()
        self._seconds: float | None = None
        self._release: str | None = None

    def new_boot_if(self, seconds: float | None, release: str | None) -> None:
        """Forget all where the kernel's clock has gone back, or another kernel runs: pids began anew."""
        went_back = seconds is not None and self._seconds is not None and seconds < self._seconds
        if went_back or (release is not None and self._release not in {None, release}):
            self._victims.clear()
        self._seconds = seconds if seconds is not None else self._seconds
        self._release = release or self._release

    def among(self, report: OomReport) -> frozenset[int]:
        """The pids of rows that are earlier victims; the report's own victim is not, its pid was used again."""
        own = {pid for kill in report.kills[:1] for pid in (kill.pid, kill.chosen_pid)}
        return frozenset(
            row.pid
            for row in report.rows
            if self._was_killed(row, report.page_size_bytes) and not {row.pid, row.tgid} & own
        )

    def add(self, report: OomReport) -> None:
        """Remember the kills of a report."""
        for kill in report.kills:
            self._keep(kill.pid, _Victim(kill.comm, kill.total_vm_kb, None))

    def note_reaped(self, reaped: Reaped) -> bool:
        """An oom_reaper line; False where it names nobody who is known to have been killed."""
        victim = self._victims.get(reaped.pid)
        if victim is None or (reaped.comm is not None and victim.comm not in {None, reaped.comm}):
            return False
        self._victims[reaped.pid] = replace(victim, left_kb=reaped.left_kb)
        return True

    def _keep(self, pid: int, victim: _Victim) -> None:
        self._victims.pop(pid, None)
        self._victims[pid] = victim
        while len(self._victims) > REMEMBERED:
            self._victims.popitem(last=False)

    def _was_killed(self, row: TaskRow, page_size_bytes: int) -> bool:
        """The same pid and name, and the same address space: as large as when it was killed, or as empty as reaped."""
        victim = self._victims.get(row.tgid) or self._victims.get(row.pid)
        if victim is None or victim.comm not in {None, row.comm}:
            return False
        page_kb = page_size_bytes // 1024
        if victim.total_vm_kb is not None:
            return victim.total_vm_kb == row.total_vm_pages * page_kb
        return victim.left_kb is not None and row.rss_pages * page_kb <= victim.left_kb
