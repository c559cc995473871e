"""The thread that stands for a process: a leader that has exited let go of the memory that its threads still hold.

Belongs here: finding it. Must not know: what is read of it, or of its memory.

C: struct task_struct *find_lock_task_mm(struct task_struct *p), mm/oom_kill.c. Nothing is locked here: what is freed at
this very moment reads as any number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from oompolicy.backends.hook.kernel_fields.ground import U64, Ground
from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.instructions import Goto, Jump, Load, Store, add, move
from oompolicy.bpf.opcodes import R0, R1, R2, R3, R6, R10, JumpOp

THREADS: Final = 32  # that are looked through for one that still has the mm
MM, NODE = 0, 1  # own words: what was found; the thread's task_struct.thread_node
_HEAD, _LEFT = 2, 3


def find_mm(ground: Ground, labels: str, fail: str) -> Iterator[Line]:
    """r1 = the mm of the task in r1, or of its first thread that has one; to fail where none of THREADS has."""
    have = f"{labels}_mm"
    yield from (*ground.walk(("task_struct", "mm")), Jump(JumpOp.NE, R0, 0, have), *_look_through(ground, labels, fail))
    yield from (Label(have), move(R1, R0))


def settle(ground: Ground, labels: str) -> Iterator[Line]:
    """r6 = the thread with the mm of the process whose leader is in r6; the leader where there is none.

    Cast either way, so that whatever is loaded through r6 is loaded through one type.
    """
    have = f"{labels}_settled"
    yield from (move(R1, R6), *ground.walk(("task_struct", "mm")), Jump(JumpOp.NE, R0, 0, have))
    yield from _look_through(ground, labels, have)
    yield from (Load(U64, R6, R10, ground.own(NODE)), add(R6, -ground.at("task_struct", "thread_node")))
    yield from (Label(have), move(R1, R6), *ground.cast("task_struct"), move(R6, R0))


def _look_through(ground: Ground, labels: str, fail: str) -> Iterator[Line]:
    """r0 = the mm of the first thread of the task in r1 that has one, NODE its place in the list."""
    again, found, own = f"{labels}_thread", f"{labels}_found", ground.own
    mm, node = ground.at("task_struct", "mm"), ground.at("task_struct", "thread_node")
    head = ground.at("signal_struct", "thread_head")
    yield from (*ground.walk(("task_struct", "signal")), move(R2, R0), add(R2, head), Store(U64, R10, own(_HEAD), R2))
    yield from (Load(U64, R0, R0, head), Store(U64, R10, own(NODE), R0), Store(U64, R10, own(_LEFT), THREADS))
    yield Label(again)
    yield from (Load(U64, R3, R10, own(NODE)), Load(U64, R1, R10, own(_HEAD)), Jump(JumpOp.EQ, R3, R1, fail))
    yield from (add(R3, mm - node), *ground.probe(MM, 8, fail))
    yield from (Load(U64, R0, R10, own(MM)), Jump(JumpOp.NE, R0, 0, found))
    yield from (Load(U64, R3, R10, own(NODE)), *ground.probe(NODE, 8, fail))  # next is at its begin
    yield from (Load(U64, R1, R10, own(_LEFT)), add(R1, -1), Store(U64, R10, own(_LEFT), R1))
    yield from (Jump(JumpOp.NE, R1, 0, again), Goto(fail), Label(found))
