"""One round: a world is made, a policy put in force, something runs out, who dies is seen, everything is removed.

Belongs here: that order, and when a round is over. Must not know: what is expected beyond how many are to die.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from oompolicy.sources.kmsg import KernelLog

from lab.inside import tree
from lab.inside.crowd import Crowd
from lab.inside.force import Force
from lab.inside.trace import Trace
from lab.seen import RoundSeen
from lab.world import SYSRQ, Play, Round, kib

TICK_S = 0.02
CALM_S = 0.05  # from a kill to what it does to its victim
NOTHING_S = 3.0  # without growth or deaths: time for what was born last to find that it is too much


class TroubleError(Exception):
    """The round cannot be played as it was meant; the text says why."""


class Clock:
    """How long each part took."""

    def __init__(self) -> None:
        self.timings_s: dict[str, float] = {}
        self._since_s = time.monotonic()

    def note(self, part: str) -> None:
        """The part that has just ended."""
        now_s = time.monotonic()
        self.timings_s[part] = round(now_s - self._since_s, 4)
        self._since_s = now_s


def play(this: Play, log: KernelLog, trace: Trace, force: Force) -> RoundSeen:
    """Play one round and tell what was seen; trouble ends it early, and is told too."""
    clock, crowd, trouble = Clock(), Crowd(), None
    paths: list[str] = []
    log.new_records()
    try:
        raise_if(force.begin(this))
        paths = tree.make(this.world.cgroup)
        clock.note("cgroups")
        start(crowd, this, late=False)
        clock.note("workloads")
        if this.round.backend != "none":
            raise_if(force.put(this))
            clock.note("policy")
        start(crowd, this, late=True)
        crowd.look(0)
        raise_if(too_early(crowd))
        trace.clear()
        crowd.triggered_s = time.monotonic()
        raise_if(run_out(crowd, this))
        clock.note("run_out")
    except (TroubleError, OSError) as error:
        trouble = str(error)
    marked, records = trace.marked(crowd.triggered_s, crowd.process_of), log.new_records()
    policy_log = force.log
    trouble = trouble or force.end(this) or crowd.end()
    tree.remove(paths)
    clock.note("removal")
    return RoundSeen(
        this.number, crowd.born, crowd.deaths, marked, as_dmesg(records), policy_log, trouble, clock.timings_s
    )


def start(crowd: Crowd, this: Play, late: bool) -> None:
    """Start the workloads that are to be there before the policy, or those that come after it."""
    for workload in this.world.workload:
        if workload.late == late:
            raise_if(crowd.start(workload))


def too_early(crowd: Crowd) -> str | None:
    """Who has ended before anything was to run out; None where nobody has."""
    if not crowd.deaths:
        return None
    first = crowd.deaths[0]
    how = f"signal {first.signal}" if first.signal else f"exit status {first.status}"
    return f"{first.process.workload} ended ({how}) before anything was to run out: give it more room"


def raise_if(why: str | None) -> None:
    """Raise TroubleError where there is some."""
    if why is not None:
        raise TroubleError(why)


def run_out(crowd: Crowd, this: Play) -> str | None:
    """Let something run out, until as many have died as are awaited, and a moment more; what went wrong, or None.

    Growth is a MiB at a time and pauses from a kill until its victim has gone, so that nothing else runs out.
    """
    awaited, kills_before = this.round.deaths_awaited, oom_kills()
    deadline = crowd.triggered_s + (this.round.within_s or 0)
    step = trigger(crowd, this.round)
    kills, killed, heard = kills_before, 0, crowd.heard
    kill_s = moved_s = time.monotonic()
    is_calm = True
    while (now_s := time.monotonic()) < deadline:
        if (killed, heard) != (crowd.killed, crowd.heard):
            killed, heard, moved_s = crowd.killed, crowd.heard, now_s
        if kills != (kills := oom_kills()):
            kill_s, is_calm = now_s, False
        is_calm = is_calm or (now_s - kill_s > CALM_S and not crowd.is_somebody_dying())
        if is_calm and killed >= awaited > 0 and now_s - moved_s > this.settle_s:
            return None
        if is_calm and (killed < awaited or awaited == 0):
            if step():
                moved_s = now_s
            elif now_s - moved_s > NOTHING_S:
                is_failure = kills == kills_before and awaited > 0
                return "all has grown as far as it may, and nobody was killed" if is_failure else None
        crowd.look(TICK_S)
    return None  # who judges sees that too few have died


def trigger(crowd: Crowd, said: Round) -> Callable[[], bool]:
    """Begin; a function that goes one step on and says whether it did."""
    if said.runs_out == SYSRQ:
        Path("/proc/sysrq-trigger").write_text("f")
        return lambda: False
    assert said.by
    grower = crowd.hog_of(said.by)
    most = grower.workload.grow_to
    if grower.workload.forks:
        grower.tell(grower.workload.forks)
        return lambda: False

    def grow() -> bool:
        waits = grower.told > grower.grown
        if not waits and grower.pid in crowd.living and (most is None or grower.held_kib < kib(most)):
            grower.tell()
            return True
        return waits and grower.pid in crowd.living

    return grow


def oom_kills() -> int:
    """How many kills the OOM killer has counted since boot; one of memory.oom.group may be counted twice."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


def as_dmesg(records: list[bytes]) -> str:
    """Records of /dev/kmsg as dmesg prints them."""
    lines = []
    for record in records:
        head, _, text = record.decode(errors="replace").partition(";")
        after_us = int(head.split(",")[2])
        message = text.partition("\n")[0].replace("\\x0a", "\n")  # a message of several lines comes escaped
        lines += [f"[{after_us / 1e6:12.6f}] {line}" for line in message.splitlines()]
    return "\n".join(lines) + "\n"
