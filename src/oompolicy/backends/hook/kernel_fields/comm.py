"""A task's name, as the two words that a compiled policy compares.

Belongs here: reading them. Must not know: what they are compared with.

What follows the NUL is zero on kernels since commit 06c5088aeedf "fs/exec: replace strlcpy with strscpy_pad in
__set_task_comm" (in v5.17).
"""

from __future__ import annotations

from collections.abc import Iterator

from oompolicy.backends.hook.kernel_fields.ground import U64, Ground, Request
from oompolicy.bpf.assembly import Line
from oompolicy.bpf.instructions import Load, add, move
from oompolicy.bpf.opcodes import R0, R1, R3, R10

WORDS = ("task.comm_0", "task.comm_1")


def first_word(ground: Ground, request: Request) -> Iterator[Line]:
    """Bytes 0 to 7."""
    yield from _word(ground, request, 0)


def second_word(ground: Ground, request: Request) -> Iterator[Line]:
    """Bytes 8 to 15."""
    yield from _word(ground, request, 1)


def _word(ground: Ground, request: Request, number: int) -> Iterator[Line]:
    """Loads beyond the first char of an array: the verifier lets it pass, where it does (btf_struct_walk(),
    kernel/bpf/btf.c: "access beyond the size of the array's element").
    """
    offset = ground.at("task_struct", "comm") + 8 * number
    if ground.access.loads_comm:
        yield Load(U64, R0, R1, offset)
        return
    yield from (move(R3, R1), add(R3, offset), *ground.probe(0, 8, request.fail), Load(U64, R0, R10, ground.own(0)))
