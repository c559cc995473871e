"""A report as the kernel would print it.

Belongs here: the newest kernel's lines (dump_header() and __oom_kill_process(), mm/oom_kill.c).
Must not know: how they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from oompolicy.mm.oom import OomConstraint
from oompolicy.sources.oom_report.report import Counter, Kill, KilledBy, OomReport, TaskRow
from oompolicy.sources.oom_report.table import FIELDS, PGTABLES_IN_PAGES

# The widths of "[%7d] %5d %5d %8lu %8lu %8lu %8lu %9lu %8ld %8lu         %5hd %s" (in v6.8), by column.
WIDTHS: Final = {
    "uid": 5,
    "tgid": 5,
    "rss_shmem": 9,
    "oom_score_adj": 13,
    "cpu": 3,
    "oom_adj": 7,
    "nr_ptes": 7,
    "nr_pmds": 7,
}


def render(report: OomReport) -> str:
    """The report as lines of the newest kernel, each after "[timestamp] " where it has one; "" where it says nothing.

    The table keeps its own columns, and a child that was sacrificed its "Kill process" line, which new kernels have
    no more. A fact that is None leaves its line or field out.
    """
    prefix = "" if report.timestamp is None else f"[{report.timestamp:>12}] "
    return "".join(f"{prefix}{line}\n" for line in _lines(report))


def _lines(report: OomReport) -> Iterator[str]:
    yield from _invocation(report)
    is_memcg = report.constraint is OomConstraint.CONSTRAINT_MEMCG
    if is_memcg:
        yield from _memcg_info(report)
    yield from _memory_info(report)
    if report.columns is not None:
        yield "Tasks state (memory values in pages):"
        yield _header(report.columns)
        for row in report.rows:
            yield _row(report.columns, row, report.page_size_bytes)
    yield from _end(report)


def _invocation(report: OomReport) -> Iterator[str]:
    comm = report.invoker_comm or ""
    if report.gfp_mask is not None:
        order = "" if report.order is None else f", order={report.order}"
        adj = "" if report.invoker_oom_score_adj is None else f", oom_score_adj={report.invoker_oom_score_adj}"
        yield f"{comm} invoked oom-killer: gfp_mask={report.gfp_mask:#x}({report.gfp_flags or ''}){order}{adj}"
    if report.invoker_pid is not None and report.kernel_release is not None:
        yield f"CPU: 0 UID: 0 PID: {report.invoker_pid} Comm: {comm} Not tainted {report.kernel_release} #1"
    if not report.kills and report.mems_allowed is not None:  # otherwise in the summary
        yield f"{comm} cpuset={report.cpuset} mems_allowed={_nodes(report.mems_allowed)}"
    yield "Call Trace:"
    yield " oom_kill_process+0x10b/0x210"


def _memcg_info(report: OomReport) -> Iterator[str]:
    """C: void mem_cgroup_print_oom_meminfo(struct mem_cgroup *memcg), mm/memcontrol.c."""
    counters = {"memory": report.memory, "swap": report.swap, "memory+swap": report.memsw, "kmem": report.kmem}
    for name, counter in counters.items():
        if counter is not None:
            yield f"{name}: {_counter(counter, report.page_size_bytes)}, failcnt 0"
    if report.oom_memcg is not None:
        yield f"Memory cgroup stats for {report.oom_memcg}:"


def _memory_info(report: OomReport) -> Iterator[str]:
    """C: void __show_mem(unsigned int filter, nodemask_t *nodemask, int max_zone_idx), mm/show_mem.c."""
    page_kb = report.page_size_bytes // 1024
    if report.pagetables_pages is not None:
        yield "Mem-Info:"
        yield f"mapped:0 shmem:0 pagetables:{report.pagetables_pages}"
    for node, present_kb in report.node_present_kb:
        yield f"Node {node} Normal free:0kB min:0kB present:{present_kb}kB managed:{present_kb}kB"
    yield f"Node 0 Normal: 1*{page_kb}kB (U) = {page_kb}kB"
    if report.free_swap_kb is not None:
        yield f"Free swap  = {report.free_swap_kb}kB"
    if report.total_swap_kb is not None:
        yield f"Total swap = {report.total_swap_kb}kB"
    if report.ram_pages is not None:
        yield f"{report.ram_pages} pages RAM"
    if report.reserved_pages is not None:
        yield f"{report.reserved_pages} pages reserved"


def _header(columns: Iterable[str]) -> str:
    *numbers, name = columns
    return "[  pid  ] " + " ".join(f"{column:>{WIDTHS.get(column, 8)}}" for column in numbers) + f" {name}"


def _row(columns: Iterable[str], row: TaskRow, page_size_bytes: int) -> str:
    cells = [f"[{row.pid:7d}]"]
    pgtables = row.pgtables_pages or 0
    for column in columns:
        if column == "name":
            continue
        if column == "pgtables_bytes":
            number = pgtables * page_size_bytes
        elif column in PGTABLES_IN_PAGES:
            number, pgtables = pgtables, 0  # nr_ptes and nr_pmds are only known as their sum
        else:
            number = getattr(row, FIELDS[column]) if column in FIELDS else 0
        cells.append(f"{number:{WIDTHS.get(column, 8)}d}")
    return " ".join([*cells, row.comm])


def _end(report: OomReport) -> Iterator[str]:
    killed = report.killed
    if killed is not None:
        if killed.named_by is not KilledBy.REAPER and (
            report.constraint is not None or report.mems_allowed is not None
        ):
            yield _summary(report, killed)
        message = _message(report)
        yield from _kill(killed, message)
        if report.oom_group is not None:
            yield f"Tasks in {report.oom_group} are going to be killed due to memory.oom.group set"
        for kill in report.kills[1:]:
            yield from _kill(kill, message)
    if report.no_killable:
        yield "Out of memory and no killable processes..."
    if report.panic is not None:
        yield f"Kernel panic - not syncing: {report.panic}"


def _message(report: OomReport) -> str:
    if report.constraint is OomConstraint.CONSTRAINT_MEMCG:
        return "Memory cgroup out of memory"
    return "Out of memory (oom_kill_allocating_task)" if report.kills_allocating_task else "Out of memory"


def _summary(report: OomReport, killed: Kill) -> str:
    """C: static void dump_oom_victim(struct oom_control *oc, struct task_struct *victim), mm/oom_kill.c."""
    constraint = OomConstraint.CONSTRAINT_NONE if report.constraint is None else report.constraint
    parts = [f"oom-kill:constraint={constraint.value}", f"nodemask={_nodes(report.nodemask)}"]
    if report.mems_allowed is not None:
        parts += [f"cpuset={report.cpuset or '/'}", f"mems_allowed={_nodes(report.mems_allowed)}"]
    parts.append("global_oom" if report.oom_memcg is None else f"oom_memcg={report.oom_memcg}")
    if report.task_memcg is not None:
        parts.append(f"task_memcg={report.task_memcg}")
    uid = 0 if killed.uid is None else killed.uid
    return ",".join([*parts, f"task={killed.comm or ''}", f"pid={killed.pid}", f"uid={uid}"])


def _kill(kill: Kill, message: str) -> Iterator[str]:
    """C: static void __oom_kill_process(struct task_struct *victim, const char *message), mm/oom_kill.c."""
    if kill.chosen_pid is not None:
        score = 0 if kill.score is None else kill.score
        yield f"{message}: Kill process {kill.chosen_pid} ({kill.chosen_comm or ''}) score {score} or sacrifice child"
    if kill.named_by is KilledBy.EXITING:
        yield f"{message}: OOM victim {kill.pid} ({kill.comm}) is already exiting. Skip killing the task"
    if kill.named_by is KilledBy.REAPER:
        yield f"oom_reaper: reaped process {kill.pid} ({kill.comm}), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB"
    if kill.named_by is not KilledBy.KILLED:
        return
    sizes = {
        "total-vm": kill.total_vm_kb,
        "anon-rss": kill.anon_rss_kb,
        "file-rss": kill.file_rss_kb,
        "shmem-rss": kill.shmem_rss_kb,
    }
    told = ", ".join(f"{name}:{size}kB" for name, size in sizes.items() if size is not None)
    tail = [
        "" if kill.uid is None else f"UID:{kill.uid}",
        "" if kill.pgtables_kb is None else f"pgtables:{kill.pgtables_kb}kB",
        "" if kill.oom_score_adj is None else f"oom_score_adj:{kill.oom_score_adj}",
    ]
    rest = ", ".join(part for part in (told, " ".join(part for part in tail if part)) if part)
    yield f"{message}: Killed process {kill.pid} ({kill.comm}) {rest}"


def _counter(counter: Counter, page_size_bytes: int) -> str:
    """ "usage 4kB, limit 8kB"; no limit is PAGE_COUNTER_MAX pages."""
    unlimited_kb = ((1 << 63) - 1) // page_size_bytes * (page_size_bytes // 1024)
    return f"usage {counter.usage_kb}kB, limit {unlimited_kb if counter.limit_kb is None else counter.limit_kb}kB"


def _nodes(nodes: frozenset[int] | None) -> str:
    return "(null)" if not nodes else ",".join(str(node) for node in sorted(nodes))
