"""A report as the model takes it: a snapshot, the OOM in it, and what about it cannot be known.

Belongs here: from rows to tasks, from printed limits to totalpages. Must not know: who is picked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import Kernel, OomConstraint, OomControl
from oompolicy.mm.rules import Rules, rules_for
from oompolicy.mm.sched import OOM_SCORE_ADJ_MIN, Mm, Task
from oompolicy.snapshot import Snapshot
from oompolicy.sources.oom_report.report import KilledBy, OomReport, TaskRow

# More than any machine has: an upper bound where a report does not say how much there is.
PAGES_AT_MOST: Final = 1 << 40
ROOT: Final = MemCgroup("/")
RUN_TIME: Final = (
    "kernels before 2.6.36 also weighed CPU time, age, niceness and children, which no report prints; "
    "they are not modelled"
)


@dataclass(frozen=True)
class Scene:
    """One report made into a machine: snapshot holds the tasks in the table's order, under the kernel's rules.

    Where the report leaves totalpages open, snapshot has the least it can be, most the most; otherwise most is None.
    The two bound the choice: points are linear in totalpages, so who wins under both wins under all between.
    undecidable says why the model cannot judge this report at all. guesses say in sentences what was assumed.
    """

    report: OomReport
    snapshot: Snapshot
    most: Snapshot | None = None
    undecidable: str | None = None
    guesses: tuple[str, ...] = ()

    def oom_control(self, snapshot: Snapshot | None = None) -> OomControl:
        """The OOM of the report, in its snapshot or in `most`."""
        report = self.report
        kernel = (snapshot or self.snapshot).kernel
        constraint = report.constraint
        return OomControl(
            kernel,
            memcg=kernel.memcgs[-1] if constraint is OomConstraint.CONSTRAINT_MEMCG else None,
            nodemask=report.nodemask if constraint is OomConstraint.CONSTRAINT_MEMORY_POLICY else None,
            gfp_mask=report.gfp_mask or 0,
            order=report.order or 0,
            trigger=_trigger(report, kernel.tasks),
            cpuset_limited=constraint is OomConstraint.CONSTRAINT_CPUSET,
        )


def to_scene(report: OomReport) -> Scene:
    """The machine that a report shows.

    totalpages is totalram ("pages RAM" less "pages reserved") and swap; for a cpuset or mempolicy the present pages
    of its nodes and swap; for a memcg its limit and the swap that it may use, as mem_cgroup_get_max() counts.
    Every task of a memcg's OOM is put into the memcg that ran out; of a global one, only the victim's memcg is known.
    """
    rules, guesses = _rules(report)
    least, most = _sizes(report, rules)
    if _used_no_swap(report) and not _all_adj_equal(report):
        guesses.append("the memcg was at its limit and used no swap, so there was none that it could use")
    return Scene(
        report,
        _snapshot(report, rules, least),
        most=None if least == most else _snapshot(report, rules, most),
        undecidable=RUN_TIME if rules.weighs_run_time else None,
        guesses=tuple(guesses),
    )


@dataclass(frozen=True)
class _Sizes:
    """How much the machine and the memcg that ran out have."""

    ram_pages: int
    swap_pages: int
    node_pages: dict[int, int]
    limit_pages: int | None


def _snapshot(report: OomReport, rules: Rules, size: _Sizes) -> Snapshot:
    memcgs = _memcgs(report, size.limit_pages)
    kernel = Kernel(
        tuple(_task(report, row, memcgs[-1]) for row in report.rows),
        totalram_pages=size.ram_pages,
        total_swap_pages=size.swap_pages,
        memcgs=memcgs,
        node_present_pages=size.node_pages,
        sysctl_oom_kill_allocating_task=report.kills_allocating_task,
        rules=rules,
    )
    return Snapshot(
        kernel, report.page_size_bytes, kernel_release=report.kernel_release, missing=report.missing, hierarchy=None
    )


def _sizes(report: OomReport, rules: Rules) -> tuple[_Sizes, _Sizes]:
    """The least and the most that there can be; equal where the report says it all."""
    page_kb = report.page_size_bytes // 1024
    is_memcg = report.constraint is OomConstraint.CONSTRAINT_MEMCG
    resident = sum(row.rss_pages for row in report.rows)
    swap = None if report.total_swap_kb is None else report.total_swap_kb // page_kb
    ram = resident if is_memcg else None  # a memcg's OOM does not look at it
    if swap is None and _used_no_swap(report):
        swap = 0
    if report.ram_pages is not None and report.reserved_pages is not None:
        ram = max(report.ram_pages - report.reserved_pages, 1)
        if swap is None and not is_memcg:
            swap = 0  # a kernel without swap prints no lines on it
    limit = None if report.memory is None or report.memory.limit_kb is None else report.memory.limit_kb // page_kb
    wanted = _wanted_nodes(report) or frozenset()
    nodes = dict.fromkeys(wanted, 0) | {node: kb // page_kb for node, kb in report.node_present_kb}
    holes = bool(wanted) and (rules.counts_node_holes or any(not nodes[node] for node in wanted))
    limit_is_lost = is_memcg and report.memory is None
    least = _Sizes(resident if ram is None else ram, swap or 0, nodes, resident if limit_is_lost else limit)
    most = _Sizes(
        PAGES_AT_MOST if ram is None else ram,
        PAGES_AT_MOST if swap is None else swap,
        {**nodes, min(wanted): PAGES_AT_MOST} if holes else nodes,
        limit,
    )
    return least, most


def _used_no_swap(report: OomReport) -> bool:
    """Had the memcg that ran out no swap to use, though its own limit on swap does not say so?

    A memcg's report does not print the machine's swap, which bounds totalpages. But before it gives up on a memcg the
    kernel swaps out what it can; where not a page is in swap there was no swap, or swappiness is 0, and
    mem_cgroup_get_max() then adds nothing to the limit either.
    """
    memory, swap, memsw = report.memory, report.swap, report.memsw
    if report.total_swap_kb is not None or memory is None or any(row.swapents_pages for row in report.rows):
        return False
    if memsw is not None:
        return memsw.usage_kb == memory.usage_kb and memsw.limit_kb != memory.limit_kb
    return swap is not None and swap.usage_kb == 0 and swap.limit_kb != 0


def _wanted_nodes(report: OomReport) -> frozenset[int] | None:
    """The nodes whose pages are added up to totalpages, None where the whole machine counts."""
    if report.constraint is OomConstraint.CONSTRAINT_MEMORY_POLICY:
        return report.nodemask
    return report.mems_allowed if report.constraint is OomConstraint.CONSTRAINT_CPUSET else None


def _memcgs(report: OomReport, limit_pages: int | None) -> tuple[MemCgroup, ...]:
    """The root, and below it the path to the one memcg that is known: of the OOM, or of a global OOM's victim."""
    page_kb = report.page_size_bytes // 1024

    def pages(amount_kb: int | None) -> int | None:
        return None if amount_kb is None else amount_kb // page_kb

    is_memcg = report.constraint is OomConstraint.CONSTRAINT_MEMCG
    path = (report.oom_memcg or "/unknown") if is_memcg else (report.task_memcg or "/")
    names = [name for name in path.split("/") if name]
    chain = [ROOT]
    for name in names:
        chain.append(MemCgroup(f"{chain[-1].path.rstrip('/')}/{name}", parent=chain[-1]))
    if is_memcg:
        memory, swap, memsw = report.memory, report.swap, report.memsw
        chain[-1] = replace(
            chain[-1],
            usage_pages=None if memory is None else pages(memory.usage_kb),
            max_pages=limit_pages,
            swap_pages=None if swap is None else pages(swap.usage_kb),
            swap_max_pages=None if swap is None else pages(swap.limit_kb),
            memsw_max_pages=None if memsw is None else pages(memsw.limit_kb),
            oom_group=report.oom_group is not None and report.oom_group == report.oom_memcg,
            is_v1=memsw is not None,
        )
    return tuple(chain)


def _task(report: OomReport, row: TaskRow, memcg: MemCgroup) -> Task:
    """A row as a task; memcg is the scope of a memcg's OOM, or where a global OOM's victim was."""
    was_killed = row.pid in report.already_killed
    is_trigger = report.constraint is OomConstraint.CONSTRAINT_CPUSET and row.pid == report.invoker_pid
    killed = report.killed
    is_victim = killed is not None and killed.pid in {row.pid, row.tgid}
    memcg_is_known = report.constraint is OomConstraint.CONSTRAINT_MEMCG or (
        is_victim and report.task_memcg is not None
    )
    return Task(
        pid=row.pid,
        comm=row.comm,
        tgid=row.tgid,
        uid=row.uid,
        oom_score_adj=_adj(row),
        memcg=memcg if memcg_is_known else None,
        is_oom_victim=was_killed,
        mems_allowed=report.mems_allowed if is_trigger else None,
        mm=Mm(
            rss_pages=row.rss_pages,
            swap_pages=row.swapents_pages or 0,
            pgtables_pages=row.pgtables_pages or 0,
            rss_anon_pages=row.rss_anon_pages,
            rss_file_pages=row.rss_file_pages,
            rss_shmem_pages=row.rss_shmem_pages,
            total_vm_pages=row.total_vm_pages,
            oom_skip=was_killed,
        ),
    )


def _adj(row: TaskRow) -> int:
    """oom_score_adj, where the table has only the older oom_adj (-17 to 15) as the kernel translated it."""
    if row.oom_score_adj is not None:
        return row.oom_score_adj
    if row.oom_adj is None:
        return 0
    return 1000 if row.oom_adj == 15 else int(row.oom_adj * 1000 / 17)


def _trigger(report: OomReport, tasks: tuple[Task, ...]) -> Task | None:
    """The task that ran out: its row, else itself without memory; None where the report does not name it."""
    pid = report.invoker_pid
    rows = [task for task in tasks if pid in {task.pid, task.tgid}] if pid is not None else []
    if rows:
        return rows[0]
    named = [task for task in tasks if task.comm == report.invoker_comm]
    if len(named) == 1 and report.constraint is not OomConstraint.CONSTRAINT_CPUSET:
        return named[0]  # a thread of it ran out: its own pid is not in the table
    if pid is None:
        return None
    return Task(pid, report.invoker_comm or "", None, mems_allowed=report.mems_allowed)


def _rules(report: OomReport) -> tuple[Rules, list[str]]:
    """The kernel's rules by its release; where that is lost, or a line contradicts it, by the report's form."""
    guesses = []
    release = report.kernel_release
    if release is None:
        release = _release_of_form(report)
        if report.rows:
            guesses.append(f"the kernel's release is not in the log; the report has the form of {release}")
    rules = rules_for(release)
    may_sacrifice = any(kill.chosen_pid is not None or kill.named_by is KilledBy.CHOSEN for kill in report.kills)
    if may_sacrifice and not rules.sacrifice_child:
        guesses.append("the kernel still sacrifices children, unlike others of its release")
        rules = replace(rules, sacrifice_child=True)
    return rules, guesses


def _release_of_form(report: OomReport) -> str:
    """A release that prints reports of this form."""
    columns = report.columns or ()
    prints_chosen = any(kill.chosen_pid is not None for kill in report.kills)
    if "rss_anon" in columns:
        return "6.8"
    if "pgtables_bytes" in columns:
        return "4.19" if prints_chosen else "5.9"
    if "nr_pmds" in columns:
        return "4.4"
    if "nr_ptes" in columns:
        return "3.10"
    if "oom_adj" in columns:
        return "2.6.39" if "oom_score_adj" in columns else "2.6.32"
    return "4.19" if prints_chosen else "6.8"


def _all_adj_equal(report: OomReport) -> bool:
    """Does totalpages weigh the same for all that can be killed?"""
    return len({_adj(row) for row in report.rows} - {OOM_SCORE_ADJ_MIN}) <= 1
