"""The three programs: one answers for a candidate from the published entries, two note that an OOM begins and ends.

Belongs here: instructions, made for one kernel's layout. Must not know: what entries mean, how programs are loaded.

They run in out_of_memory() with oom_lock held, one at a time in the whole machine: counters and the ring need no
atomic operations among themselves. No loop, no lock, no allocation: at most 2 + 2 * LEVELS look-ups for a task.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from oompolicy.backends.hook.abi import (
    BAND_BITS,
    BAND_MASK,
    LEVELS,
    RECORD,
    RECORDS,
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
    Exit,
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
    R8,
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

# The frame: the key of a look-up, then what calls must not lose.
_KEY_SCOPE, _KEY_START, _KEY_ID = -24, -16, -8
_SCOPE, _MEMCG, _ANSWER, _SOURCE, _ENTRIES, _INDEX = -32, -40, -48, -56, -64, -72

_OFFSETS: Final = dict(zip(Record._fields, (0, 8, 16, 20, 24, 28, 32, 48, 56, 64, 72), strict=True))
assert _OFFSETS["task"] + 8 == RECORD.size
_COMM_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class MapDescriptors:
    """The maps, by the descriptors they have when the programs are loaded."""

    control: int
    generation: int
    history: int


def score(layout: KernelLayout, maps: MapDescriptors) -> Iterator[Line]:
    """fmod_ret on bpf_oom_score(task, oc, points): r6 task, r7 oc, r8 points, r9 the memcg looked at."""
    yield from (Load(U64, R6, R1, 0), Load(U64, R7, R1, 8), Load(U64, R8, R1, 16))
    yield from (Store(U64, R10, _ANSWER, 0), Store(U64, R10, _SOURCE, Source.NONE))
    yield from _note_scope(layout)
    yield from _note_memcg(layout)
    yield from _unless_expired(maps)
    yield from _look_up(layout, maps)
    yield from _make_answer()
    yield Label("done")
    yield from _count(maps)
    yield from _slot(maps, "leave")
    yield from _fill(RecordKind.CANDIDATE)
    yield from (Load(U32, R1, R6, layout.task_pid), _put("pid", R1, U32))
    yield from (Load(U32, R1, R6, layout.task_tgid), _put("tgid", R1, U32))
    yield from (Load(U64, R1, R10, _SOURCE), _put("number", R1, U32))
    yield from (Load(U64, R1, R10, _MEMCG), _put("memcg", R1))
    yield from (_put("first", R8), Load(U64, R1, R10, _ANSWER), _put("second", R1), _put("task", R6))
    yield from (move(R1, R9), add(R1, _OFFSETS["comm"]), move(R2, _COMM_BYTES), move(R3, R6))
    yield from (add(R3, layout.task_comm), Call(Helper.PROBE_READ_KERNEL))
    yield from _written(maps)
    yield Label("leave")
    yield from (Load(U64, R0, R10, _ANSWER), Exit())


def begin(layout: KernelLayout, maps: MapDescriptors) -> Iterator[Line]:
    """fentry, oc the first argument: who ran out, where, and which policy is in force."""
    yield Load(U64, R7, R1, 0)
    yield from _note_scope(layout)
    yield from _slot(maps, "leave")
    yield from _fill(RecordKind.BEGIN)
    yield from (Load(U64, R1, R10, _SCOPE), _put("memcg", R1))
    yield from (Load(U32, R1, R7, layout.oc_order), _put("number", R1, U32))
    yield from (Load(U32, R1, R7, layout.oc_gfp_mask), _put("first", R1))
    yield from (LoadMapValue(R1, maps.control, 0, "control"), Load(U64, R1, R1, 8 * ControlWord.POLICY_ID))
    yield from (_put("second", R1), Store(U64, R9, _OFFSETS["task"], 0))
    yield from (Call(Helper.GET_CURRENT_PID_TGID), _put("pid", R0, U32), Alu(AluOp.RSH, R0, 32), _put("tgid", R0, U32))
    yield from (move(R1, R9), add(R1, _OFFSETS["comm"]), move(R2, _COMM_BYTES), Call(Helper.GET_CURRENT_COMM))
    yield from _written(maps)
    yield Label("leave")
    yield from (move(R0, 0), Exit())


def end(layout: KernelLayout, maps: MapDescriptors) -> Iterator[Line]:
    """fentry of (oc, found), or fexit of out_of_memory(oc): the second word of the context is found either way."""
    yield from (Load(U64, R7, R1, 0), Load(U64, R8, R1, 8), Alu(AluOp.AND, R8, 1))
    yield from _note_scope(layout)
    yield from _slot(maps, "leave")
    yield from _fill(RecordKind.END)
    yield from (Load(U64, R1, R10, _SCOPE), _put("memcg", R1), _put("tgid", R8, U32))
    yield from (Store(U32, R9, _OFFSETS["pid"], 0), Load(U32, R1, R7, layout.oc_constraint), _put("number", R1, U32))
    yield from (Load(U64, R1, R7, layout.oc_totalpages), _put("first", R1))
    yield from (Load(U64, R1, R7, layout.oc_chosen_points), _put("second", R1))
    yield from (Load(U64, R1, R7, layout.oc_chosen), _put("task", R1))
    yield from (Store(U64, R9, _OFFSETS["comm"], 0), Store(U64, R9, _OFFSETS["comm"] + 8, 0))
    yield from _written(maps)
    yield Label("leave")
    yield from (move(R0, 0), Exit())


def refuses_nothing() -> Iterator[Line]:
    """fmod_ret: no opinion on anything. To try whether such a program may be loaded here."""
    yield from (move(R0, 0), Exit())


def _note_scope(layout: KernelLayout) -> Iterator[Line]:
    """The cgroup id of oc->memcg, 0 where the machine ran out."""
    yield from (Store(U64, R10, _SCOPE, 0), Load(U64, R1, R7, layout.oc_memcg), Jump(JumpOp.EQ, R1, 0, "whole"))
    yield from (Load(U64, R1, R1, layout.memcg_css_cgroup), *_cgroup_id(R1, R1, layout), Store(U64, R10, _SCOPE, R1))
    yield Label("whole")


def _note_memcg(layout: KernelLayout) -> Iterator[Line]:
    """r9 = task->cgroups->subsys[memory_cgrp_id]->cgroup, and its id."""
    yield from (Store(U64, R10, _MEMCG, 0), move(R9, 0))
    yield from (Load(U64, R1, R6, layout.task_cgroups), Jump(JumpOp.EQ, R1, 0, "homeless"))
    yield from (Load(U64, R1, R1, layout.css_set_memory), Jump(JumpOp.EQ, R1, 0, "homeless"))
    yield from (Load(U64, R9, R1, layout.css_cgroup), Jump(JumpOp.EQ, R9, 0, "homeless"))
    yield from (*_cgroup_id(R1, R9, layout), Store(U64, R10, _MEMCG, R1))
    yield Label("homeless")


def _cgroup_id(to: Reg, cgroup: Reg, layout: KernelLayout) -> tuple[Line, ...]:
    return (Load(U64, to, cgroup, layout.cgroup_kn), Load(U64, to, to, layout.kn_id))


def _unless_expired(maps: MapDescriptors) -> Iterator[Line]:
    """Signed, because the heartbeat may have come after this look at the clock."""
    yield from (Call(Helper.KTIME_GET_NS), LoadMapValue(R1, maps.control, 0, "control"))
    yield from (Load(U64, R2, R1, 8 * ControlWord.HEARTBEAT_NS), Alu(AluOp.SUB, R0, R2))
    yield from (Load(U64, R2, R1, 8 * ControlWord.TTL_NS), Jump(JumpOp.SLE, R0, R2, "alive"))
    yield from (*_one_more(ControlWord.EXPIRED), Store(U64, R10, _SOURCE, Source.EXPIRED), Goto("done"))
    yield Label("alive")


def _one_more(word: ControlWord) -> tuple[Line, ...]:
    """r1 is the control map."""
    return (Load(U64, R2, R1, 8 * word), add(R2, 1), Store(U64, R1, 8 * word, R2))


def _look_up(layout: KernelLayout, maps: MapDescriptors) -> Iterator[Line]:
    """r0 = the entry, from the most particular to the most general; to "done" where there is none."""
    yield from (Store(U32, R10, _INDEX, 0), LoadMap(R1, maps.generation, "generation"))
    yield from (move(R2, R10), add(R2, _INDEX), Call(Helper.MAP_LOOKUP_ELEM), Jump(JumpOp.EQ, R0, 0, "done"))
    yield Store(U64, R10, _ENTRIES, R0)
    yield from (Load(U64, R1, R6, layout.task_start_boottime), Alu(AluOp.DIV, R1, TICK_NS))
    yield from (Store(U64, R10, _KEY_START, R1), Load(U32, R1, R6, layout.task_tgid), Store(U64, R10, _KEY_ID, R1))
    yield from _in_scope_then_anywhere("task", "found", (Source.TASK_IN_SCOPE, Source.TASK))
    yield Store(U64, R10, _KEY_START, 0)
    for level in range(LEVELS):
        yield from (Jump(JumpOp.EQ, R9, 0, "done"), *_cgroup_id(R1, R9, layout), Store(U64, R10, _KEY_ID, R1))
        found = "above" if level else "found"
        yield from _in_scope_then_anywhere(f"memcg_{level}", found, (Source.MEMCG, Source.MEMCG))
        if level + 1 < LEVELS:
            yield from (Load(U64, R9, R9, layout.cgroup_self_parent), Jump(JumpOp.EQ, R9, 0, "done"))
            yield Load(U64, R9, R9, layout.css_cgroup)
    yield Goto("done")
    yield Label("above")
    yield from (Load(U32, R1, R0, 12), Jump(JumpOp.SET, R1, EntryFlag.COVERS_BELOW, "found"))
    yield from (Store(U64, R10, _SOURCE, Source.NONE), Goto("done"))


def _in_scope_then_anywhere(name: str, found: str, sources: tuple[Source, Source]) -> Iterator[Line]:
    """Look a key up under this OOM's scope, where it has one, and under 0."""
    yield from (Load(U64, R1, R10, _SCOPE), Jump(JumpOp.EQ, R1, 0, f"{name}_anywhere"))
    yield from (Store(U64, R10, _KEY_SCOPE, R1), Store(U64, R10, _SOURCE, sources[0]))
    yield from (*_entry(), Jump(JumpOp.NE, R0, 0, found))
    yield Label(f"{name}_anywhere")
    yield from (Store(U64, R10, _KEY_SCOPE, 0), Store(U64, R10, _SOURCE, sources[1]))
    yield from (*_entry(), Jump(JumpOp.NE, R0, 0, found), Store(U64, R10, _SOURCE, Source.NONE))


def _entry() -> tuple[Line, ...]:
    return (Load(U64, R1, R10, _ENTRIES), move(R2, R10), add(R2, _KEY_SCOPE), Call(Helper.MAP_LOOKUP_ELEM))


def _make_answer() -> Iterator[Line]:
    """score, perhaps with badness, clamped, above the band; 0 where the band is DEFER."""
    yield Label("found")
    yield from (Load(U32, R1, R0, 8), Alu(AluOp.AND, R1, BAND_MASK), Jump(JumpOp.EQ, R1, 0, "done"))
    yield from (Load(U32, R2, R0, 12), Load(U64, R3, R0, 0))
    yield from (Alu(AluOp.AND, R2, EntryFlag.ADDS_BADNESS), Jump(JumpOp.EQ, R2, 0, "fixed"), add(R3, R8))
    yield Label("fixed")
    yield from (LoadConstant(R4, CLAMP), Jump(JumpOp.SLE, R3, R4, "not_above"), move(R3, R4))
    yield Label("not_above")
    yield from (LoadConstant(R4, -CLAMP), Jump(JumpOp.SGE, R3, R4, "not_below"), move(R3, R4))
    yield Label("not_below")
    yield from (Alu(AluOp.LSH, R3, BAND_BITS), Alu(AluOp.OR, R3, R1), Store(U64, R10, _ANSWER, R3))


def _count(maps: MapDescriptors) -> Iterator[Line]:
    yield from (LoadMapValue(R1, maps.control, 0, "control"), *_one_more(ControlWord.ASKED))
    yield from (Load(U64, R2, R10, _ANSWER), Jump(JumpOp.EQ, R2, 0, "counted"), *_one_more(ControlWord.ANSWERED))
    yield Label("counted")


def _slot(maps: MapDescriptors, otherwise: str) -> Iterator[Line]:
    """r9 = the ring's next record, its number written."""
    yield from (LoadMapValue(R1, maps.control, 0, "control"), Load(U64, R1, R1, 8 * ControlWord.NEXT_SEQ))
    yield from (Alu(AluOp.AND, R1, RECORDS - 1), Store(U32, R10, _INDEX, R1))
    yield from (LoadMap(R1, maps.history, "history"), move(R2, R10), add(R2, _INDEX))
    yield from (Call(Helper.MAP_LOOKUP_ELEM), Jump(JumpOp.EQ, R0, 0, otherwise), move(R9, R0))
    yield from (LoadMapValue(R1, maps.control, 0, "control"), Load(U64, R1, R1, 8 * ControlWord.NEXT_SEQ))
    yield _put("seq", R1)


def _fill(kind: RecordKind) -> Iterator[Line]:
    yield from (Call(Helper.KTIME_GET_NS), _put("time_ns", R0), Store(U32, R9, _OFFSETS["kind"], kind))


def _put(field: str, source: Reg, width: Width = U64) -> Store:
    return Store(width, R9, _OFFSETS[field], source)


def _written(maps: MapDescriptors) -> Iterator[Line]:
    """The record is whole. Fetching makes the addition a barrier for readers, who look at the number first."""
    yield from (LoadMapValue(R1, maps.control, 0, "control"), move(R2, 1))
    yield Atomic(AtomicOp.FETCH_ADD, U64, R1, 8 * ControlWord.NEXT_SEQ, R2)
