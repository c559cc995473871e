"""Fields of a task that are in its task_struct, or one step from it.

Belongs here: the steps. Must not know: its memory (mm_counters.py), its name (comm.py), its value (values.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from oompolicy.backends.hook.abi import TICK_NS
from oompolicy.backends.hook.kernel_fields.ground import U64, Ground, Request, natural, not_negative
from oompolicy.bpf.assembly import Line
from oompolicy.bpf.instructions import Alu, Call, Load, Store
from oompolicy.bpf.opcodes import R0, R1, R10, AluOp
from oompolicy.bpf.uapi import Helper

NS_PER_MS = 1_000_000


def pid(ground: Ground, request: Request) -> Iterator[Line]:
    """task->pid."""
    yield from (*ground.walk(("task_struct", "pid")), *natural())


def tgid(ground: Ground, request: Request) -> Iterator[Line]:
    """task->tgid."""
    yield from (*ground.walk(("task_struct", "tgid")), *natural())


def uid(ground: Ground, request: Request) -> Iterator[Line]:
    """task_uid(): of the first user namespace, as /proc/PID/status says it there."""
    yield from ground.walk(("task_struct", "real_cred"), ("cred", "uid.val"))


def oom_score_adj(ground: Ground, request: Request) -> Iterator[Line]:
    """A short, shared by all threads."""
    yield from ground.walk(("task_struct", "signal"), ("signal_struct", "oom_score_adj"))


def start_time_ns(ground: Ground, request: Request) -> Iterator[Line]:
    """Of the process, rounded down to the clock tick: what /proc/PID/stat has, and so a snapshot.

    Exact nanoseconds would order two processes that are equals to the policy on a snapshot.
    """
    yield from ground.walk(("task_struct", "group_leader"), ("task_struct", "start_boottime"))
    yield from (Alu(AluOp.DIV, R0, TICK_NS), Alu(AluOp.MUL, R0, TICK_NS))


def age_ms(ground: Ground, request: Request) -> Iterator[Line]:
    """CLOCK_BOOTTIME now, less the start as above."""
    yield from (*start_time_ns(ground, request), Store(U64, R10, ground.own(0), R0))
    yield from (Call(Helper.KTIME_GET_BOOT_NS), Load(U64, R1, R10, ground.own(0)), Alu(AluOp.SUB, R0, R1))
    yield from (*not_negative(R0, request.label("born")), Alu(AluOp.DIV, R0, NS_PER_MS))


def badness(ground: Ground, request: Request) -> Iterator[Line]:
    """The kernel's own points, which it hands to the hook."""
    yield Load(U64, R0, R10, ground.frame.points)


def memcg(ground: Ground, request: Request) -> Iterator[Line]:
    """task->cgroups->subsys[memory_cgrp_id]."""
    memory = ground.btf.enumerator("memory_cgrp_id", "cgroup_subsys_id")
    yield from ground.walk(("task_struct", "cgroups"), ("css_set", f"subsys[{memory}]"))
