"""Is a memcg another one, or below it?

Belongs here: the two forms of is_under(). Must not know: how a path becomes an id in the map.

Each cgroup lists its ancestors, itself last: ancestors[level]. It listed their ids, ancestor_ids[level], until commit
7f203bc89eb6 "cgroup: Replace cgroup->ancestor_ids[] with ->ancestors[]" (in v6.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from oompolicy.backends.hook.kernel_fields.ground import U32, U64, Ground, Request
from oompolicy.backends.hook.kernel_fields.memcgs import TO_CGROUP, TO_ID
from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.instructions import Alu, Call, Jump, Load, LoadMap, Store, add, move
from oompolicy.bpf.opcodes import R0, R1, R2, R3, R4, R5, R10, AluOp, JumpOp
from oompolicy.bpf.uapi import Helper

LEVELS_MAX: Final = 0xFFFF  # deeper ones do not fit into a path; a bound for the verifier
_ANCESTOR, _CGROUP, _WANTED, _INDEX = 0, 2, 3, 4  # own words; 1 is what `take` probes into


def is_under(ground: Ground, request: Request) -> Iterator[Line]:
    """r1 is the memcg; the other is a path, or in r2."""
    if request.argument is None:
        yield from _under_memcg(ground, request)
    else:
        yield from _under_path(ground, request, request.argument)


def _under_path(ground: Ground, request: Request, path: str) -> Iterator[Line]:
    """The path says how deep it is, so one ancestor is asked for its id."""
    level = len([part for part in path.split("/") if part])
    index = ground.paths.names.index(path)
    no, done = request.label("no"), request.label("done")
    yield from (*ground.walk(TO_CGROUP), Store(U64, R10, ground.own(_CGROUP), R0))
    yield from (*ground.load(R2, R0, "cgroup", "level"), Jump(JumpOp.LT, R2, level, no))
    yield from (Store(U32, R10, ground.own(_INDEX), index), LoadMap(R1, ground.paths.fd, "paths"))
    yield from (move(R2, R10), add(R2, ground.own(_INDEX)), Call(Helper.MAP_LOOKUP_ELEM), Jump(JumpOp.EQ, R0, 0, no))
    yield from (Load(U64, R0, R0, 0), Jump(JumpOp.EQ, R0, 0, no), Store(U64, R10, ground.own(_WANTED), R0))
    yield from (Load(U64, R3, R10, ground.own(_CGROUP)), add(R3, _list(ground) + 8 * level))
    yield from (*ground.probe(_ANCESTOR, 8, request.fail), Load(U64, R1, R10, ground.own(_ANCESTOR)))
    yield from _id_of_ancestor(ground, request)
    yield from (Load(U64, R2, R10, ground.own(_WANTED)), move(R0, 1), Jump(JumpOp.EQ, R1, R2, done))
    yield from (Label(no), move(R0, 0), Label(done))


def _under_memcg(ground: Ground, request: Request) -> Iterator[Line]:
    """The ancestor at the other's level is the other."""
    no, done = request.label("no"), request.label("done")
    yield from (*ground.load(R3, R1, *TO_CGROUP), *ground.load(R4, R2, *TO_CGROUP))
    yield from (*ground.load(R0, R3, "cgroup", "level"), *ground.load(R5, R4, "cgroup", "level"))
    yield from (Jump(JumpOp.LT, R0, R5, no), Jump(JumpOp.GT, R5, LEVELS_MAX, no))
    if _lists_ids(ground):
        yield from (*ground.load(R4, R4, "cgroup", "kn"), *ground.load(R4, R4, "kernfs_node", "id"))
    yield from (Store(U64, R10, ground.own(_WANTED), R4), Alu(AluOp.LSH, R5, 3))
    yield from (add(R3, _list(ground)), add(R3, R5), *ground.probe(_ANCESTOR, 8, request.fail))
    yield from (Load(U64, R1, R10, ground.own(_ANCESTOR)), Load(U64, R2, R10, ground.own(_WANTED)))
    yield from (move(R0, 1), Jump(JumpOp.EQ, R1, R2, done), Label(no), move(R0, 0), Label(done))


def _id_of_ancestor(ground: Ground, request: Request) -> Iterator[Line]:
    """r1 = the id of what the list has, in r1."""
    if _lists_ids(ground):
        return
    if ground.access.casts:
        yield from (*ground.cast("cgroup"), *ground.load(R1, R0, *TO_ID[1]), *ground.load(R1, R1, *TO_ID[2]))
        return
    for hop in TO_ID[1:]:
        yield from (move(R3, R1), add(R3, ground.at(*hop)), *ground.probe(_ANCESTOR, 8, request.fail))
        yield Load(U64, R1, R10, ground.own(_ANCESTOR))


def _lists_ids(ground: Ground) -> bool:
    return ground.btf.has_field("cgroup", "ancestor_ids")


def _list(ground: Ground) -> int:
    return ground.at("cgroup", "ancestor_ids" if _lists_ids(ground) else "ancestors")
