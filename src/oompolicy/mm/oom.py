"""struct oom_control and the kernel's globals that the selection reads.

Belongs here: the data of one OOM, from include/linux/oom.h. Must not know: how points are computed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from oompolicy.mm.memcontrol import MemCgroup, mem_cgroup_is_descendant
from oompolicy.mm.rules import NEWEST, Rules
from oompolicy.mm.sched import Task


class OomConstraint(enum.Enum):
    """enum oom_constraint, include/linux/oom.h; the value is what the report prints."""

    CONSTRAINT_NONE = "CONSTRAINT_NONE"
    CONSTRAINT_CPUSET = "CONSTRAINT_CPUSET"
    CONSTRAINT_MEMORY_POLICY = "CONSTRAINT_MEMORY_POLICY"
    CONSTRAINT_MEMCG = "CONSTRAINT_MEMCG"


class Exclusion(enum.Enum):
    """Why a task never reaches the policy; the value is the sentence a person reads."""

    INIT = "init is never killed"
    KTHREAD = "a kernel thread is never killed"
    NOT_ELIGIBLE = "its memory nodes are not those that ran out"
    ALREADY_REAPED = "an earlier victim whose memory is already freed"
    OOM_VICTIM = "an earlier victim on its way out: the kernel waits for it and kills nobody"
    NO_MM = "it has no memory of its own any more"
    ADJ_MIN = "oom_score_adj is -1000"
    VFORK = "in the middle of vfork: its memory is its parent's"
    OUT_OF_SCOPE = "it is outside the cgroup that ran out"


@dataclass(frozen=True)
class Kernel:
    """What is global in the kernel: tasks, memcgs, sizes and sysctls.

    tasks are in for_each_process() order (oldest first), memcgs in for_each_mem_cgroup_tree() order (parents before
    children). node_present_pages maps a node to its pages; empty where the source knows of no nodes.
    """

    tasks: tuple[Task, ...]
    totalram_pages: int
    total_swap_pages: int = 0
    memcgs: tuple[MemCgroup, ...] = ()
    node_present_pages: dict[int, int] = field(default_factory=dict)
    sysctl_oom_kill_allocating_task: bool = False
    sysctl_panic_on_oom: int = 0
    rules: Rules = NEWEST

    @cached_property
    def _tasks_by_memcg(self) -> dict[MemCgroup | None, list[Task]]:
        by_memcg: dict[MemCgroup | None, list[Task]] = {}
        for task in self.tasks:
            by_memcg.setdefault(task.memcg, []).append(task)
        return by_memcg

    def mem_cgroup_tasks(self, root: MemCgroup) -> Iterator[Task]:
        """The tasks of a memcg and of those below it, in the order of mem_cgroup_scan_tasks()."""
        for memcg in self.memcgs:
            if mem_cgroup_is_descendant(memcg, root):
                yield from self._tasks_by_memcg.get(memcg, ())

    def memcg(self, path: str) -> MemCgroup | None:
        """The memcg of that path; None where there is none."""
        return next((memcg for memcg in self.memcgs if memcg.path == path), None)

    def children(self, task: Task) -> Iterator[Task]:
        """The processes whose parent is this one."""
        return (child for child in self.tasks if child.ppid is not None and task.same_process(child.ppid))


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What oom_evaluate_task() made of one task.

    badness is the kernel's own points, None where the task is excluded. points is what was compared.
    """

    task: Task
    badness: int | None
    points: int | None
    excluded: Exclusion | None = None


@dataclass(slots=True)
class OomControl:
    """struct oom_control: one OOM, its scope, and the choice as it is being made.

    memcg is None for an OOM that is not a memcg's. nodemask is the mempolicy's nodes where one truncated the
    allocation. order -1 is sysrq. cpuset_limited: a zone was refused by the cpuset of the trigger.
    chosen_points starts where select_bad_process() starts it. aborted_by is the task the kernel waits for
    (chosen == -1UL in C). totalpages is set by constrained_alloc().
    """

    kernel: Kernel
    memcg: MemCgroup | None = None
    nodemask: frozenset[int] | None = None
    gfp_mask: int = 0
    order: int = 0
    trigger: Task | None = None
    cpuset_limited: bool = False
    totalpages: int = 1
    constraint: OomConstraint = OomConstraint.CONSTRAINT_NONE
    chosen: Task | None = None
    chosen_points: int | None = None
    aborted_by: Task | None = None
    evaluated: list[Evaluated] = field(default_factory=list)


def is_memcg_oom(oc: OomControl) -> bool:
    """C: static inline bool is_memcg_oom(struct oom_control *oc), mm/oom_kill.c."""
    return oc.memcg is not None


def is_sysrq_oom(oc: OomControl) -> bool:
    """C: static inline bool is_sysrq_oom(struct oom_control *oc), mm/oom_kill.c."""
    return oc.order == -1
