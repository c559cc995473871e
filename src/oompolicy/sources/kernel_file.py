"""Reading the small files that the kernel makes up as they are read, in /proc and /sys.

Belongs here: one file, whole, relative to an open directory. Must not know: what is written in it.
"""

from __future__ import annotations

import errno
import os
from typing import Final

# ESRCH: the process was reaped (fs/proc/base.c, proc_single_show). ENODEV: the cgroup was removed
# (fs/kernfs/dir.c, kernfs_get_active).
GONE: Final = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV})

# Holds every file that is read here, but for a process with thousands of groups or a deep cgroup; those take a loop.
_CHUNK_BYTES: Final = 4096


def read_at(dir_fd: int, name: str | bytes) -> bytes:
    """The bytes of a file of an open directory that the kernel writes in one go (single_open(), seq_show()).

    Raises OSError, with an errno of GONE where its subject has gone.
    """
    fd = os.open(name, os.O_RDONLY, dir_fd=dir_fd)
    try:
        data = os.read(fd, _CHUNK_BYTES)
        return data if len(data) < _CHUNK_BYTES else data + _rest(fd)
    finally:
        os.close(fd)


def read_records_at(dir_fd: int, name: str | bytes) -> bytes:
    """The bytes of a file that the kernel writes record by record: seq_read() gives as many as fit, so a short
    read is not the end. Raises OSError.
    """
    fd = os.open(name, os.O_RDONLY, dir_fd=dir_fd)
    try:
        return _rest(fd)
    finally:
        os.close(fd)


def _rest(fd: int) -> bytes:
    chunks = []
    while data := os.read(fd, 16 * _CHUNK_BYTES):
        chunks.append(data)
    return b"".join(chunks)


def is_gone(error: OSError) -> bool:
    """Does the error say that what was being read is no longer there?"""
    return error.errno in GONE
