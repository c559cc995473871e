"""What the selection reads of a task: struct task_struct, its signal_struct and its mm_struct.

Belongs here: the fields and the questions the kernel asks of one task. Must not know: how they were read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from oompolicy.mm.memcontrol import MemCgroup

OOM_SCORE_ADJ_MIN: Final = -1000  # include/uapi/linux/oom.h
OOM_SCORE_ADJ_MAX: Final = 1000


# Final, and not frozen: a kill waits for thousands of these, and frozen ones take four times as long to make.
@dataclass(slots=True, unsafe_hash=True)
class Mm:
    """struct mm_struct, the counters that oom_badness() adds up; all in pages.

    rss_pages is get_mm_rss() as oom_badness() reads it. Since v6.2 its counters lag per CPU, so the three parts, where
    a source has them, need not add up to it; they are None where it knows only the sum (OOM reports before v6.8).
    Page tables count mm_pgtables_bytes() in pages.
    """

    rss_pages: Final[int]
    swap_pages: Final[int] = 0
    pgtables_pages: Final[int] = 0
    rss_anon_pages: Final[int | None] = None
    rss_file_pages: Final[int | None] = None
    rss_shmem_pages: Final[int | None] = None
    total_vm_pages: Final[int | None] = None
    oom_skip: Final[bool] = False  # MMF_OOM_SKIP: already reaped, nothing left to free


@dataclass(slots=True, eq=False)
class Task:
    """One process as the selection sees it: the thread find_lock_task_mm() would return.

    pid is that thread's, tgid the process's; they differ where the leader has exited and lives on in its threads.
    mm is None for kernel threads and for processes whose threads have all let go of their memory.
    start_time_ns counts from boot (CLOCK_BOOTTIME), None where the source has none. A mask of nodes is None
    where it is unknown or does not bind.
    """

    pid: Final[int]
    comm: Final[str]
    mm: Final[Mm | None]
    tgid: Final[int | None] = None
    ppid: Final[int | None] = None
    uid: Final[int] = 0
    oom_score_adj: Final[int] = 0
    memcg: Final[MemCgroup | None] = None
    start_time_ns: Final[int | None] = None
    value: Final[int | None] = None
    is_kthread: Final[bool] = False
    in_vfork: Final[bool] = False
    is_oom_victim: Final[bool] = False  # tsk_is_oom_victim(): killed by the OOM killer, not gone yet
    is_exiting: Final[bool] = False  # a fatal signal pending, or PF_EXITING with no thread left
    oom_task_origin: Final[bool] = False  # swapoff, KSM unmerge: asks to be killed first
    has_cap_sys_admin: Final[bool | None] = None  # None: taken from uid 0
    mems_allowed: Final[frozenset[int] | None] = None
    mempolicy_nodes: Final[frozenset[int] | None] = None

    @property
    def process_id(self) -> int:
        """The tgid, what user space calls the pid."""
        return self.pid if self.tgid is None else self.tgid

    def same_process(self, pid: int) -> bool:
        """Does this pid name the process, by its thread or by its leader?"""
        return pid in (self.pid, self.process_id)


def is_global_init(task: Task) -> bool:
    """C: static inline int is_global_init(struct task_struct *tsk), include/linux/sched.h."""
    return task.process_id == 1


def tsk_is_oom_victim(task: Task) -> bool:
    """C: static inline bool tsk_is_oom_victim(struct task_struct *tsk), include/linux/oom.h."""
    return task.is_oom_victim
