"""Fields of a memcg: its cgroup's place in the tree, and its page counters.

Belongs here: reading them from a css. Must not know: its value (values.py), comparing it with others (ancestry.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from oompolicy.backends.hook.kernel_fields.ground import (
    U64,
    Ground,
    Request,
    natural,
    within_pages,
)
from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.instructions import Alu, Jump, Load, Store, add, move
from oompolicy.bpf.opcodes import R0, R1, R2, R10, AluOp, JumpOp

CSS = "cgroup_subsys_state"
TO_CGROUP = (CSS, "cgroup")
TO_ID = (TO_CGROUP, ("cgroup", "kn"), ("kernfs_node", "id"))
_DEFAULT, _AMOUNT = 2, 3  # own words


def id_(ground: Ground, request: Request) -> Iterator[Line]:
    """The inode number of the cgroup's directory."""
    yield from (*ground.walk(*TO_ID), Alu(AluOp.LSH, R0, 1), Alu(AluOp.RSH, R0, 1))


def depth(ground: Ground, request: Request) -> Iterator[Line]:
    """cgroup->level."""
    yield from (*ground.walk(TO_CGROUP, ("cgroup", "level")), *natural())


def parent(ground: Ground, request: Request) -> Iterator[Line]:
    """css->parent."""
    yield from ground.walk((CSS, "parent"))


def usage(ground: Ground, request: Request) -> Iterator[Line]:
    """memory.current. The root has no such file on v2, and a failed read in the model; its counter is not of the
    machine's memory (on v1 the file adds up other counters, mem_cgroup_usage(), mm/memcontrol.c).
    """
    yield from (*_fails_at_the_root(ground, request), *_counter(ground, request, "memory.usage.counter"))


def limit(ground: Ground, request: Request) -> Iterator[Line]:
    """memory.max: PAGE_COUNTER_MAX where unlimited."""
    yield from _counter(ground, request, "memory.max")


def min_(ground: Ground, request: Request) -> Iterator[Line]:
    """memory.min."""
    yield from _counter(ground, request, "memory.min")


def low(ground: Ground, request: Request) -> Iterator[Line]:
    """memory.low."""
    yield from _counter(ground, request, "memory.low")


def swap(ground: Ground, request: Request) -> Iterator[Line]:
    """memory.swap.current; on v1 the same counter holds memory and swap. The root: as its usage.

    The default hierarchy is v2, and the first to be set up: its id is 0 (cgroup_init(), kernel/cgroup/cgroup.c).
    """
    not_v2, done = request.label("not_v2"), request.label("swap")
    yield from _fails_at_the_root(ground, request)
    yield from ground.walk(TO_CGROUP, ("cgroup", "root"), ("cgroup_root", "hierarchy_id"))
    yield from (Store(U64, R10, ground.own(_DEFAULT), R0), *_reach(ground))
    yield from ground.take(R1, "mem_cgroup", "swap.usage.counter", request.fail)
    yield Store(U64, R10, ground.own(_AMOUNT), R1)
    yield from (Load(U64, R1, R10, ground.own(_DEFAULT)), Jump(JumpOp.NE, R1, 0, not_v2))
    yield from (Load(U64, R0, R10, ground.own(_AMOUNT)), Jump(JumpOp.EQ, R1, 0, done), Label(not_v2))
    yield from ground.take(R2, "mem_cgroup", "memory.usage.counter", request.fail)
    yield from (Load(U64, R0, R10, ground.own(_AMOUNT)), Alu(AluOp.SUB, R0, R2), Label(done))
    yield from within_pages(request.labels)


def _fails_at_the_root(ground: Ground, request: Request) -> tuple[Line, ...]:
    return (*ground.load(R0, R1, CSS, "parent"), Jump(JumpOp.EQ, R0, 0, request.fail))


def _counter(ground: Ground, request: Request, path: str) -> Iterator[Line]:
    yield from (*_reach(ground), *ground.take(R1, "mem_cgroup", path, request.fail))
    yield from (move(R0, R1), *within_pages(request.labels))


def _reach(ground: Ground) -> tuple[Line, ...]:
    """From the css to the mem_cgroup that it is in."""
    offset = ground.at("mem_cgroup", "css")
    return (*((add(R1, -offset),) if offset else ()), *ground.reach("mem_cgroup"))
