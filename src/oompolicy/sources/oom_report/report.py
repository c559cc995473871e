"""What one OOM report says, as data.

Belongs here: the facts of a report under the kernel's names, units in theirs.
Must not know: how they were printed or read.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from oompolicy.mm.oom import OomConstraint


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One line of the task table. A column that this kernel's table does not have is None.

    pid is a thread's where the process's leader has let go of its memory; tgid is the process's. Page tables are
    nr_ptes, nr_ptes + nr_pmds or pgtables_bytes, in pages.
    """

    pid: int
    uid: int
    tgid: int
    total_vm_pages: int
    rss_pages: int
    comm: str
    rss_anon_pages: int | None = None
    rss_file_pages: int | None = None
    rss_shmem_pages: int | None = None
    pgtables_pages: int | None = None
    swapents_pages: int | None = None
    oom_score_adj: int | None = None
    oom_adj: int | None = None


class KilledBy(enum.Enum):
    """Which line names a victim; the value is how it begins."""

    KILLED = "Killed process"
    CHOSEN = "Kill process"
    SUMMARY = "oom-kill:"
    REAPER = "oom_reaper: reaped process"
    EXITING = "OOM victim, already exiting"


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: who died, and who had been chosen where a line says so ("Kill process ... or sacrifice child").

    Sizes are those of the "Killed process" line, in kB; score is the chosen one's, per mille of totalpages.
    of_group: it died with its memcg's memory.oom.group. comm is None where the line was cut.
    """

    pid: int
    comm: str | None = None
    named_by: KilledBy = KilledBy.KILLED
    chosen_pid: int | None = None
    chosen_comm: str | None = None
    score: int | None = None
    uid: int | None = None
    total_vm_kb: int | None = None
    anon_rss_kb: int | None = None
    file_rss_kb: int | None = None
    shmem_rss_kb: int | None = None
    pgtables_kb: int | None = None
    oom_score_adj: int | None = None
    of_group: bool = False
    line: int = 0


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of the memcg that ran out, in kB; limit_kb is None where it has none."""

    usage_kb: int
    limit_kb: int | None


@dataclass(frozen=True, slots=True)
class OomReport:
    """One OOM as the kernel's log tells it. None is what the report does not say.

    first_line and last_line count from 1 in the log; timestamp is that of the first line, as printed. constraint is
    the printed one, or what the lines imply. node_present_kb is (node, kB) of the zones printed. columns are the
    table's; None where it has no header and none could be inferred. table_is_whole: header, every row and the end
    are there; damaged_rows count those that could not be read. already_killed are pids of rows whose process an
    earlier report of the same log killed. missing names what is not there.
    """

    first_line: int = 0
    last_line: int = 0
    timestamp: str | None = None
    kernel_release: str | None = None
    invoker_comm: str | None = None
    invoker_pid: int | None = None
    gfp_mask: int | None = None
    gfp_flags: str | None = None
    order: int | None = None
    invoker_oom_score_adj: int | None = None
    constraint: OomConstraint | None = None
    cpuset: str | None = None
    mems_allowed: frozenset[int] | None = None
    nodemask: frozenset[int] | None = None
    oom_memcg: str | None = None
    task_memcg: str | None = None
    memory: Counter | None = None
    swap: Counter | None = None
    memsw: Counter | None = None
    kmem: Counter | None = None
    ram_pages: int | None = None
    reserved_pages: int | None = None
    free_swap_kb: int | None = None
    total_swap_kb: int | None = None
    pagetables_pages: int | None = None
    page_size_bytes: int = 4096
    node_present_kb: tuple[tuple[int, int], ...] = ()
    columns: tuple[str, ...] | None = None
    rows: tuple[TaskRow, ...] = ()
    table_is_whole: bool = False
    damaged_rows: int = 0
    already_killed: frozenset[int] = frozenset()
    kills: tuple[Kill, ...] = ()
    oom_group: str | None = None
    kills_allocating_task: bool = False
    no_killable: bool = False
    panic: str | None = None
    missing: tuple[str, ...] = ()

    @property
    def is_sysrq(self) -> bool:
        """Was it asked for by hand (sysrq f)?"""
        return self.order == -1

    @property
    def is_complete(self) -> bool:
        """Is the whole table there, and how it ended?"""
        return self.table_is_whole and (bool(self.kills) or self.no_killable)

    @property
    def killed(self) -> Kill | None:
        """The first kill: the one that the table was printed for."""
        return self.kills[0] if self.kills else None

    @property
    def has_swap_column(self) -> bool:
        """Does the table say how much of each task is in swap?"""
        return self.columns is not None and "swapents" in self.columns
