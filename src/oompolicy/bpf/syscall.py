"""bpf(2) itself, through the C library's syscall(2): there is no wrapper for it in libc.

Belongs here: the one call, its number, its retries. Must not know: what a call is for.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from functools import cache
from typing import Any, Final, Generic, NamedTuple, TypeVar

from oompolicy.bpf.attributes import Layout, filled
from oompolicy.bpf.errors import BpfError, refusal
from oompolicy.bpf.uapi import Command

# arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
NUMBERS: Final = {"x86_64": 321, "aarch64": 280}
TRIES: Final = 5  # of a call that a signal interrupts: the verifier then answers EAGAIN
_FIRST_FREE_FD: Final = 3

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
    for _ in range(TRIES):
        returned = _syscall()(_number(), command, memory, speaking)
        if returned >= 0:
            break
        returned = -ctypes.get_errno()
        if returned != -errno.EAGAIN:
            break
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


def out_of_the_way(fd: int) -> int:
    """The descriptor, or a copy of it in its stead: never 0, which bpf_attr means "none" by, nor 1 or 2."""
    if fd >= _FIRST_FREE_FD:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD)
    finally:
        os.close(fd)


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


@cache
def _syscall() -> Any:
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    function.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_long)
    return function
