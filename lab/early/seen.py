"""What crosses from the guest to here: a JSON line for each trial, and the notes of pulse.c.

Belongs here: the forms of these. Must not know: how it was seen, what is right.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Final, NamedTuple

LATE_MS: Final = 100  # a beat that is later than that is noted, LATE_MS in pulse.c
STALL_MS: Final = 500  # what a person calls "it hangs"
NOTES_BYTES: Final = 65536
_HEAD: Final = struct.Struct("=QQQQ")
_LATE: Final = struct.Struct("=II")


@dataclass(frozen=True, slots=True)
class Felt:
    """What a heartbeat noted: how many beats, the latest, those late by LATE_MS and more as (ended_ms, late_ms)."""

    beats: int
    longest_ms: int
    failed_forks: int
    late: tuple[tuple[int, int], ...]

    @property
    def stalls(self) -> int:
        """How often it hung."""
        return sum(late_ms > STALL_MS for _, late_ms in self.late)


def felt(notes: bytes) -> Felt:
    """Of the file that pulse.c keeps."""
    beats, longest_ms, failed_forks, count = _HEAD.unpack_from(notes)
    late = tuple(_LATE.unpack_from(notes, _HEAD.size + number * _LATE.size) for number in range(count))
    return Felt(beats, longest_ms, failed_forks, late)


class Sample(NamedTuple):
    """Sizes, and of the last second: in how much of it some, or all, waited for memory, and all for disks; refaults."""

    at_s: float
    available_mib: float
    swap_free_mib: float
    some_percent: float
    full_percent: float
    io_full_percent: float
    refaults: int
    processes: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One trial. Times are in seconds from the load's start, None where it did not come to that.

    killed: who got SIGKILL or SIGTERM, in order, as (comm, how many in a row, who sent it). lives: who of those that
    are to live does. gone_s: no process of the load is left. back_s: seven tenths of the memory are available again,
    and nothing stalls. course: a sample about every second. noise_ms: the latest that a process came which needs no
    memory: the guest's own slowness.
    """

    contender: str
    load: str
    killed: tuple[tuple[str, int, str], ...] = ()
    lives: dict[str, bool] = field(default_factory=dict)
    longest_ms: int = 0
    stalls: int = 0
    stalled_ms: int = 0
    failed_forks: int = 0
    noise_ms: int = 0
    gone_s: float | None = None
    back_s: float | None = None
    took_s: float = 0.0
    oom_kills: int = 0
    least_available_mib: float = 0.0
    processes: int = 0
    course: tuple[Sample, ...] = ()
    said: tuple[str, ...] = ()
    problem: str = ""

    @property
    def bystanders(self) -> tuple[str, ...]:
        """Who died and was none of the load."""
        return tuple(dict.fromkeys(comm for comm, _, _ in self.killed if comm != self.load))

    @property
    def is_right(self) -> bool:
        """The load has gone, and nobody else died."""
        return self.gone_s is not None and not self.bystanders and all(self.lives.values()) and not self.problem

    def line(self) -> str:
        """As it is sent."""
        return json.dumps(asdict(self))


def seen(line: str) -> Seen:
    """As it was sent."""
    told = json.loads(line)
    told["killed"] = tuple((comm, count, by) for comm, count, by in told["killed"])
    told["course"] = tuple(Sample(*sample) for sample in told["course"])
    return Seen(**{**told, "said": tuple(told["said"])})


def in_a_row(victims: Iterable[tuple[str, str]]) -> tuple[tuple[str, int, str], ...]:
    """Victims and who killed them, those that are alike and follow each other counted.

    >>> in_a_row([("bomb", "earlyoom"), ("bomb", "earlyoom"), ("database", "the kernel")])
    (('bomb', 2, 'earlyoom'), ('database', 1, 'the kernel'))
    """
    return tuple((comm, len(list(same)), by) for (comm, by), same in groupby(victims))
