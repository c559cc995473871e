"""Writing oom_score_adj to the very process that was meant.

Belongs here: the files of one process, by identity. Must not know: which value, and why.
"""

from __future__ import annotations

import enum
import errno
import os
from pathlib import Path

from oompolicy.backends.oom_score_adj.originals import Identity
from oompolicy.errors import BackendError

_CAP_SYS_RESOURCE = 24  # include/uapi/linux/capability.h


class Written(enum.Enum):
    """How a write ended; the value is the sentence a person reads."""

    DONE = "written"
    GONE = "the process has ended"
    REFUSED = "the kernel refuses it: lowering needs CAP_SYS_RESOURCE, another user's process needs root"


def write_adj(identity: Identity, adj: int, proc: Path = Path("/proc")) -> Written:
    """Set the oom_score_adj of a process, if it is still the one of that identity.

    All goes through one open directory: its inode holds the struct pid, not the number, so once the process is reaped
    it answers ENOENT or ESRCH, even if the number is in use again (fs/proc/base.c, proc_pid_make_inode()).
    Raises BackendError where we, and not the process, are the trouble (no file descriptors left).
    """
    try:
        folder = os.open(proc / str(identity.pid), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        return _why(error)
    try:
        if _start_ticks(folder) != identity.start_ticks:
            return Written.GONE
        fd = os.open("oom_score_adj", os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.write(fd, str(adj).encode())
        finally:
            os.close(fd)
    except OSError as error:
        return _why(error)
    finally:
        os.close(folder)
    return Written.DONE


def _why(error: OSError) -> Written:
    if error.errno in (errno.ENOENT, errno.ESRCH):
        return Written.GONE
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Written.REFUSED
    raise BackendError("oom_score_adj", f"cannot be written: {error.strerror}") from error


def _start_ticks(folder: int) -> int:
    """Field 22 of /proc/PID/stat; the comm, in parentheses, may hold anything."""
    fd = os.open("stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        content = os.read(fd, 4096)
    finally:
        os.close(fd)
    return int(content[content.rindex(b")") + 2 :].split()[19])


def may_lower(proc: Path = Path("/proc")) -> bool:
    """Have we CAP_SYS_RESOURCE? Without it oom_score_adj can be raised, and put back, but not lowered further.

    C: static int __set_oom_adj(struct file *file, int oom_adj, bool legacy), fs/proc/base.c.
    """
    for line in (proc / "self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)
    return False
