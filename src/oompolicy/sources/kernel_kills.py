"""Whom the kernel has killed for want of memory, where no hook tells: from its log, when its counter says so.

Belongs here: noticing, and the two lines that name a victim. Must not know: whole reports (oom_report/), which a daemon
would have to load for good; policies.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final

from oompolicy.scoring.scene import PastKill
from oompolicy.sources.kept_file import number_of
from oompolicy.sources.kmsg import KernelLog

_VMSTAT_BYTES: Final = 1 << 16
# dump_oom_summary() and __oom_kill_process(), mm/oom_kill.c. The summary is there since commit ef8444ea01d7 "mm, oom:
# reorganize the oom report in dump_header" (in v5.0); before, the scope is not known here.
_SUMMARY: Final = re.compile(
    rb"oom-kill:constraint=\w+,.*?(?:,oom_memcg=(?P<scope>.*?),task_memcg=|,global_oom,task_memcg=)"
    rb"(?P<cgroup>.*),task=.*,pid=\d+,uid=\d+$"
)
_KILLED: Final = re.compile(rb"Killed process (\d+) \((.*)\)(?=,| total-vm)")


class KernelKills:
    """From now on. Opening raises OSError: there is no counter (before v4.13), or the log may not be read."""

    def __init__(self, proc: Path = Path("/proc"), kmsg: Path = Path("/dev/kmsg")) -> None:
        self._log = KernelLog(kmsg)
        try:
            self._vmstat = os.open(proc / "vmstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._log.close()
            raise
        self._count = self._counted()
        self._is_told_late = False
        self._rest: list[bytes] = []

    def take(self) -> list[PastKill]:
        """Those since the last call, in the log's order; what the log has lost is missing. Raises OSError.

        The counter goes up before the line is there (__oom_kill_process()): the log is read once more after it did.
        """
        count = self._counted()
        if count == self._count and not self._is_told_late:
            return []
        self._count, self._is_told_late = count, count != self._count
        records = [*self._rest, *self._log.new_records()]
        ends = [place for place, record in enumerate(records, start=1) if _KILLED.search(record)]
        self._rest = records[ends[-1] if ends else 0 :] if self._is_told_late else []
        return kills_in(records)

    def close(self) -> None:
        """Let go."""
        self._log.close()
        os.close(self._vmstat)

    def _counted(self) -> int | None:
        return number_of(b"\n" + os.pread(self._vmstat, _VMSTAT_BYTES, 0), b"\noom_kill ")


def kills_in(records: list[bytes]) -> list[PastKill]:
    """The kills in records of /dev/kmsg ("LEVEL,SEQ,MICROSECONDS,FLAGS;TEXT").

    The summary's cgroup is that of the first kill after it (its pid may be of a thread that outlives its leader); a
    group's members follow with lines of their own, of the same scope.
    """
    from_boot_ms = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()) // 1_000_000
    found: list[PastKill] = []
    scope, cgroup = None, None
    for record in records:
        head, _, text = record.partition(b";")
        line = text.partition(b"\n")[0]
        if summary := _SUMMARY.search(line):
            is_of_machine = summary["scope"] is None
            scope = "/" if is_of_machine else _text(summary["scope"])
            cgroup = _text(summary["cgroup"])
        elif killed := _KILLED.search(line):
            at_ms = int(head.split(b",")[2]) // 1000 + from_boot_ms
            found.append(PastKill(at_ms, int(killed[1]), _text(killed[2]), cgroup, "kernel", scope))
            cgroup = None
    return found


def _text(name: bytes) -> str:
    return name.decode(errors="replace")
