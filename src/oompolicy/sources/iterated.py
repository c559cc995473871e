"""This machine, now, with the processes as the kernel's task iterator tells them: many times faster than procfs.

Belongs here: when it may stand for procfs, and a task from a record. Must not know: how the iterator works.

It sees what procfs does not show (tsk_is_oom_victim(), MMF_OOM_SKIP, vfork_done, SIGNAL_GROUP_EXIT). The parts of a
process's rss and its swap lag per CPU as oom_badness() reads them; /proc/PID/status has exact sums where it can.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.sched import Mm, Task
from oompolicy.snapshot import Snapshot
from oompolicy.sources.cgroup_mount import find_memory_hierarchy
from oompolicy.sources.cgroupfs import Memcgs, read_memcgs
from oompolicy.sources.live import TICK_NS, Homes, Instant, Seen, joined, live_snapshot
from oompolicy.sources.machine import read_machine
from oompolicy.sources.procfs import PF_EXITING, PF_KTHREAD, Reading, capture_task, read_task
from oompolicy.sources.task_iterator import Record, TaskIterator, records
from oompolicy.sources.task_iterator.record import DUMPS_CORE, HAS_MM, IN_VFORK, IS_OOM_VICTIM, OOM_SKIP

PROC, SYS = Path("/proc"), Path("/sys")
_SIGNAL_GROUP_EXIT: Final = 4  # include/linux/sched/signal.h
_SIGKILL: Final = 1 << 8


class IteratedMachine:
    """Called, it takes a snapshot: as live_snapshot() does, and by it where the iterator fails. Close it."""

    def __init__(self, iterator: TaskIterator) -> None:
        self._iterator = iterator

    def __call__(self) -> Snapshot:
        """The machine at this instant. Raises SourceError as live_snapshot() does."""
        machine = read_machine(PROC)
        if len(machine.node_present_pages) > 1:  # which nodes a task may use is told by procfs alone
            return live_snapshot()
        hierarchy = find_memory_hierarchy(PROC, SYS)
        now = Instant.now()
        try:
            data = self._iterator.read()
        except (OSError, MemoryError):  # procfs is read in small pieces
            return live_snapshot()
        memcgs = Memcgs() if hierarchy is None else read_memcgs(hierarchy, machine.page_size, machine.swappiness)
        homes = Homes(hierarchy, memcgs)
        tasks = tuple(_tasks(records(data), memcgs, homes, machine.page_size))
        if not any(task.tgid == 1 for task in tasks):
            tasks = (*_init(homes, machine.page_size), *tasks)
        return joined(Seen(PROC, machine, hierarchy, memcgs, now), tasks)

    def close(self) -> None:
        """Let go of the iterator."""
        self._iterator.close()


def _init(homes: Homes, page_size: int) -> Iterator[Task]:
    """init, where a sandbox hides it from BPF: it is who orphans are given to, and nothing else here."""
    captured = capture_task(PROC, 1)
    if captured is not None:
        yield read_task(captured, Reading(page_size, TICK_NS, homes.memcg_of))


def _tasks(found: Iterator[Record], memcgs: Memcgs, homes: Homes, page_size: int) -> Iterator[Task]:
    by_id = {memcg.id: memcg for memcg in memcgs.in_order}
    for record in found:
        memcg = by_id.get(record.memcg_id)
        if memcg is None and by_id:
            # Removed, or hidden from here. Where the cgroup has gone the process has ended, or moved.
            cgroup = _cgroup_now(record)
            if cgroup is None:
                continue
            memcg = homes.memcg_of(cgroup)
        yield _task(record, memcg, page_size)


def _cgroup_now(record: Record) -> bytes | None:
    """/proc/PID/cgroup; None where the process has gone."""
    try:
        return Path(f"/proc/{record.tgid}/task/{record.pid}/cgroup").read_bytes()
    except OSError:
        return None


def _task(record: Record, memcg: MemCgroup | None, page_size: int) -> Task:
    bits = record.bits
    return Task(
        record.pid,
        record.comm.partition(b"\0")[0].decode("utf-8", "surrogateescape"),
        _mm(record, page_size) if bits & HAS_MM else None,
        record.tgid,
        record.ppid,
        record.uid,
        record.oom_score_adj,
        memcg,
        record.start_ns // TICK_NS * TICK_NS,
        is_kthread=bool(record.flags & PF_KTHREAD),
        in_vfork=bool(bits & IN_VFORK),
        is_oom_victim=bool(bits & IS_OOM_VICTIM),
        is_exiting=_is_exiting(record),
    )


def _mm(record: Record, page_size: int) -> Mm:
    """get_mm_counter() takes what is below 0 for 0, each for itself."""
    _, _, file, anon, swap, shmem, pgtables_bytes, total_vm, *_ = record
    # Not max(): of two thousand processes its calls would take a tenth of the snapshot's time.
    file = file if file > 0 else 0
    anon = anon if anon > 0 else 0
    shmem = shmem if shmem > 0 else 0
    return Mm(
        file + anon + shmem,
        swap if swap > 0 else 0,
        (pgtables_bytes if pgtables_bytes > 0 else 0) // page_size,
        anon,
        file,
        shmem,
        total_vm,
        bool(record.bits & OOM_SKIP),
    )


def _is_exiting(record: Record) -> bool:
    """C: static inline bool __task_will_free_mem(struct task_struct *task), mm/oom_kill.c; or SIGKILL is on its way."""
    if record.bits & DUMPS_CORE:
        return False
    if record.signal_flags & _SIGNAL_GROUP_EXIT or record.pending & _SIGKILL:
        return True
    return bool(record.flags & PF_EXITING) and record.thread_count <= 1
