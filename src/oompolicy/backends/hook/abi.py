"""What the programs in the kernel and this side share: bands (kernel/oom_policy.h) and the layouts of the maps.

Belongs here: numbers and struct formats, and nothing that depends on a kernel. Must not know: who reads or writes them.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from oompolicy.policy.verdict import POINTS, Band, clamp

LAYOUT: Final = 3  # of the maps below, sizes included; another number, another folder of pins
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
RECORD: Final = struct.Struct("=QQIIIi16sQqqQQ")

BELL_BYTES: Final = 8  # written when an OOM has ended; what they say is of no meaning

NAME_KEY: Final = struct.Struct("=Q")
NAME_BYTES: Final = 64
NAMES: Final = 256

SLOTS: Final = 2  # for policies: one is live, the next one is made ready in the other; a power of two
NO_ENTRIES: Final = 0  # the first of the generations is empty for ever: what counts when the entries are too old
GENERATIONS: Final = 1 + 2 * SLOTS

FAULT_KEY: Final = struct.Struct("=QQ")  # policy id, number of the place
FAULT_VALUE: Final = struct.Struct("=Q120s")  # how often, where and why
FAULT_PLACES: Final = 1024
SOURCE_BITS: Final = 8  # of a candidate's number; above them the place of a fault


class EntryFlag(IntFlag):
    """What an entry says beside score and band."""

    NONE = 0
    ADDS_BADNESS = 1  # the answer is the score plus the kernel's badness of that very moment
    COVERS_BELOW = 2  # a memcg's: it answers too for memcgs below that have no entry
    HAS_VALUE = 4  # for a compiled policy: the score is the value; without it, it is known that there is none


class ControlWord(IntEnum):
    """The 64-bit words of the control map. The programs count under oom_lock, so one at a time.

    EVENT_...: as it was when the OOM under way began, so that one policy ranks it to its end.
    """

    HEARTBEAT_NS = 0  # CLOCK_MONOTONIC when the machine was looked at that the entries are for
    TTL_NS = 1
    POLICY_ID = 2  # of the live slot, for who looks
    NEXT_SEQ = 3  # records written so far
    READ_SEQ = 4  # records that a daemon has told of
    ASKED = 5  # candidates
    ANSWERED = 6  # of them, with another answer than DEFER
    EXPIRED = 7  # of them, while the heartbeat was too old for what answers go by
    DAEMON_PID = 8
    DAEMON_START_TICKS = 9
    FAULTS = 10  # of ASKED, those for which a compiled policy faulted
    LIVE_SLOT = 11
    EVENT_SLOT = 12
    EVENT_IS_FRESH = 13  # was the heartbeat young enough?
    EVENT_UNDERWAY = 14
    SLOT_POLICY = 16  # the policy id of each slot
    SLOT_FORM = 18  # a Form of each slot


MEMO_WORD: Final = 20  # from here on a compiled policy remembers the value of the memcg looked at last
MEMO_BYTES: Final = 32
CONTROL_BYTES: Final = 8 * 32


class Form(IntEnum):
    """How a slot's policy answers."""

    EMPTY = 0
    PUBLISHED = 1  # its answers are looked up
    COMPILED = 2  # it is asked itself; it reads no values
    COMPILED_WITH_VALUES = 3


class RecordKind(IntEnum):
    """What a record of the ring tells."""

    BEGIN = 1
    CANDIDATE = 2
    END = 3
    SHADOW = 4  # as CANDIDATE, by a policy that decides nothing


class Source(IntEnum):
    """What answered for a candidate: an entry, or the policy itself."""

    NONE = 0
    TASK_IN_SCOPE = 1
    TASK = 2
    MEMCG = 3
    EXPIRED = 4
    FAULT = 5  # of a compiled policy, at the place above SOURCE_BITS
    POLICY = 6
    POLICY_WITHOUT_VALUES = 7  # they had expired


class Record(NamedTuple):
    """One record, as RECORD has it.

    number: BEGIN order, CANDIDATE a Source and a place, END the constraint. memcg: BEGIN and END the scope's cgroup id
    (0: the machine), CANDIDATE its own. first: gfp_mask, badness, totalpages. second: was the heartbeat young enough,
    answer, chosen_points. task: where the task_struct was, for comparing: of the candidate, of the one chosen. END has
    found in tgid. policy: an id, at the END that of the BEGIN. time_ns: CLOCK_MONOTONIC, of BEGIN and END alone.
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
    policy: int = 0


class Entry(NamedTuple):
    """What is published for one task or memcg; the score counts in the bands SCORE and PRESELECTED only.

    For a compiled policy the score is the value, if the flags say that there is one, and the band only preselects.
    """

    band: Band
    score: int = 0
    flags: EntryFlag = EntryFlag.NONE

    def pack(self) -> bytes:
        """The value in the map. The program clamps when badness is added: until then there is room for it."""
        is_value = self.flags & EntryFlag.HAS_VALUE
        score = self.score if is_value else max(-SCORE_MAX, min(SCORE_MAX, self.score))
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


def shown(name: str, policy_id: int) -> str:
    """A policy's name, and what tells this text of it from others of the name; for people.

    >>> shown("memcg_priority", 0x1234567890ABCDEF)
    'memcg_priority (90abcdef)'
    """
    return f"{name} ({policy_id & 0xFFFFFFFF:08x})"
