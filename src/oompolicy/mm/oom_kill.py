"""The victim selection, transcribed from mm/oom_kill.c.

Belongs here: the functions of that file that choose a victim, under their own names.
Must not know: where tasks come from, who asks, what is done to the victim.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from oompolicy.mm.limits import LONG_MAX, div_long, to_long
from oompolicy.mm.memcontrol import (
    MemCgroup,
    ancestors,
    mem_cgroup_get_max,
    mem_cgroup_get_oom_group,
)
from oompolicy.mm.oom import (
    Evaluated,
    Exclusion,
    OomConstraint,
    OomControl,
    is_memcg_oom,
    is_sysrq_oom,
)
from oompolicy.mm.rules import RootBonus, Rules
from oompolicy.mm.sched import OOM_SCORE_ADJ_MIN, Task, is_global_init, tsk_is_oom_victim

# long bpf_oom_score(struct task_struct *task, struct oom_control *oc, long points): the points to compare
# instead of the kernel's. Where the kernel has no hook it is the identity.
BpfOomScore = Callable[[Task, OomControl, int], int]


def no_policy(task: Task, oc: OomControl, points: int) -> int:
    """bpf_oom_score() with nothing attached."""
    return points


def oom_unkillable_task(p: Task) -> Exclusion | None:
    """C: static bool oom_unkillable_task(struct task_struct *p), mm/oom_kill.c; the reason instead of true."""
    if is_global_init(p):
        return Exclusion.INIT
    if p.is_kthread:
        return Exclusion.KTHREAD
    return None


def oom_cpuset_eligible(p: Task, oc: OomControl) -> bool:
    """Has the task memory where it ran out? Where the masks are unknown, yes.

    C: static bool oom_cpuset_eligible(struct task_struct *start, struct oom_control *oc), mm/oom_kill.c.
    """
    if oc.nodemask is not None:
        # mempolicy_in_oom_domain(): a task bound by no policy may have memory anywhere.
        return p.mempolicy_nodes is None or not p.mempolicy_nodes.isdisjoint(oc.nodemask)
    current = oc.trigger
    if current is None or current.mems_allowed is None or p.mems_allowed is None:
        return True
    return not current.mems_allowed.isdisjoint(p.mems_allowed)


def badness_exclusion(p: Task) -> Exclusion | None:
    """Why oom_badness() returns LONG_MIN for this task, None where it does not."""
    unkillable = oom_unkillable_task(p)
    if unkillable is not None:
        return unkillable
    if p.mm is None:
        return Exclusion.NO_MM
    if p.oom_score_adj == OOM_SCORE_ADJ_MIN:
        return Exclusion.ADJ_MIN
    if p.mm.oom_skip:
        return Exclusion.ALREADY_REAPED
    if p.in_vfork:
        return Exclusion.VFORK
    return None


def oom_badness(p: Task, totalpages: int, rules: Rules) -> int | None:
    """Points of a task in pages (per mille of totalpages in old kernels), higher dies; None for LONG_MIN.

    C: long oom_badness(struct task_struct *p, unsigned long totalpages), mm/oom_kill.c.
    """
    if badness_exclusion(p) is not None or p.mm is None:
        return None
    points = p.mm.rss_pages + p.mm.swap_pages
    if rules.counts_pgtables:
        points += p.mm.pgtables_pages
    is_admin = p.uid == 0 if p.has_cap_sys_admin is None else p.has_cap_sys_admin
    adj = p.oom_score_adj
    if rules.per_mille:
        points = div_long(points * 1000, max(totalpages, 1))
        if is_admin:
            points -= 30
        return min(max(points + adj, 1), 1000)
    if is_admin and rules.root_bonus is RootBonus.ADJ_30:
        adj -= 30
    if is_admin and rules.root_bonus is RootBonus.PERCENT_3:
        points -= points * 3 // 100
    points = to_long(points + to_long(adj * (totalpages // 1000)))
    return max(points, 1) if rules.clamp_to_one else points


def constrained_alloc(oc: OomControl) -> OomConstraint:
    """Which limit ran out; sets oc.totalpages, in pages.

    C: static enum oom_constraint constrained_alloc(struct oom_control *oc), mm/oom_kill.c. A zone refused by the
    trigger's cpuset shows as oc.cpuset_limited here, because the zonelist cannot be seen from user space.
    """
    kernel = oc.kernel
    if oc.memcg is not None:
        oc.totalpages = mem_cgroup_get_max(oc.memcg, kernel.total_swap_pages) or 1
        return OomConstraint.CONSTRAINT_MEMCG
    oc.totalpages = kernel.totalram_pages + kernel.total_swap_pages
    nodes = kernel.node_present_pages
    if oc.nodemask is not None and not oc.nodemask.issuperset(nodes):
        oc.totalpages = kernel.total_swap_pages + sum(nodes.get(nid, 0) for nid in oc.nodemask)
        return OomConstraint.CONSTRAINT_MEMORY_POLICY
    if oc.cpuset_limited:
        current_mems_allowed = oc.trigger.mems_allowed if oc.trigger is not None else None
        if nodes and current_mems_allowed is not None:
            oc.totalpages = kernel.total_swap_pages + sum(nodes.get(nid, 0) for nid in current_mems_allowed)
        return OomConstraint.CONSTRAINT_CPUSET
    return OomConstraint.CONSTRAINT_NONE


def oom_evaluate_task(task: Task, oc: OomControl, bpf_oom_score: BpfOomScore = no_policy) -> bool:
    """Weigh one task against the chosen one; True stops the scan (an earlier victim is on its way out).

    C: static int oom_evaluate_task(struct task_struct *task, void *arg), mm/oom_kill.c, with the hook
    `points = bpf_oom_score(task, oc, points)` where oom_badness() has ranked the task.
    """

    def exclude(why: Exclusion) -> None:
        oc.evaluated.append(Evaluated(task, None, None, why))

    unkillable = oom_unkillable_task(task)
    if unkillable is not None:
        exclude(unkillable)
        return False
    if not is_memcg_oom(oc) and not oom_cpuset_eligible(task, oc):
        exclude(Exclusion.NOT_ELIGIBLE)
        return False
    if not is_sysrq_oom(oc) and tsk_is_oom_victim(task):
        if task.mm is None or task.mm.oom_skip:
            exclude(Exclusion.ALREADY_REAPED)
            return False
        exclude(Exclusion.OOM_VICTIM)
        oc.chosen, oc.aborted_by = None, task
        return True
    if task.oom_task_origin:
        oc.evaluated.append(Evaluated(task, LONG_MAX, LONG_MAX))
        oc.chosen, oc.chosen_points = task, LONG_MAX
        return False
    badness = oom_badness(task, oc.totalpages, oc.kernel.rules)
    if badness is None:
        why = badness_exclusion(task)
        assert why is not None
        exclude(why)
        return False
    points = bpf_oom_score(task, oc, badness)
    oc.evaluated.append(Evaluated(task, badness, points))
    if oc.chosen_points is not None:
        if points < oc.chosen_points:
            return False
        if points == oc.chosen_points and not oc.kernel.rules.ties.last_wins(is_memcg_oom(oc)):
            return False
    oc.chosen, oc.chosen_points = task, points
    return False


def select_bad_process(oc: OomControl, bpf_oom_score: BpfOomScore = no_policy) -> OomControl:
    """Fill oc.chosen, oc.chosen_points and oc.evaluated from the tasks of the OOM's scope; returns oc.

    chosen stays None where nobody can be killed, or where an earlier victim (oc.aborted_by) is on its way out.
    C: static void select_bad_process(struct oom_control *oc), mm/oom_kill.c.
    """
    oc.constraint = constrained_alloc(oc)
    oc.chosen, oc.chosen_points, oc.aborted_by = None, None, None
    oc.evaluated.clear()
    scan = oc.kernel.mem_cgroup_tasks(oc.memcg) if oc.memcg is not None else iter(oc.kernel.tasks)
    for task in scan:
        if oom_evaluate_task(task, oc, bpf_oom_score):
            break
    return oc


def sacrifice_child(victim: Task, oc: OomControl) -> Task:
    """The child killed instead of its parent, by kernels before bbbe48029720; the victim itself where it has none.

    C: the loop over victim->children in oom_kill_process(), mm/oom_kill.c. A child that shares the parent's
    memory is skipped there; user space cannot see sharing, so a child in vfork is.
    """
    chosen, victim_points = victim, 0
    for child in oc.kernel.children(victim):
        if oc.memcg is not None and (child.memcg is None or oc.memcg not in ancestors(child.memcg)):
            continue
        child_points = oom_badness(child, oc.totalpages, oc.kernel.rules)
        if child_points is not None and child_points > victim_points:
            chosen, victim_points = child, child_points
    return chosen


class OomEnd(enum.Enum):
    """How out_of_memory() ends; the value is the sentence a person reads."""

    KILLED = "a victim is killed"
    CURRENT_EXITS = "the task that asked is already dying: it gets the memory to finish"
    WAITED = "an earlier victim is still on its way out: nobody new is killed"
    NO_VICTIM = "no killable process"
    PANIC = "the kernel panics"


@dataclass(frozen=True, slots=True)
class OomOutcome:
    """The end of one OOM: the victim, and all who die with it by memory.oom.group."""

    end: OomEnd
    victim: Task | None
    killed: tuple[Task, ...]
    oom_group: MemCgroup | None
    oc: OomControl


def _panics_on_oom(oc: OomControl) -> bool:
    """C: static void check_panic_on_oom(struct oom_control *oc), mm/oom_kill.c."""
    mode = oc.kernel.sysctl_panic_on_oom
    if not mode or is_sysrq_oom(oc):
        return False
    return mode == 2 or oc.constraint is OomConstraint.CONSTRAINT_NONE


def _kills_allocating_task(oc: OomControl) -> bool:
    current = oc.trigger
    return (
        oc.kernel.sysctl_oom_kill_allocating_task
        and not is_memcg_oom(oc)
        and current is not None
        and current.mm is not None
        and oom_unkillable_task(current) is None
        and oom_cpuset_eligible(current, oc)
        and current.oom_score_adj != OOM_SCORE_ADJ_MIN
    )


def out_of_memory(oc: OomControl, bpf_oom_score: BpfOomScore = no_policy) -> OomOutcome:
    """One whole OOM: who is chosen and who dies with them.

    C: bool out_of_memory(struct oom_control *oc) and oom_kill_process(), mm/oom_kill.c.
    """
    current = oc.trigger
    if current is not None and current.is_exiting and current.mm is not None and not is_sysrq_oom(oc):
        return OomOutcome(OomEnd.CURRENT_EXITS, None, (), None, oc)
    oc.constraint = constrained_alloc(oc)
    if oc.constraint is not OomConstraint.CONSTRAINT_MEMORY_POLICY:
        oc.nodemask = None
    if _panics_on_oom(oc):
        return OomOutcome(OomEnd.PANIC, None, (), None, oc)
    if _kills_allocating_task(oc):
        oc.chosen = current
    else:
        select_bad_process(oc, bpf_oom_score)
    if oc.aborted_by is not None:
        return OomOutcome(OomEnd.WAITED, None, (), None, oc)
    if oc.chosen is None:
        survives = is_sysrq_oom(oc) or is_memcg_oom(oc)
        return OomOutcome(OomEnd.NO_VICTIM if survives else OomEnd.PANIC, None, (), None, oc)
    return oom_kill_process(oc, oc.chosen)


def oom_kill_process(oc: OomControl, chosen: Task) -> OomOutcome:
    """Who dies once a task is chosen: a child instead of it (old kernels), its memory.oom.group with it.

    C: static void oom_kill_process(struct oom_control *oc, const char *message), mm/oom_kill.c.
    """
    victim = sacrifice_child(chosen, oc) if oc.kernel.rules.sacrifice_child else chosen
    oom_group = mem_cgroup_get_oom_group(victim, oc.memcg)
    killed = [victim]
    if oom_group is not None:
        killed += [task for task in oc.kernel.mem_cgroup_tasks(oom_group) if _killed_with_group(task, victim)]
    return OomOutcome(OomEnd.KILLED, victim, tuple(killed), oom_group, oc)


def _killed_with_group(task: Task, victim: Task) -> bool:
    """C: static int oom_kill_memcg_member(struct task_struct *task, void *message), mm/oom_kill.c."""
    if task is victim or task.mm is None:
        return False
    return task.oom_score_adj != OOM_SCORE_ADJ_MIN and not is_global_init(task)
