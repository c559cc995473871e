"""A policy that user space has asked: its answers are published, and looked up for each candidate.

Belongs here: the program that goes into a slot for it. Must not know: how answers come about, how it is loaded.
No loop, no lock, no allocation: at most 2 + 2 * LEVELS look-ups for a task.
"""

from __future__ import annotations

from collections.abc import Iterator

from oompolicy.backends.hook.abi import BAND_MASK, ControlWord, EntryFlag, RecordKind, Source
from oompolicy.backends.hook.layout import KernelLayout
from oompolicy.backends.hook.pieces import (
    ANSWER,
    POINTS,
    SOURCE,
    U32,
    U64,
    MapDescriptors,
    clamp,
    count,
    find_entries,
    find_memcg,
    look_up,
    note_scope,
    one_more,
    record_candidate,
    store_answer,
)
from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.instructions import Alu, Exit, Goto, Jump, Load, Store, add
from oompolicy.bpf.opcodes import R0, R1, R2, R3, R4, R6, R7, R8, R10, AluOp, JumpOp


def body(layout: KernelLayout, maps: MapDescriptors, policy_id: int) -> Iterator[Line]:
    """(task, oc, points), entered by a tail call: r6 task, r7 oc, r8 points, r9 the memcg looked at.

    Without a daemon answers expire as a whole: what they were made from is then not what is there.
    """
    yield from (Load(U64, R6, R1, 0), Load(U64, R7, R1, 8), Load(U64, R8, R1, 16), Store(U64, R10, POINTS, R8))
    yield from (Store(U64, R10, ANSWER, 0), Store(U64, R10, SOURCE, Source.NONE))
    yield from note_scope(layout)
    yield from find_memcg(layout)
    yield from find_entries(maps, 1, "expired", "done")
    yield from look_up(layout, "found", "done")
    yield Label("expired")
    yield from (*one_more(ControlWord.EXPIRED), Store(U64, R10, SOURCE, Source.EXPIRED), Goto("done"))
    yield from _make_answer()
    yield Label("done")
    yield from count(maps)
    yield from record_candidate(layout, maps, RecordKind.CANDIDATE, policy_id)
    yield Label("leave")
    yield from (Load(U64, R0, R10, ANSWER), Exit())


def _make_answer() -> Iterator[Line]:
    """score, perhaps with badness, clamped, above the band; 0 where the band is DEFER."""
    yield Label("found")
    yield from (Load(U32, R1, R0, 8), Alu(AluOp.AND, R1, BAND_MASK), Jump(JumpOp.EQ, R1, 0, "done"))
    yield from (Load(U32, R2, R0, 12), Load(U64, R3, R0, 0))
    yield from (Alu(AluOp.AND, R2, EntryFlag.ADDS_BADNESS), Jump(JumpOp.EQ, R2, 0, "fixed"), add(R3, R8))
    yield Label("fixed")
    yield from clamp(R3, R4, "score")
    yield from store_answer(R3, R1)
