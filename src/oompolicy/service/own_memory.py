"""The daemon's own memory when there is none: held in RAM, and not what the kernel takes.

Belongs here: giving back, mlockall, descriptors, oom_score_adj of this process, memory.min of its memcg. Must not know:
what runs.
"""

from __future__ import annotations

import ctypes
import os
import resource
from pathlib import Path
from typing import Final

from oompolicy.sources.cgroup_mount import find_memory_hierarchy

# include/uapi/asm-generic/mman.h. ONFAULT came with commit b0f205c2a308 "mm: mlock: add mlock flags to enable
# VM_LOCKONFAULT usage" (in v4.4): what is used stays, and what never is takes no memory.
MCL_CURRENT: Final = 1
MCL_FUTURE: Final = 2
MCL_ONFAULT: Final = 4

OOM_SCORE_ADJ_MIN: Final = -1000

# The daemon and what it needs at the moment of a kill: a snapshot of some thousand processes.
PROTECTED_BYTES: Final = 32 << 20


def lock_memory() -> str | None:
    """Keep what this process has, and will use, in RAM. None, or why that is not so."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0:
        return None
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    why = os.strerror(ctypes.get_errno())
    return f"memory is not locked ({why}; RLIMIT_MEMLOCK is {limit}): the daemon itself may be swapped out"


def give_back() -> None:
    """What the C library holds free, to the kernel, before it is locked; where it is not glibc, nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def leave_to_the_last(proc: Path = Path("/proc")) -> str | None:
    """Take this process, and its children, out of the kernel's choice. None, or what was refused."""
    path = proc / "self" / "oom_score_adj"
    try:
        before = int(path.read_bytes())
    except (OSError, ValueError) as error:
        return f"oom_score_adj of the daemon cannot be read ({error})"
    try:
        path.write_text(f"{OOM_SCORE_ADJ_MIN}\n")
    except OSError as error:
        # Without CAP_SYS_RESOURCE it can only be raised (__set_oom_adj(), fs/proc/base.c).
        return f"oom_score_adj of the daemon stays {before} ({error.strerror})"
    return None


def protect_memcg(
    proc: Path = Path("/proc"), sys: Path = Path("/sys"), amount_bytes: int = PROTECTED_BYTES
) -> str | None:
    """memory.min of the memcg that is this process's alone, if there is one and it may be written. None, or why not.

    A memcg shared with others is not ours to protect; under systemd MemoryMin= in the unit file does it.
    """
    hierarchy = find_memory_hierarchy(proc, sys)
    if hierarchy is None or hierarchy.version == "v1":
        return "no memory.min for the daemon: that is cgroup v2's"
    try:
        path = hierarchy.path_of((proc / "self" / "cgroup").read_bytes())
        if path is None or path == "/":
            return "no memory.min for the daemon: it is in no memcg of its own"
        directory = hierarchy.directory / path.lstrip("/")
        minimum = directory / "memory.min"
        if not minimum.exists():
            return f"no memory.min for the daemon: its cgroup {path} has no memory controller"
        now = minimum.read_bytes().strip()
        if now == b"max" or int(now) >= amount_bytes:
            return None
        if not all(_is_ours(pid, proc) for pid in (directory / "cgroup.procs").read_text().split()):
            return f"no memory.min for the daemon: others are in its memcg {path}"
        minimum.write_text(f"{amount_bytes}\n")
    except (OSError, ValueError) as error:
        return f"no memory.min for the daemon: {error}"
    return None


def _is_ours(pid: str, proc: Path) -> bool:
    """Is it this process, or a child of it: the helper that runs commands?"""
    if int(pid) == os.getpid():
        return True
    stat = (proc / pid / "stat").read_bytes()
    return int(stat[stat.rindex(b")") + 2 :].split()[1]) == os.getpid()


def more_descriptors() -> int:
    """Raise the limit of descriptors to what is allowed; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return soft
    return hard
