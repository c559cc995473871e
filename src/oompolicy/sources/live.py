"""This machine, now: processes, memcgs and sizes joined into one snapshot.

Belongs here: the order of reading, joining tasks to memcgs, and saying what is not seen from here.
Must not know: the formats of single files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import Kernel
from oompolicy.mm.rules import rules_for
from oompolicy.mm.sched import Task
from oompolicy.snapshot import Snapshot
from oompolicy.sources.cgroup_mount import Hierarchy, find_memory_hierarchy
from oompolicy.sources.cgroupfs import Memcgs, read_memcgs
from oompolicy.sources.kernel_file import is_gone
from oompolicy.sources.machine import Machine, read_machine
from oompolicy.sources.process_details import ProcDetails
from oompolicy.sources.procfs import PF_KTHREAD, Capture, Reading, capture_tasks, read_task, recapture_cgroup
from oompolicy.sources.vfork import pids_in_vfork

# include/linux/proc_ns.h: the inode numbers of a kernel's first namespaces.
_FIRST_NAMESPACES: Final = {"pid": 0xEFFFFFFC, "cgroup": 0xEFFFFFFB}
TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_OUTSIDE: Final = {
    "pid": "only the processes of this pid namespace are seen, and its pid 1 is taken for the kernel's init",
    "cgroup": "only the cgroups of this cgroup namespace are seen: limits above it are not",
}


def live_snapshot(proc: str | Path = "/proc", sys: str | Path = "/sys") -> Snapshot:
    """The machine below these two roots, at this instant.

    Processes are read first and cgroups after them, so that a cgroup which a process was seen in is either there
    or was removed since; in that case the process has moved or ended, and is asked again. What cannot be seen from
    here (namespaces, hidepid, no rights) is in Snapshot.missing, in sentences. Raises SourceError where there is no
    procfs to read.
    """
    proc, sys = Path(proc), Path(sys)
    machine = read_machine(proc)
    hierarchy = find_memory_hierarchy(proc, sys)
    now = Instant.now()
    capture = capture_tasks(proc)
    memcgs = Memcgs() if hierarchy is None else read_memcgs(hierarchy, machine.page_size, machine.swappiness)
    homes = Homes(hierarchy, memcgs)
    _ask_the_homeless_again(capture, homes, proc)
    reading = Reading(
        machine.page_size,
        TICK_NS,
        homes.memcg_of,
        kthread_memcg=memcgs.by_path.get("/"),
        mems_allowed=len(machine.node_present_pages) > 1,
        in_vfork=pids_in_vfork(capture.tasks, proc),
    )
    tasks = tuple([read_task(captured, reading) for captured in capture.tasks])
    seen = Seen(proc, machine, hierarchy, memcgs, now)
    return joined(seen, tasks, _processes_not_seen(capture, hierarchy))


class Instant(NamedTuple):
    """CLOCK_BOOTTIME and the wall clock."""

    boottime_ns: int
    unix_ns: int

    @classmethod
    def now(cls) -> Instant:
        """Of this moment."""
        return cls(time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns())


@dataclass(frozen=True, slots=True)
class Seen:
    """The machine but for its processes."""

    proc: Path
    machine: Machine
    hierarchy: Hierarchy | None
    memcgs: Memcgs
    at: Instant


def joined(seen: Seen, tasks: tuple[Task, ...], missing: Iterable[str] = ()) -> Snapshot:
    """The snapshot of both."""
    machine, memcgs = seen.machine, seen.memcgs
    kernel = Kernel(
        tasks=tasks,
        totalram_pages=machine.totalram_pages,
        total_swap_pages=machine.total_swap_pages,
        memcgs=tuple(memcgs.in_order),
        node_present_pages=machine.node_present_pages,
        sysctl_oom_kill_allocating_task=machine.oom_kill_allocating_task,
        sysctl_panic_on_oom=machine.panic_on_oom,
        rules=rules_for(machine.release),
    )
    return Snapshot(
        kernel,
        page_size_bytes=machine.page_size,
        taken_boottime_ns=seen.at.boottime_ns,
        taken_unix_ns=seen.at.unix_ns,
        kernel_release=machine.release,
        hostname=machine.hostname,
        hierarchy=None if seen.hierarchy is None else seen.hierarchy.version,
        missing=(*machine.missing, *missing, *_machine_not_seen(seen), *memcgs.missing),
        details=ProcDetails(seen.proc, TICK_NS),
    )


class Homes:
    """Which memcg the processes of a /proc/PID/cgroup are in."""

    def __init__(self, hierarchy: Hierarchy | None, memcgs: Memcgs) -> None:
        self._hierarchy = hierarchy
        self._by_path = memcgs.by_path
        self._paths: dict[bytes, str | None] = {}  # many processes, few cgroups
        self._vanished: dict[str, bool] = {}

    def memcg_of(self, proc_cgroup: bytes) -> MemCgroup | None:
        """The memcg; None where there is no controller, or the path is outside what is mounted here."""
        path = self._path_of(proc_cgroup)
        return None if path is None else self._by_path.get(path) or self._nearest(path)

    def has_vanished(self, proc_cgroup: bytes) -> bool:
        """Has the cgroup been removed between the reading of the process and that of the cgroups?"""
        path = self._path_of(proc_cgroup)
        if path is None or path in self._by_path or self._hierarchy is None:
            return False
        if path not in self._vanished:
            self._vanished[path] = _is_gone(Path(f"{self._hierarchy.directory}{path}"))
        return self._vanished[path]

    def _path_of(self, proc_cgroup: bytes) -> str | None:
        if self._hierarchy is None:
            return None
        if proc_cgroup not in self._paths:
            self._paths[proc_cgroup] = self._hierarchy.path_of(proc_cgroup)
        return self._paths[proc_cgroup]

    def _nearest(self, path: str) -> MemCgroup | None:
        """The memcg of the nearest path above that has one.

        A v2 cgroup without the memory controller uses the memcg above (cgroup_e_css(), kernel/cgroup/cgroup.c).
        """
        while path not in self._by_path and path != "":
            path = path.rpartition("/")[0]
        return self._by_path.get(path or "/")


def _is_gone(path: Path) -> bool:
    """Is there nothing of that name? A name too long to ask for is no proof of it."""
    try:
        path.stat()
    except OSError as error:
        return is_gone(error)
    return False


def _ask_the_homeless_again(capture: Capture, homes: Homes, proc: Path) -> None:
    """Read the cgroup anew where it has vanished; a process that has vanished too is dropped.

    Where that cgroup is not known either, made a moment ago, the process counts for the one above.
    """
    remaining = []
    for captured in capture.tasks:
        if homes.has_vanished(captured.cgroup):
            cgroup = recapture_cgroup(captured, proc)
            if cgroup is None:
                continue
            captured.cgroup = cgroup
        remaining.append(captured)
    capture.tasks = remaining


def _processes_not_seen(capture: Capture, hierarchy: Hierarchy | None) -> Iterator[str]:
    """Which processes procfs does not show, in sentences."""
    if capture.unreadable:
        count = len(capture.unreadable)
        yield f"processes that may not be read are left out: {count} ({_first(capture.unreadable)})"
    elif not any(captured.pid == 1 for captured in capture.tasks):
        yield "processes of other users are hidden (procfs is mounted with hidepid): only root sees all"
    if hierarchy is not None:
        homeless = [one.pid for one in capture.tasks if not one.cgroup and not one.leader.flags & PF_KTHREAD]
        if homeless:
            yield f"processes whose cgroup cannot be told: {len(homeless)} ({_first(homeless)})"


def _machine_not_seen(seen: Seen) -> Iterator[str]:
    """What this process cannot see of the machine, in sentences."""
    for namespace, sentence in _OUTSIDE.items():
        if _is_outside(seen.proc, namespace):
            yield sentence
    if seen.hierarchy is None:
        yield "no memory controller is mounted: memcgs, their limits and their values are not known"
    if seen.memcgs.delegated and not _sees_trusted_attributes(seen.proc):
        yield "values of delegated cgroups (trusted.oompolicy.value) are seen by root only"


def _first(pids: list[int]) -> str:
    return f"pid {pids[0]}" + (", …" if len(pids) > 1 else "")


def _is_outside(proc: Path, namespace: str) -> bool:
    """Is this process in another namespace than the kernel's first?"""
    try:
        name = str((proc / "self" / "ns" / namespace).readlink())
    except OSError:
        return False
    return name != f"{namespace}:[{_FIRST_NAMESPACES[namespace]}]"


def _sees_trusted_attributes(proc: Path) -> bool:
    """CAP_SYS_ADMIN, bit 21 of CapEff; xattr_permission() in fs/xattr.c hides trusted.* from others."""
    try:
        for line in (proc / "self" / "status").read_bytes().splitlines():
            if line.startswith(b"CapEff:"):
                return bool(int(line[7:], 16) >> 21 & 1)
    except OSError:
        pass
    return True
