"""Pieces that the programs share: whose memcg, which entry, is the heartbeat young enough, a record in the ring.

Belongs here: instructions for one kernel's layout, and the frame that they agree on. Must not know: which programs
there are, what entries mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from oompolicy.backends.hook.abi import (
    BAND_BITS,
    BELL_BYTES,
    LEVELS,
    NO_ENTRIES,
    RECORD,
    RECORDS,
    SLOTS,
    TICK_NS,
    ControlWord,
    EntryFlag,
    Record,
    RecordKind,
    Source,
)
from oompolicy.backends.hook.layout import KernelLayout
from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.instructions import (
    Alu,
    Atomic,
    Call,
    Goto,
    Jump,
    Load,
    LoadConstant,
    LoadMap,
    LoadMapValue,
    Store,
    add,
    move,
)
from oompolicy.bpf.opcodes import (
    R0,
    R1,
    R2,
    R3,
    R4,
    R6,
    R7,
    R9,
    R10,
    AluOp,
    AtomicOp,
    JumpOp,
    Reg,
    Width,
)
from oompolicy.bpf.uapi import Helper
from oompolicy.policy.verdict import CLAMP

U32, U64 = Width.U32, Width.U64

# The frame: the key of a look-up, then what calls and a policy's body must not lose.
KEY_SCOPE, KEY_START, KEY_ID = -24, -16, -8
SCOPE, MEMCG, ANSWER, SOURCE, ENTRIES, INDEX, TASK, POINTS = -32, -40, -48, -56, -64, -72, -80, -88
BAND, SCORE = -96, -104
FRAME_TOP: Final = SCORE  # below it the frame is a body's

OFFSETS: Final = dict(zip(Record._fields, (0, 8, 16, 20, 24, 28, 32, 48, 56, 64, 72, 80), strict=True))
assert OFFSETS["policy"] + 8 == RECORD.size
_COMM_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class MapDescriptors:
    """The maps, by the descriptors they have when the programs are loaded."""

    control: int
    generation: int
    history: int
    programs: int
    faults: int
    bell: int


def note_scope(layout: KernelLayout) -> Iterator[Line]:
    """The cgroup id of oc->memcg, 0 where the machine ran out; r7 is oc."""
    yield from (Store(U64, R10, SCOPE, 0), Load(U64, R1, R7, layout.oc_memcg), Jump(JumpOp.EQ, R1, 0, "whole"))
    yield from (Load(U64, R1, R1, layout.memcg_css_cgroup), *_cgroup_id(R1, R1, layout), Store(U64, R10, SCOPE, R1))
    yield Label("whole")


def find_memcg(layout: KernelLayout, labels: str = "memcg") -> Iterator[Line]:
    """r9 = task->cgroups->subsys[memory_cgrp_id]->cgroup, 0 where there is none, and its id; r6 is the task."""
    homeless = f"{labels}_homeless"
    yield from (Store(U64, R10, MEMCG, 0), move(R9, 0))
    yield from (Load(U64, R1, R6, layout.task_cgroups), Jump(JumpOp.EQ, R1, 0, homeless))
    yield from (Load(U64, R1, R1, layout.css_set_memory), Jump(JumpOp.EQ, R1, 0, homeless))
    yield from (Load(U64, R9, R1, layout.css_cgroup), Jump(JumpOp.EQ, R9, 0, homeless))
    yield from (*_cgroup_id(R1, R9, layout), Store(U64, R10, MEMCG, R1))
    yield Label(homeless)


def _cgroup_id(to: Reg, cgroup: Reg, layout: KernelLayout) -> tuple[Line, ...]:
    return (Load(U64, to, cgroup, layout.cgroup_kn), Load(U64, to, to, layout.kn_id))


def control_value(maps: MapDescriptors, to: Reg = R1) -> LoadMapValue:
    """to = the address of the control words."""
    return LoadMapValue(to, maps.control, 0, "control")


def event_begins(maps: MapDescriptors) -> Iterator[Line]:
    """From here to the event's end this slot is asked, and the entries are as fresh as they are now.

    Signed, because the heartbeat may have come after this look at the clock.
    """
    yield from (control_value(maps), Load(U64, R2, R1, 8 * ControlWord.LIVE_SLOT), Alu(AluOp.AND, R2, SLOTS - 1))
    yield from (Store(U64, R1, 8 * ControlWord.EVENT_SLOT, R2), Call(Helper.KTIME_GET_NS), control_value(maps))
    yield from (Load(U64, R2, R1, 8 * ControlWord.HEARTBEAT_NS), Alu(AluOp.SUB, R0, R2), move(R3, 1))
    yield from (Load(U64, R2, R1, 8 * ControlWord.TTL_NS), Jump(JumpOp.SLE, R0, R2, "is_fresh"), move(R3, 0))
    yield Label("is_fresh")
    yield Store(U64, R1, 8 * ControlWord.EVENT_IS_FRESH, R3)
    yield Store(U64, R1, 8 * ControlWord.EVENT_UNDERWAY, 1)


def event_policy(maps: MapDescriptors, to: Reg) -> Iterator[Line]:
    """to = the policy id of the event's slot."""
    yield from (control_value(maps), Load(U64, to, R1, 8 * ControlWord.EVENT_SLOT), Alu(AluOp.AND, to, SLOTS - 1))
    yield from (Alu(AluOp.LSH, to, 3), add(to, R1), Load(U64, to, to, 8 * ControlWord.SLOT_POLICY))


def find_entries(maps: MapDescriptors, first: int, stale: str, missing: str) -> Iterator[Line]:
    """[ENTRIES] = the map of entries of the event's slot, counted from `first`; to stale where they are too old,
    with r1 the control map, and to missing where there is none.
    """
    yield from (control_value(maps), Load(U64, R2, R1, 8 * ControlWord.EVENT_IS_FRESH), Jump(JumpOp.EQ, R2, 0, stale))
    yield from (Load(U64, R2, R1, 8 * ControlWord.EVENT_SLOT), Alu(AluOp.AND, R2, SLOTS - 1), add(R2, first))
    yield from _entries_at(maps, R2, missing)


def find_no_entries(maps: MapDescriptors, missing: str) -> Iterator[Line]:
    """[ENTRIES] = a map without entries: looking up finds nothing, and no case has to be told from another."""
    yield move(R2, NO_ENTRIES)
    yield from _entries_at(maps, R2, missing)


def _entries_at(maps: MapDescriptors, index: Reg, missing: str) -> Iterator[Line]:
    yield from (Store(U32, R10, INDEX, index), LoadMap(R1, maps.generation, "generation"))
    yield from (move(R2, R10), add(R2, INDEX), Call(Helper.MAP_LOOKUP_ELEM), Jump(JumpOp.EQ, R0, 0, missing))
    yield Store(U64, R10, ENTRIES, R0)


def one_more(word: ControlWord) -> tuple[Line, ...]:
    """r1 is the control map."""
    return (Load(U64, R2, R1, 8 * word), add(R2, 1), Store(U64, R1, 8 * word, R2))


def look_up(layout: KernelLayout, found: str, none: str, notes_source: bool = True) -> Iterator[Line]:
    """r0 = the entry, from the most particular to the most general, or to `none`; r6 is the task, r9 its cgroup."""
    yield from (Load(U64, R1, R6, layout.task_start_boottime), Alu(AluOp.DIV, R1, TICK_NS))
    yield from (Store(U64, R10, KEY_START, R1), Load(U32, R1, R6, layout.task_tgid), Store(U64, R10, KEY_ID, R1))
    note = _noting if notes_source else _noting_nothing
    yield from _in_scope_then_anywhere("task", found, note(Source.TASK_IN_SCOPE), note(Source.TASK))
    yield Store(U64, R10, KEY_START, 0)
    for level in range(LEVELS):
        yield from (Jump(JumpOp.EQ, R9, 0, "unknown"), *_cgroup_id(R1, R9, layout), Store(U64, R10, KEY_ID, R1))
        of_memcg = note(Source.MEMCG)
        yield from _in_scope_then_anywhere(f"memcg_{level}", "above" if level else found, of_memcg, of_memcg)
        if level + 1 < LEVELS:
            yield from (Load(U64, R9, R9, layout.cgroup_self_parent), Jump(JumpOp.EQ, R9, 0, "unknown"))
            yield Load(U64, R9, R9, layout.css_cgroup)
    yield Goto("unknown")
    yield Label("above")
    yield from (Load(U32, R1, R0, 12), Jump(JumpOp.SET, R1, EntryFlag.COVERS_BELOW, found))
    yield Label("unknown")
    yield from (*note(Source.NONE), Goto(none))


def _noting(source: Source) -> tuple[Line, ...]:
    return (Store(U64, R10, SOURCE, source),)


def _noting_nothing(source: Source) -> tuple[Line, ...]:
    return ()


def _in_scope_then_anywhere(
    name: str, found: str, in_scope: tuple[Line, ...], anywhere: tuple[Line, ...]
) -> Iterator[Line]:
    """Look a key up under this OOM's scope, where it has one, and under 0."""
    yield from (Load(U64, R1, R10, SCOPE), Jump(JumpOp.EQ, R1, 0, f"{name}_anywhere"))
    yield from (Store(U64, R10, KEY_SCOPE, R1), *in_scope, *_entry(), Jump(JumpOp.NE, R0, 0, found))
    yield Label(f"{name}_anywhere")
    yield from (Store(U64, R10, KEY_SCOPE, 0), *anywhere, *_entry(), Jump(JumpOp.NE, R0, 0, found))


def _entry() -> tuple[Line, ...]:
    return (Load(U64, R1, R10, ENTRIES), move(R2, R10), add(R2, KEY_SCOPE), Call(Helper.MAP_LOOKUP_ELEM))


def clamp(value: Reg, by: Reg, labels: str) -> Iterator[Line]:
    """value within ±CLAMP; by is overwritten."""
    yield from (LoadConstant(by, CLAMP), Jump(JumpOp.SLE, value, by, f"{labels}_not_above"), move(value, by))
    yield Label(f"{labels}_not_above")
    yield from (LoadConstant(by, -CLAMP), Jump(JumpOp.SGE, value, by, f"{labels}_not_below"), move(value, by))
    yield Label(f"{labels}_not_below")


def store_answer(score: Reg, band: int | Reg) -> Iterator[Line]:
    """[ANSWER] = (score << BAND_BITS) | band."""
    yield from (Alu(AluOp.LSH, score, BAND_BITS), Alu(AluOp.OR, score, band), Store(U64, R10, ANSWER, score))


def count(maps: MapDescriptors) -> Iterator[Line]:
    """One more asked about, and answered for."""
    yield from (control_value(maps), *one_more(ControlWord.ASKED))
    yield from (Load(U64, R2, R10, ANSWER), Jump(JumpOp.EQ, R2, 0, "counted"), *one_more(ControlWord.ANSWERED))
    yield Label("counted")


def record_candidate(layout: KernelLayout, maps: MapDescriptors, kind: RecordKind, policy_id: int) -> Iterator[Line]:
    """What was answered for a task, from the frame; r6 is the task. To "leave" where the ring is not there."""
    yield from ring_slot(maps, "leave")
    # Not when: reading the clock for each candidate would cost as much as a look-up, and the event's end has it.
    yield from (Store(U64, R9, OFFSETS["time_ns"], 0), Store(U32, R9, OFFSETS["kind"], kind))
    yield from (Load(U32, R1, R6, layout.task_pid), put("pid", R1, U32))
    yield from (Load(U32, R1, R6, layout.task_tgid), put("tgid", R1, U32))
    yield from (Load(U64, R1, R10, SOURCE), put("number", R1, U32), Load(U64, R1, R10, MEMCG), put("memcg", R1))
    yield from (Load(U64, R1, R10, POINTS), put("first", R1), Load(U64, R1, R10, ANSWER), put("second", R1))
    yield from (put("task", R6), LoadConstant(R1, policy_id), put("policy", R1))
    yield from (move(R1, R9), add(R1, OFFSETS["comm"]), move(R2, _COMM_BYTES), move(R3, R6))
    yield from (add(R3, layout.task_comm), Call(Helper.PROBE_READ_KERNEL))
    yield from written(maps)


def ring_slot(maps: MapDescriptors, otherwise: str) -> Iterator[Line]:
    """r9 = the ring's next record, its number written."""
    yield from (control_value(maps), Load(U64, R1, R1, 8 * ControlWord.NEXT_SEQ))
    yield from (Alu(AluOp.AND, R1, RECORDS - 1), Store(U32, R10, INDEX, R1))
    yield from (LoadMap(R1, maps.history, "history"), move(R2, R10), add(R2, INDEX))
    yield from (Call(Helper.MAP_LOOKUP_ELEM), Jump(JumpOp.EQ, R0, 0, otherwise), move(R9, R0))
    yield from (control_value(maps), Load(U64, R1, R1, 8 * ControlWord.NEXT_SEQ), put("seq", R1))


def fill(kind: RecordKind) -> Iterator[Line]:
    """When, and what of."""
    yield from (Call(Helper.KTIME_GET_NS), put("time_ns", R0), Store(U32, R9, OFFSETS["kind"], kind))


def put(field: str, source: Reg, width: Width = U64) -> Store:
    """A field of the record at r9."""
    return Store(width, R9, OFFSETS[field], source)


def ring_bell(maps: MapDescriptors) -> Iterator[Line]:
    """Wake who waits for OOMs to end; [SCOPE] is what is written. A full bell has rung already."""
    yield from (LoadMap(R1, maps.bell, "bell"), move(R2, R10), add(R2, SCOPE), move(R3, BELL_BYTES), move(R4, 0))
    yield Call(Helper.RINGBUF_OUTPUT)


def written(maps: MapDescriptors) -> Iterator[Line]:
    """The record is whole. Fetching makes the addition a barrier for readers, who look at the number first."""
    yield from (control_value(maps), move(R2, 1))
    yield Atomic(AtomicOp.FETCH_ADD, U64, R1, 8 * ControlWord.NEXT_SEQ, R2)
