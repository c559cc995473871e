"""Small programs for the tests, written by hand; each function gives lines or a spec of them.

And the way to skip: in a guest (IN_GUEST is set) nothing may be skipped for lack of permission, there it must work.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

from oompolicy.bpf.assembly import Line, assemble
from oompolicy.bpf.instructions import Call, Exit, Load, LoadMap, Store, add, move
from oompolicy.bpf.maps import Map
from oompolicy.bpf.opcodes import Reg, Width
from oompolicy.bpf.programs import Program, ProgramSpec
from oompolicy.bpf.uapi import AttachType, Helper, ProgramFlags, ProgramType

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Reg
U8, U16, U32, U64 = Width


def syscall_spec(lines: Sequence[Line], name: str = "by_hand") -> ProgramSpec:
    """A program for test runs: r1 is the context, of which each byte used must be given."""
    return ProgramSpec(ProgramType.SYSCALL, name, assemble(lines), flags=ProgramFlags.SLEEPABLE)


def load(lines: Sequence[Line], name: str = "by_hand") -> Program:
    return Program.load(syscall_spec(lines, name))


def tracing_spec(
    lines: Sequence[Line], attach_type: AttachType, btf_id: int, name: str = "by_hand", btf_fd: int = 0
) -> ProgramSpec:
    return ProgramSpec(ProgramType.TRACING, name, assemble(lines), attach_type, btf_id, btf_fd)


def constant(number: int) -> list[Line]:
    """Returns a number."""
    return [move(R0, number), Exit()]


def call_with_key(helper: Helper, target: Map, key: int, *more: Line) -> list[Line]:
    """r0 = helper(target, &key, more set r3 and r4); the key is 4 bytes, at the end of the frame."""
    return [
        Store(U32, R10, -4, key),
        LoadMap(R1, target.fileno(), target.name),
        move(R2, R10),
        add(R2, -4),
        *more,
        Call(helper),
    ]


def emit(ring: Map, value_bytes: int = 8) -> list[Line]:
    """r0 = bpf_ringbuf_output(): the first bytes of the context go into a ring buffer."""
    return [
        Load(U64, R6, R1, 0),
        Store(U64, R10, -8, R6),
        LoadMap(R1, ring.fileno(), ring.name),
        move(R2, R10),
        add(R2, -8),
        move(R3, value_bytes),
        move(R4, 0),
        Call(Helper.RINGBUF_OUTPUT),
    ]


def not_here(reason: object) -> NoReturn:
    import pytest  # here, because not every guest has it

    if os.environ.get("IN_GUEST"):
        pytest.fail(f"a guest must be able to: {reason}")
    pytest.skip(str(reason))
