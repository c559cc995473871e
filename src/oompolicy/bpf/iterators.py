"""Reading an iterator: what its program writes while it goes over everything.

Belongs here: one read. Must not know: how an iterator is made (links.py), what it tells. It stands alone, without the
structs and errors of the other calls, because a daemon has it loaded for good.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import Final

from oompolicy.bpf.call import NUMBERS, call, out_of_the_way

ITER_CREATE: Final = 33  # enum bpf_cmd, include/uapi/linux/bpf.h
# A read gives what fits into the seq file's buffer, 8 pages (bpf_seq_read(), kernel/bpf/bpf_iter.c); asking for more
# only takes more memory, at a time when there may be none.
_READ_BYTES: Final = 1 << 15


def read_iterator(link_fd: int) -> bytes:
    """Run the program of an iterator's link once: all that it wrote to its seq file.

    Raises OSError: ENOMEM where the kernel has no memory for the file, EINVAL where it is no link of an iterator.
    """
    attribute = struct.pack("=II", link_fd, 0)  # struct { __u32 link_fd; __u32 flags; } iter_create
    memory = ctypes.create_string_buffer(attribute, len(attribute))
    returned = call(NUMBERS[os.uname().machine], ITER_CREATE, memory, len(attribute))
    if returned < 0:
        raise OSError(-returned, os.strerror(-returned))
    fd = out_of_the_way(returned)
    try:
        return b"".join(_chunks(fd))
    finally:
        os.close(fd)


def _chunks(fd: int) -> Iterator[bytes]:
    while chunk := os.read(fd, _READ_BYTES):
        yield chunk
