"""What was seen in a guest, as it crosses from there to here: one JSON line for the guest, one for each round.

Belongs here: the form of these lines, for both sides. Must not know: what was expected, how any of it was found out.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

KILLED: Final = 9  # SIGKILL


class Process(Struct, frozen=True):
    """A process of a workload. oom_score_adj is the workload's own, whatever a policy made of it since."""

    pid: int
    comm: str
    cgroup: str
    workload: str
    oom_score_adj: int = 0


class Death(Struct, frozen=True):
    """How a process ended, told by wait: the signal, or 0 and the exit status. after_s counts from the trigger."""

    process: Process
    signal: int
    status: int
    after_s: float


class Marked(Struct, frozen=True):
    """The kernel has marked a victim (tracepoint oom:mark_victim): which thread, when after the trigger.

    points are what oom_badness() returned for each task of the scan before it, LONG_MIN left out; None where it
    was not traced.
    """

    pid: int
    after_s: float
    points: list[int] | None = None


class RoundSeen(Struct, frozen=True):
    """One round: who was born, who died in the order of deaths, what the kernel said meanwhile.

    trouble is what kept the round from being played as it was meant; None where nothing did. timings_s are how
    long each part took.
    """

    number: int
    born: list[Process]
    deaths: list[Death]
    marked: list[Marked]
    log: str
    policy_log: str = ""
    trouble: str | None = None
    timings_s: dict[str, float] = {}


class GuestSeen(Struct, frozen=True):
    """The guest before the first round: its kernel, what it said so far, when it was ready (seconds from boot)."""

    release: str
    log: str
    ready_after_s: float
    mem_total_kb: int


class _Line(Struct, frozen=True):
    """One line: a guest's, a round's, or where the guest is just now."""

    guest: GuestSeen | None = None
    round: RoundSeen | None = None
    doing: str | None = None


def line(guest: GuestSeen | None = None, seen: RoundSeen | None = None, doing: str | None = None) -> str:
    """The line that says it."""
    return msgspec.json.encode(_Line(guest, seen, doing)).decode()


class Said(Struct, frozen=True):
    """All that a guest said before it ended, or was ended; doing is the last that it began."""

    guest: GuestSeen | None
    rounds: list[RoundSeen]
    doing: str | None


def read_lines(text: str) -> Said:
    """What the lines say; one that the guest's end has cut is passed over."""
    guest, rounds, doing = None, [], None
    for written in text.splitlines():
        try:
            said = msgspec.json.decode(written, type=_Line)
        except msgspec.DecodeError:
            continue
        guest = said.guest or guest
        doing = said.doing or doing
        if said.round is not None:
            rounds.append(said.round)
    return Said(guest, rounds, doing)
