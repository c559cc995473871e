"""What the programs in the kernel and this side share: bands (kernel/oom_policy.h) and the layouts of the maps.

Belongs here: numbers and struct formats, and nothing that depends on a kernel. Must not know: who reads or writes them.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from oompolicy.policy.verdict import POINTS, Band, clamp

LAYOUT: Final = 1  # of the maps below, sizes included; another number, another folder of pins
TICK_NS: Final = 10_000_000  # USER_HZ is 100: what /proc/PID/stat counts starts in

# enum oom_policy_band
BAND_NUMBERS: Final = {Band.DEFER: 0, Band.SCORE: 1, Band.PRESELECTED: 2, Band.KILL: 3, Band.SPARE: 4}
BANDS: Final = {number: band for band, number in BAND_NUMBERS.items()}
BAND_BITS: Final = 3
BAND_MASK: Final = (1 << BAND_BITS) - 1

KEY: Final = struct.Struct("=QQQ")  # scope's cgroup id or 0, start in ticks (0: a memcg), tgid or cgroup id
VALUE: Final = struct.Struct("=qII")  # score, band, EntryFlag
SCORE_MAX: Final = 1 << 62  # beyond CLAMP, and no badness added to it overflows
LEVELS: Final = 12  # of memcgs that a task without an entry of its own is looked for in

RECORDS: Final = 8192  # of the ring, a power of two
RECORD: Final = struct.Struct("=QQIIIi16sQqqQ")

NAME_KEY: Final = struct.Struct("=Q")
NAME_BYTES: Final = 64
NAMES: Final = 256


class EntryFlag(IntFlag):
    """What an entry says beside score and band."""

    NONE = 0
    ADDS_BADNESS = 1  # the answer is the score plus the kernel's badness of that very moment
    COVERS_BELOW = 2  # a memcg's: it answers too for memcgs below that have no entry


class ControlWord(IntEnum):
    """The 64-bit words of the control map. The programs count under oom_lock, so one at a time."""

    HEARTBEAT_NS = 0  # CLOCK_MONOTONIC when the machine was looked at that the entries are for
    TTL_NS = 1
    POLICY_ID = 2
    NEXT_SEQ = 3  # records written so far
    READ_SEQ = 4  # records that a daemon has told of
    ASKED = 5  # candidates
    ANSWERED = 6  # of them, with another answer than DEFER
    EXPIRED = 7  # of them, while the heartbeat was too old
    DAEMON_PID = 8
    DAEMON_START_TICKS = 9


CONTROL_BYTES: Final = 8 * 16


class RecordKind(IntEnum):
    """What a record of the ring tells."""

    BEGIN = 1
    CANDIDATE = 2
    END = 3


class Source(IntEnum):
    """Which entry answered for a candidate."""

    NONE = 0
    TASK_IN_SCOPE = 1
    TASK = 2
    MEMCG = 3
    EXPIRED = 4


class Record(NamedTuple):
    """One record, as RECORD has it.

    number: BEGIN order, CANDIDATE a Source, END the constraint. memcg: BEGIN and END the scope's cgroup id (0: the
    machine), CANDIDATE its own. first: gfp_mask, badness, totalpages. second: policy id, answer, chosen_points.
    task: where the task_struct was, for comparing: of the candidate, of the one chosen. END has found in tgid.
    """

    seq: int
    time_ns: int
    kind: int
    pid: int
    tgid: int
    number: int
    comm: bytes
    memcg: int
    first: int
    second: int
    task: int


class Entry(NamedTuple):
    """What is published for one task or memcg; the score counts in the bands SCORE and PRESELECTED only."""

    band: Band
    score: int = 0
    flags: EntryFlag = EntryFlag.NONE

    def pack(self) -> bytes:
        """The value in the map. The program clamps when badness is added: until then there is room for it."""
        score = max(-SCORE_MAX, min(SCORE_MAX, self.score))
        return VALUE.pack(score, BAND_NUMBERS[self.band], self.flags)


Entries = dict[bytes, Entry]


def task_key(start_ticks: int, tgid: int, scope: int = 0) -> bytes:
    """The key of a task, in one scope or in all that have no key of their own."""
    return KEY.pack(scope, start_ticks, tgid)


def memcg_key(cgroup_id: int, scope: int = 0) -> bytes:
    """The key of a memcg; no task starts at tick 0."""
    return KEY.pack(scope, 0, cgroup_id)


def answer_of(entry: Entry | None, badness: int) -> int:
    """What the program returns for an entry: 0 is DEFER.

    >>> answer_of(Entry(Band.SCORE, 0), 7), answer_of(Entry(Band.SCORE, -1), 7), answer_of(None, 7)
    (1, -7, 0)
    """
    if entry is None or entry.band is Band.DEFER:
        return 0
    score = entry.score + (badness if entry.flags & EntryFlag.ADDS_BADNESS else 0)
    return clamp(score) << BAND_BITS | BAND_NUMBERS[entry.band]


def points_of_answer(answer: int, badness: int) -> int:
    """C: static inline long oom_policy_points(long answer, long badness), kernel/oom_policy.h."""
    row = POINTS[band_of_answer(answer)]
    addend = badness if row.addend == "badness" else answer >> BAND_BITS
    return row.base + (clamp(addend) if row.is_clamped else addend)


def band_of_answer(answer: int) -> Band:
    """The band of an answer; one that is not in the table is no opinion."""
    return BANDS.get(answer & BAND_MASK, Band.DEFER)
