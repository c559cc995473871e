"""A call of bpf(2) with its struct, typed, and its failures as errors.

Belongs here: packing, unpacking, refusals. Must not know: what a call is for.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Generic, NamedTuple, TypeVar

from oompolicy.bpf.attributes import Layout, filled
from oompolicy.bpf.call import NUMBERS, call, out_of_the_way
from oompolicy.bpf.errors import BpfError, refusal
from oompolicy.bpf.uapi import Command

AttributeT = TypeVar("AttributeT", bound=Layout)


class Answer(NamedTuple, Generic[AttributeT]):
    """What a call returned, -errno where it failed, and the attribute as the kernel left it."""

    returned: int
    attribute: AttributeT


def ask(command: Command, attribute: AttributeT) -> Answer[AttributeT]:
    """One call whose failure may be an answer. Raises nothing that comes from the kernel."""
    packed = attribute.pack()
    memory = filled(packed)
    # Zeros at the end are left out: a kernel refuses more bytes than it knows only where they say something, but a
    # sandbox in between may not look. What the kernel writes back lands in the whole of the memory.
    speaking = min(-(-len(packed.rstrip(b"\0")) // 8) * 8, len(packed))
    returned = call(_number(), command, memory, speaking)
    return Answer(returned, attribute.unpack(memory.raw))


def bpf(command: Command, attribute: AttributeT, what: object) -> AttributeT:
    """One call: the attribute as the kernel left it. `what` names the thing concerned in errors. Raises BpfError."""
    answer = ask(command, attribute)
    if answer.returned < 0:
        raise refusal(command, -answer.returned, what)
    return answer.attribute


def bpf_fd(command: Command, attribute: Layout, what: object) -> int:
    """A call that returns a file descriptor, close-on-exec and never 0, 1 or 2. Raises BpfError."""
    fd = ask(command, attribute).returned
    if fd < 0:
        raise refusal(command, -fd, what)
    return out_of_the_way(fd)


def number_on(machine: str) -> int:
    """The number of bpf(2) on a machine, as uname(2) names it. Raises BpfError.

    >>> number_on("aarch64")
    280
    """
    if machine not in NUMBERS:
        raise BpfError("bpf(2)", f"its number on {machine} is not known here", f"known: {', '.join(NUMBERS)}")
    return NUMBERS[machine]


@cache
def _number() -> int:
    return number_on(os.uname().machine)
