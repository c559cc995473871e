"""The programs that stay attached: one passes each candidate on to the live policy, two note beginning and end.

Belongs here: what is attached for good, because a link of this kind can be given no other program
(kernel/bpf/syscall.c, bpf_tracing_link_lops). Must not know: how policies answer (`published.py`, `compiled.py`).

They run in out_of_memory() with oom_lock held, one at a time in the whole machine: counters and the ring need no
atomic operations among themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

from oompolicy.backends.hook.abi import ControlWord, RecordKind
from oompolicy.backends.hook.layout import KernelLayout
from oompolicy.backends.hook.pieces import (
    OFFSETS,
    SCOPE,
    U32,
    U64,
    MapDescriptors,
    control_value,
    event_begins,
    event_policy,
    fill,
    note_scope,
    put,
    ring_bell,
    ring_slot,
    written,
)
from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.instructions import Alu, Call, Exit, Jump, Load, LoadMap, Store, add, move
from oompolicy.bpf.opcodes import R0, R1, R2, R3, R6, R7, R8, R9, R10, AluOp, JumpOp
from oompolicy.bpf.uapi import Helper

_COMM_BYTES = 16


def score(layout: KernelLayout, maps: MapDescriptors) -> Iterator[Line]:
    """fmod_ret on bpf_oom_score(task, oc, points): on to the policy of this event, or DEFER where there is none.

    An event whose beginning nobody saw, because the programs came while it went on, begins with its next candidate.
    """
    yield from (move(R6, R1), control_value(maps), Load(U64, R2, R1, 8 * ControlWord.EVENT_UNDERWAY))
    yield Jump(JumpOp.NE, R2, 0, "underway")
    yield from event_begins(maps)
    yield Label("underway")
    yield from (control_value(maps), Load(U64, R3, R1, 8 * ControlWord.EVENT_SLOT))
    yield from (move(R1, R6), LoadMap(R2, maps.programs, "programs"), Call(Helper.TAIL_CALL))
    yield from (move(R0, 0), Exit())


def begin(layout: KernelLayout, maps: MapDescriptors) -> Iterator[Line]:
    """fentry, oc the first argument: who ran out, where; and which policy ranks this event to its end."""
    yield from (Load(U64, R7, R1, 0), *event_begins(maps))
    yield from note_scope(layout)
    yield from ring_slot(maps, "leave")
    yield from fill(RecordKind.BEGIN)
    yield from (Load(U64, R1, R10, SCOPE), put("memcg", R1))
    yield from (Load(U32, R1, R7, layout.oc_order), put("number", R1, U32))
    yield from (Load(U32, R1, R7, layout.oc_gfp_mask), put("first", R1))
    yield from (*event_policy(maps, R2), put("policy", R2), Load(U64, R2, R1, 8 * ControlWord.EVENT_IS_FRESH))
    yield from (put("second", R2), Store(U64, R9, OFFSETS["task"], 0))
    yield from (Call(Helper.GET_CURRENT_PID_TGID), put("pid", R0, U32), Alu(AluOp.RSH, R0, 32), put("tgid", R0, U32))
    yield from (move(R1, R9), add(R1, OFFSETS["comm"]), move(R2, _COMM_BYTES), Call(Helper.GET_CURRENT_COMM))
    yield from written(maps)
    yield Label("leave")
    yield from (move(R0, 0), Exit())


def end(layout: KernelLayout, maps: MapDescriptors) -> Iterator[Line]:
    """fentry of (oc, found), or fexit of out_of_memory(oc): the second word of the context is found either way.

    The kernel has said whom it kills by then.
    """
    yield from (Load(U64, R7, R1, 0), Load(U64, R8, R1, 8), Alu(AluOp.AND, R8, 1))
    yield from (control_value(maps), Store(U64, R1, 8 * ControlWord.EVENT_UNDERWAY, 0))
    yield from note_scope(layout)
    yield from ring_slot(maps, "leave")
    yield from fill(RecordKind.END)
    yield from (Load(U64, R1, R10, SCOPE), put("memcg", R1), put("tgid", R8, U32))
    yield from (Store(U32, R9, OFFSETS["pid"], 0), Load(U32, R1, R7, layout.oc_constraint), put("number", R1, U32))
    yield from (Load(U64, R1, R7, layout.oc_totalpages), put("first", R1))
    yield from (Load(U64, R1, R7, layout.oc_chosen_points), put("second", R1))
    yield from (Load(U64, R1, R7, layout.oc_chosen), put("task", R1), *event_policy(maps, R2), put("policy", R2))
    yield from (Store(U64, R9, OFFSETS["comm"], 0), Store(U64, R9, OFFSETS["comm"] + 8, 0))
    yield from (*written(maps), *ring_bell(maps))
    yield Label("leave")
    yield from (move(R0, 0), Exit())


def refuses_nothing() -> Iterator[Line]:
    """fmod_ret: no opinion on anything. To try whether such a program may be loaded here."""
    yield from (move(R0, 0), Exit())
