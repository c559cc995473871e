"""Fields of the OOM: struct oom_control, and who ran out.

Belongs here: reading them. Must not know: the memcg and the task that they lead to.
"""

from __future__ import annotations

from collections.abc import Iterator

from oompolicy.backends.hook.kernel_fields.ground import Ground, Request, within_pages
from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.instructions import Call, Jump, add, move
from oompolicy.bpf.opcodes import R0, R1, JumpOp
from oompolicy.bpf.uapi import Helper

OC = "oom_control"
SYSRQ_ORDER = -1  # is_sysrq_oom(), mm/oom_kill.c


def totalpages(ground: Ground, request: Request) -> Iterator[Line]:
    """oc->totalpages."""
    yield from (*ground.walk((OC, "totalpages")), *within_pages(request.labels))


def order(ground: Ground, request: Request) -> Iterator[Line]:
    """oc->order."""
    yield from ground.walk((OC, "order"))


def gfp_mask(ground: Ground, request: Request) -> Iterator[Line]:
    """oc->gfp_mask."""
    yield from ground.walk((OC, "gfp_mask"))


def constraint(ground: Ground, request: Request) -> Iterator[Line]:
    """oc->constraint; its enumerators are numbered from 0."""
    yield from ground.walk((OC, "constraint"))


def is_memcg_oom(ground: Ground, request: Request) -> Iterator[Line]:
    """oc->memcg != NULL. A pointer that is 0 is still a pointer to the verifier, with which nobody may calculate."""
    none = request.label("none")
    yield from (*ground.walk((OC, "memcg")), move(R1, R0), move(R0, 0))
    yield from (Jump(JumpOp.EQ, R1, 0, none), move(R0, 1), Label(none))


def memcg(ground: Ground, request: Request) -> Iterator[Line]:
    """The css of oc->memcg."""
    offset, none = ground.at("mem_cgroup", "css"), request.label("none")
    yield from ground.walk((OC, "memcg"))
    if offset:
        yield from (Jump(JumpOp.EQ, R0, 0, none), add(R0, offset), Label(none))


def trigger(ground: Ground, request: Request) -> Iterator[Line]:
    """current: out_of_memory() runs in the task that ran out. For sysrq f that is a kernel worker, and nobody ran out:
    null, as the model has it.
    """
    null, done = request.label("null"), request.label("done")
    yield from (*ground.load(R1, R1, OC, "order"), Jump(JumpOp.EQ, R1, SYSRQ_ORDER, null))
    yield from (Call(Helper.GET_CURRENT_TASK_BTF), Jump(JumpOp.NE, R0, 0, done))
    yield from (Label(null), move(R0, 0), Label(done))
