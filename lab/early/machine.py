"""The guest's own files: cgroups, sizes, pressure, processes. Runs in the guest.

Belongs here: reading and writing them. Must not know: loads, contenders.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

CGROUPS: Final = Path("/sys/fs/cgroup")
CONTROLLERS: Final = ("memory", "pids", "io", "cpu")
_MCL_CURRENT_FUTURE: Final = 3


def stay() -> None:
    """This process must be able to see everything to its end."""
    Path("/proc/self/oom_score_adj").write_text("-1000")
    ctypes.CDLL(None).mlockall(_MCL_CURRENT_FUTURE)
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(50))


def meminfo_mib() -> dict[str, float]:
    """What /proc/meminfo has, by its names."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) / 1024 for words in lines}


class Counters(NamedTuple):
    """Since boot: how long some task, and all at once, have waited for memory, all at once for disks; refaults."""

    some_us: int
    full_us: int
    io_full_us: int
    refaults: int


def counters() -> Counters:
    """As they are now."""
    some_us, full_us = (_total_us(line) for line in Path("/proc/pressure/memory").read_text().splitlines())
    _, io_full_us = (_total_us(line) for line in Path("/proc/pressure/io").read_text().splitlines())
    return Counters(some_us, full_us, io_full_us, vmstat("workingset_refault_anon") + vmstat("workingset_refault_file"))


def _total_us(line: str) -> int:
    return int(line.rpartition("total=")[2])


def vmstat(name: str) -> int:
    """A counter by its name."""
    lines = (line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    return next(int(number) for found, number in lines if found == name)


def make_cgroup(path: str) -> Path:
    """A cgroup, with those above it, and all controllers."""
    here = CGROUPS
    for part in path.strip("/").split("/"):
        for controller in CONTROLLERS:
            with contextlib.suppress(OSError):
                (here / "cgroup.subtree_control").write_text(f"+{controller}")
        here = here / part
        here.mkdir(exist_ok=True)
    return here


def is_populated(path: str) -> bool:
    """Does anybody live in a cgroup, or below it?"""
    return "populated 1" in (CGROUPS / path.strip("/") / "cgroup.events").read_text()


def remove_cgroups(top: str) -> None:
    """Kill all that is in a tree of cgroups, and remove it."""
    root = CGROUPS / top.strip("/")
    if not root.exists():
        return
    (root / "cgroup.kill").write_text("1")
    until_s = time.monotonic() + 30
    while is_populated(top) and time.monotonic() < until_s:
        reap()
        time.sleep(0.05)
    for folder, _, _ in os.walk(root, topdown=False):
        Path(folder).rmdir()


def reap() -> None:
    """Children of dead parents are this process's, where it is their reaper; the rest is init's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def start(
    command: Sequence[str], cgroup: str = "", adj: int = 0, nice: int = 0, said: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """A process in a cgroup, with a priority that is not ours."""

    def become() -> None:
        if cgroup:
            (CGROUPS / cgroup.strip("/") / "cgroup.procs").write_text("0")
        Path("/proc/self/oom_score_adj").write_text(str(adj))
        os.nice(nice)

    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=quiet, stdout=said or quiet, stderr=said or None, preexec_fn=become)


def cpu_ticks(pid: int) -> int:
    """Of utime and stime, 100 a second."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def settled(pid: int, limit_s: float) -> bool:
    """Wait until a process has nothing more to do: it used next to no time for a second."""
    until_s = time.monotonic() + limit_s
    while time.monotonic() < until_s:
        try:
            before = cpu_ticks(pid)
            time.sleep(1)
            if cpu_ticks(pid) - before <= 3:
                return True
        except OSError:
            return False
    return True


def lives(pid: int, comm: str) -> bool:
    """Is that process still there, and no other in its place?"""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    name, _, rest = stat.partition("(")[2].rpartition(")")
    return name == comm and rest.split()[0] not in "ZX"
