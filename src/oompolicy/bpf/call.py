"""bpf(2) itself, through the C library's syscall(2): there is no wrapper for it in libc.

Belongs here: the one call in bytes, its number, its retries, its descriptors. Must not know: what a call is for, and
how its struct is laid out: a daemon that only reads an iterator has this without the layouts.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from functools import cache
from typing import Any, Final

# arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
NUMBERS: Final = {"x86_64": 321, "aarch64": 280}
TRIES: Final = 5  # of a call that a signal interrupts: the verifier then answers EAGAIN
_FIRST_FREE_FD: Final = 3


def call(number: int, command: int, memory: ctypes.Array[ctypes.c_char], size_bytes: int) -> int:
    """What bpf(2), whose number is one of NUMBERS, returned; -errno where it failed."""
    returned = -errno.EAGAIN
    for _ in range(TRIES):
        returned = _syscall()(number, command, memory, size_bytes)
        if returned >= 0:
            break
        returned = -ctypes.get_errno()
        if returned != -errno.EAGAIN:
            break
    return returned


def out_of_the_way(fd: int) -> int:
    """The descriptor, or a copy of it in its stead: never 0, which bpf_attr means "none" by, nor 1 or 2."""
    if fd >= _FIRST_FREE_FD:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD)
    finally:
        os.close(fd)


@cache
def _syscall() -> Any:
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    function.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_long)
    return function
