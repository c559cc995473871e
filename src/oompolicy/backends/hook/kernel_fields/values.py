"""The opaque values that the daemon publishes: of a task, of a memcg or the nearest above that has one.

Belongs here: looking them up in the map of entries (abi.py). Must not know: who decides whether they are in force.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from oompolicy.backends.hook.abi import LEVELS, MEMO_BYTES, TICK_NS, EntryFlag
from oompolicy.backends.hook.kernel_fields.ground import U32, U64, Ground, Memo, Request
from oompolicy.backends.hook.kernel_fields.memcgs import CSS, TO_ID
from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.instructions import Alu, Call, Goto, Jump, Load, LoadMapValue, Store, add, move
from oompolicy.bpf.opcodes import R0, R1, R2, R3, R4, R5, R10, AluOp, JumpOp
from oompolicy.bpf.uapi import Helper

_SCOPE, _START, _ID, _HERE, _LEFT, _OWN_ID = range(6)  # own words; the first three are the key
_FLAGS_AT: Final = 12  # in a VALUE
_MEMO_ID, _MEMO_ENTRIES, _MEMO_VALUE, _MEMO_PRESENT = range(0, MEMO_BYTES, 8)


def of_task(ground: Ground, request: Request) -> Iterator[Line]:
    """Key: 0, start in ticks, tgid."""
    own = ground.own
    yield from _unless_absent(ground, request)
    yield from ground.walk(("task_struct", "group_leader"), ("task_struct", "start_boottime"))
    yield from (Alu(AluOp.DIV, R0, TICK_NS), Store(U64, R10, own(_START), R0), Store(U64, R10, own(_SCOPE), 0))
    yield from (*ground.walk(("task_struct", "tgid")), Store(U64, R10, own(_ID), R0), *_look_up(ground))
    yield from (Jump(JumpOp.EQ, R0, 0, request.label("absent")), *_taken(request))
    yield from (Label(request.label("absent")), move(R0, 0), move(R1, 0), Label(request.label("done")))


def of_memcg(ground: Ground, request: Request) -> Iterator[Line]:
    """Key: 0, 0, cgroup id. Each memcg that the daemon knows has an entry, with the value it has from above if need
    be; one without is newer than that, and what is above it counts, for LEVELS steps.
    """
    own, again, found = ground.own, request.label("again"), request.label("found")
    none, absent, done = request.label("none"), request.label("absent"), request.label("done")
    yield from (*_unless_absent(ground, request), *ground.walk(*TO_ID))
    if ground.memo:
        yield from (*_recall(ground, request, ground.memo), Store(U64, R10, own(_OWN_ID), R0))
    yield from (Store(U64, R10, own(_SCOPE), 0), Store(U64, R10, own(_START), 0), Store(U64, R10, own(_LEFT), LEVELS))
    yield Label(again)
    yield from (Store(U64, R10, own(_HERE), R1), Store(U64, R10, own(_ID), R0), *_look_up(ground))
    yield from (Jump(JumpOp.NE, R0, 0, found), Load(U64, R2, R10, own(_HERE)), *ground.load(R1, R2, CSS, "parent"))
    yield from (Jump(JumpOp.EQ, R1, 0, none), *ground.walk(*TO_ID))
    yield from (Load(U64, R2, R10, own(_LEFT)), add(R2, -1), Store(U64, R10, own(_LEFT), R2))
    yield from (Jump(JumpOp.NE, R2, 0, again), Goto(none), Label(found))
    yield from _taken(request, none)
    if ground.memo:
        yield from (Label(none), move(R0, 0), move(R1, 0), Label(done), *_remember(ground, ground.memo))
        yield from (Goto(request.label("known")), Label(absent), move(R0, 0), move(R1, 0))
        yield Label(request.label("known"))
    else:
        yield from (Label(none), Label(absent), move(R0, 0), move(R1, 0), Label(done))


def _unless_absent(ground: Ground, request: Request) -> tuple[Line, ...]:
    """r2 = the map of entries."""
    return (Load(U64, R2, R10, ground.frame.entries), Jump(JumpOp.EQ, R2, 0, request.label("absent")))


def _look_up(ground: Ground) -> tuple[Line, ...]:
    """r0 = the entry of the key, or 0."""
    key = ground.own(_SCOPE)
    return (Load(U64, R1, R10, ground.frame.entries), move(R2, R10), add(R2, key), Call(Helper.MAP_LOOKUP_ELEM))


def _taken(request: Request, otherwise: str | None = None) -> tuple[Line, ...]:
    """r0, r1 = the value of the entry in r0, then to done; to `otherwise` where it says that there is none."""
    return (
        *(Load(U32, R1, R0, _FLAGS_AT), Alu(AluOp.AND, R1, EntryFlag.HAS_VALUE)),
        Jump(JumpOp.EQ, R1, 0, otherwise or request.label("absent")),
        *(Load(U64, R0, R0, 0), move(R1, 1), Goto(request.label("done"))),
    )


def _recall(ground: Ground, request: Request, memo: Memo) -> Iterator[Line]:
    """r0 is the memcg's id, r2 the map: its value if it was asked for last, and of the same entries.

    The tasks of a memcg are ranked one after the other, and a look-up is most of what ranking one costs. Neither the id
    of a cgroup nor that of a map is used again, as their addresses would be.
    """
    other = request.label("other")
    yield from (LoadMapValue(R4, memo.fd, memo.offset, "memo"), Load(U64, R5, R4, _MEMO_ID))
    yield from (Jump(JumpOp.NE, R5, R0, other), *_map_id(ground), Load(U64, R5, R4, _MEMO_ENTRIES))
    yield from (Jump(JumpOp.NE, R5, R3, other), Load(U64, R0, R4, _MEMO_VALUE), Load(U64, R1, R4, _MEMO_PRESENT))
    yield from (Goto(request.label("known")), Label(other))


def _remember(ground: Ground, memo: Memo) -> Iterator[Line]:
    """r0, r1: value, present."""
    yield from (LoadMapValue(R4, memo.fd, memo.offset, "memo"), Store(U64, R4, _MEMO_VALUE, R0))
    yield from (Store(U64, R4, _MEMO_PRESENT, R1), Load(U64, R2, R10, ground.own(_OWN_ID)))
    yield from (Store(U64, R4, _MEMO_ID, R2), Load(U64, R2, R10, ground.frame.entries))
    yield from (*_map_id(ground), Store(U64, R4, _MEMO_ENTRIES, R3))


def _map_id(ground: Ground) -> tuple[Line, ...]:
    """r3 = the id of the map in r2: what a map is in the kernel begins with a struct bpf_map."""
    return ground.load(R3, R2, "bpf_map", "id")
