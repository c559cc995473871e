"""Plays the rounds of /lab/plan.json, one after the other, and says on stdout what was seen.

Belongs here: the order of things. Must not know: how any of them is done.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import msgspec

from oompolicy.sources.kmsg import KernelLog

from lab.inside.force import Force
from lab.inside.round import play
from lab.inside.trace import Trace
from lab.seen import GuestSeen, line
from lab.world import Play

PLAN = Path("/lab/plan.json")
# oom_kill_process() prints ten tables in five seconds (DEFAULT_RATELIMIT_BURST, _INTERVAL); a round may have two.
REPORTS_AT_MOST, REPORTS_WITHIN_S = 8, 5.2
REPORT_BEGINS = "invoked oom-killer"


class Pace:
    """Holds rounds back so that none of their reports is left out by the kernel's own limit."""

    def __init__(self) -> None:
        self._reports_s: list[float] = []

    def wait(self) -> None:
        """Until there is room for a round's reports."""
        recent = self._reports_s[-REPORTS_AT_MOST:]
        if len(recent) == REPORTS_AT_MOST:
            time.sleep(max(recent[0] + REPORTS_WITHIN_S - time.monotonic(), 0))

    def note(self, log: str) -> None:
        """The reports of a round that has just ended."""
        self._reports_s += [time.monotonic()] * log.count(REPORT_BEGINS)


def main() -> None:
    """Play all rounds; a round that fails is said, and the next one is played."""
    plays = msgspec.json.decode(PLAN.read_bytes(), type=list[Play])
    ready_after_s = time.monotonic()  # a guest's clock starts when it boots
    said = subprocess.run(["dmesg"], capture_output=True, text=True, errors="replace", check=False).stdout
    mem_total_kb = int(Path("/proc/meminfo").read_text().split()[1])
    print(line(guest=GuestSeen(os.uname().release, said, ready_after_s, mem_total_kb)), flush=True)
    with KernelLog() as log, Trace(points=any(each.trace_points for each in plays)) as trace:
        pace, force = Pace(), Force()
        for each in plays:
            pace.wait()
            print(line(doing=f"round {each.number}"), flush=True)
            seen = play(each, log, trace, force)
            pace.note(seen.log)
            print(line(seen=seen), flush=True)
        force.stop()


if __name__ == "__main__":
    main()
