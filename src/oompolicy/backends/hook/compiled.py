"""A policy that is asked in the kernel itself: what is around the body that the compiler makes of it.

Belongs here: what a body finds in its frame, how its answer becomes the kernel's, what a fault becomes.
Must not know: how a body is made, what is in it, how it is loaded.

A body (compiler/emit) is entered with r6 = task and r7 = oc. It goes to "answer" with r0 = band and r1 = score, or to
"fault" with r0 = the number of the place, and may lose r6 to r9. Values come from entries that a daemon publishes; too
old ones count as absent, and the policy itself stays in force (safety contract, lines 4 and 5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from oompolicy.backends.hook.abi import (
    BAND_NUMBERS,
    SLOTS,
    SOURCE_BITS,
    ControlWord,
    RecordKind,
    Source,
)
from oompolicy.backends.hook.layout import KernelLayout
from oompolicy.backends.hook.pieces import (
    ANSWER,
    BAND,
    KEY_ID,
    KEY_START,
    POINTS,
    SCORE,
    SOURCE,
    TASK,
    U32,
    U64,
    MapDescriptors,
    clamp,
    control_value,
    count,
    find_entries,
    find_memcg,
    find_no_entries,
    look_up,
    note_scope,
    one_more,
    record_candidate,
    store_answer,
)
from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.instructions import Alu, Call, Exit, Goto, Jump, Load, LoadConstant, LoadMap, Store, add, move
from oompolicy.bpf.opcodes import R0, R1, R2, R4, R6, R7, R8, R10, AluOp, JumpOp
from oompolicy.bpf.uapi import Helper
from oompolicy.policy.verdict import Band

ANSWERED: Final = "answer"  # the labels that a body goes to
FAULTED: Final = "fault"
_SCORE, _DEFER, _PRESELECTED = BAND_NUMBERS[Band.SCORE], BAND_NUMBERS[Band.DEFER], BAND_NUMBERS[Band.PRESELECTED]


@dataclass(frozen=True, slots=True)
class Body:
    """What the compiler made of a policy. places: what each number of a fault means, in words."""

    lines: Sequence[Line]
    places: tuple[str, ...] = ()
    reads_values: bool = False
    has_preselection: bool = field(default=False)

    @property
    def goes_by_entries(self) -> bool:
        """Does something of what a daemon publishes count?"""
        return self.reads_values or self.has_preselection


def live(layout: KernelLayout, maps: MapDescriptors, policy_id: int, body: Body) -> Iterator[Line]:
    """(task, oc, points), entered by a tail call: the policy's answer for a candidate."""
    yield from _ask(layout, maps, policy_id, body, first_entries=1)
    yield Label("done")
    yield Load(U64, R6, R10, TASK)
    yield from count(maps)
    yield from record_candidate(layout, maps, RecordKind.CANDIDATE, policy_id)
    yield Label("leave")
    yield from (Load(U64, R0, R10, ANSWER), Exit())


def shadow(layout: KernelLayout, maps: MapDescriptors, policy_id: int, body: Body) -> Iterator[Line]:
    """fentry on bpf_oom_score(task, oc, points): what this policy would have answered goes into the ring.

    An fentry program cannot change what its function returns, whatever it does (kernel/bpf/verifier.c,
    check_return_code(): it may only return 0, which nobody looks at).
    """
    yield from (control_value(maps, R2), Load(U64, R2, R2, 8 * ControlWord.EVENT_UNDERWAY))
    yield Jump(JumpOp.EQ, R2, 0, "leave")  # an event whose beginning nobody saw has no slot yet
    yield from _ask(layout, maps, policy_id, body, first_entries=1 + SLOTS)
    yield Label("done")
    yield Load(U64, R6, R10, TASK)
    yield from record_candidate(layout, maps, RecordKind.SHADOW, policy_id)
    yield Label("leave")
    yield from (move(R0, 0), Exit())


def _ask(layout: KernelLayout, maps: MapDescriptors, policy_id: int, body: Body, first_entries: int) -> Iterator[Line]:
    """[ANSWER] and [SOURCE], then "done"."""
    is_live = first_entries == 1
    yield from (Load(U64, R6, R1, 0), Load(U64, R7, R1, 8), Load(U64, R8, R1, 16))
    yield from (Store(U64, R10, TASK, R6), Store(U64, R10, POINTS, R8))
    yield from (Store(U64, R10, ANSWER, 0), Store(U64, R10, SOURCE, Source.POLICY))
    if body.has_preselection:
        yield from note_scope(layout)
    yield from find_memcg(layout)
    if body.goes_by_entries:
        yield from _find_entries(maps, first_entries, is_live)
    yield from body.lines
    answers, faults = _goes_to(body.lines, ANSWERED), _goes_to(body.lines, FAULTED)
    if faults:
        yield Label(FAULTED)
        yield from _fault(maps, policy_id, is_live)
        if body.has_preselection:  # which lifts DEFER, and so a fault
            yield from (move(R0, _DEFER), move(R1, 0))
        elif answers:
            yield Goto("done")
    if answers or (faults and body.has_preselection):
        yield from (Label(ANSWERED), *_answer(layout, body.has_preselection))


def _find_entries(maps: MapDescriptors, first: int, is_live: bool) -> Iterator[Line]:
    yield from find_entries(maps, first, "stale", "done")
    yield Goto("entries")
    yield Label("stale")
    yield from one_more(ControlWord.EXPIRED) if is_live else ()
    yield Store(U64, R10, SOURCE, Source.POLICY_WITHOUT_VALUES)
    yield from find_no_entries(maps, "done")
    yield Label("entries")


def _answer(layout: KernelLayout, has_preselection: bool) -> Iterator[Line]:
    """Preselection lifts a score and DEFER; KILL and SPARE outrank it (policy/verdict.py, band_of())."""
    if has_preselection:
        yield from _lifted(layout)
    yield from (Jump(JumpOp.NE, R0, _SCORE, "plain"), *clamp(R1, R2, "score"), *store_answer(R1, _SCORE))
    yield Goto("done")
    yield Label("plain")
    yield Store(U64, R10, ANSWER, R0)


def _lifted(layout: KernelLayout) -> Iterator[Line]:
    """To "done" where the task is preselected, else on with r0 and r1 as they were."""
    yield from (Store(U64, R10, BAND, R0), Store(U64, R10, SCORE, R1), Jump(JumpOp.GT, R0, _SCORE, "not_preselected"))
    yield from (Load(U64, R6, R10, TASK), *find_memcg(layout, "again"))
    yield from look_up(layout, "preselection", "not_preselected", notes_source=False)
    yield Label("preselection")
    yield from (Load(U32, R1, R0, 8), Jump(JumpOp.NE, R1, _PRESELECTED, "not_preselected"))
    yield from (Load(U64, R0, R10, BAND), Load(U64, R1, R10, SCORE), Jump(JumpOp.NE, R0, _DEFER, "by_score"))
    yield Load(U64, R1, R10, POINTS)
    yield Label("by_score")
    yield from (*clamp(R1, R4, "lifted"), *store_answer(R1, _PRESELECTED), Goto("done"))
    yield Label("not_preselected")
    yield from (Load(U64, R0, R10, BAND), Load(U64, R1, R10, SCORE))


def _fault(maps: MapDescriptors, policy_id: int, is_live: bool) -> Iterator[Line]:
    """DEFER, counted, with its place."""
    yield from (Store(U64, R10, KEY_ID, R0), Alu(AluOp.LSH, R0, SOURCE_BITS), Alu(AluOp.OR, R0, Source.FAULT))
    yield from (Store(U64, R10, SOURCE, R0), LoadConstant(R1, policy_id), Store(U64, R10, KEY_START, R1))
    yield from (LoadMap(R1, maps.faults, "faults"), move(R2, R10), add(R2, KEY_START), Call(Helper.MAP_LOOKUP_ELEM))
    yield from (Jump(JumpOp.EQ, R0, 0, "unknown_place"), Load(U64, R1, R0, 0), add(R1, 1), Store(U64, R0, 0, R1))
    yield Label("unknown_place")
    if is_live:
        yield from (control_value(maps), *one_more(ControlWord.FAULTS))


def _goes_to(lines: Sequence[Line], label: str) -> bool:
    """Does it? The verifier refuses instructions that are never reached."""
    return any(getattr(line, "target", None) == label for line in lines)
