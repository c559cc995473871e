"""A report while it is being read, and what is made of it at its end.

Belongs here: collecting, choosing between lines that say the same, naming what is missing.
Must not know: the form of any line.
"""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field, replace
from typing import Final

from oompolicy.mm.oom import OomConstraint
from oompolicy.mm.rules import version_of
from oompolicy.sources.oom_report.kill_lines import Chosen, Reaped, Summary
from oompolicy.sources.oom_report.report import Counter, Kill, KilledBy, OomReport, TaskRow
from oompolicy.sources.oom_report.table import cells_to_row

ROWS_AT_MOST: Final = 1 << 17
KILLS_AT_MOST: Final = 1 << 12
PAGE_SIZES_KB: Final = (4, 8, 16, 32, 64, 256)
HARDWALL_FLAGS: Final = frozenset(
    {"__GFP_HARDWALL", "GFP_USER", "GFP_HIGHUSER", "GFP_HIGHUSER_MOVABLE", "GFP_TRANSHUGE"}
)
HARDWALL_BIT: Final = 0x20000  # ___GFP_HARDWALL until flags were printed by name, in v4.6


@dataclass
class Draft:
    """All that has been read of one report. Cells of rows wait for the page size, which may be told after them."""

    first_line: int
    timestamp: str | None = None
    seconds: float | None = None
    last_line: int = 0
    invoked: bool = False
    kernel_release: str | None = None
    invoker_comm: str | None = None
    invoker_pid: int | None = None
    gfp_mask: int | None = None
    gfp_flags: str | None = None
    order: int | None = None
    invoker_oom_score_adj: int | None = None
    cpuset: str | None = None
    mems_allowed: frozenset[int] | None = None
    nodemask: frozenset[int] | None = None
    oom_memcg: str | None = None
    task_memcg: str | None = None
    stats_memcg: str | None = None
    memory: Counter | None = None
    swap: Counter | None = None
    memsw: Counter | None = None
    kmem: Counter | None = None
    ram_pages: int | None = None
    reserved_pages: int | None = None
    free_swap_kb: int | None = None
    total_swap_kb: int | None = None
    pagetables_pages: int | None = None
    page_size_kb: int | None = None
    node_present_kb: dict[int, int] = field(default_factory=dict)
    columns: tuple[str, ...] | None = None
    header_lost: bool = False
    in_table: bool = False
    table_ended: bool = False
    hard_wrapped: bool = False
    cells: list[tuple[str, ...]] = field(default_factory=list)
    damaged_rows: int = 0
    rows_over: int = 0
    elided: bool = False
    chosen: Chosen | None = None
    summary: Summary | None = None
    reaped: Reaped | None = None
    kills: list[Kill] = field(default_factory=list)
    kills_over: int = 0
    memcg_said: bool = False
    oom_group: str | None = None
    kills_allocating_task: bool = False
    no_killable: bool = False
    panic: str | None = None

    @property
    def has_table(self) -> bool:
        """Has a header or a row been read?"""
        return self.columns is not None

    @property
    def has_end(self) -> bool:
        """Has a line told how it ended?"""
        return bool(self.kills) or self.no_killable or self.panic is not None

    @property
    def says_something(self) -> bool:
        """Is there more than the line that names who ran out?"""
        return bool(
            self.has_table
            or self.has_end
            or self.chosen
            or self.summary
            or self.reaped
            or self.kernel_release
            or self.memory
            or self.ram_pages
        )

    def end_table(self) -> None:
        """A line that only follows a table has come."""
        if self.in_table:
            self.in_table, self.table_ended = False, True

    def add_cells(self, cells: tuple[str, ...]) -> None:
        """Keep a row; one that repeats the row before it is a line logged twice."""
        if self.cells and self.cells[-1] == cells:
            return
        if len(self.cells) < ROWS_AT_MOST:
            self.cells.append(cells)
        else:
            self.rows_over += 1

    def add_kill(self, kill: Kill) -> None:
        """Keep a kill, with the chosen of the line before it; one that is there already is a line logged twice."""
        if self.chosen is not None:
            chosen, self.chosen = self.chosen, None
            kill = replace(kill, chosen_pid=chosen.pid, chosen_comm=chosen.comm, score=chosen.score)
        if kill.named_by is KilledBy.EXITING and any(old.pid == kill.pid for old in self.kills):
            return  # chosen first, then met again among its group
        kill = replace(kill, of_group=self.oom_group is not None and bool(self.kills))
        if any(replace(kill, line=old.line, of_group=old.of_group) == old for old in self.kills[-64:]):
            return
        if len(self.kills) < KILLS_AT_MOST:
            self.kills.append(kill)
        else:
            self.kills_over += 1

    def flush_chosen(self) -> None:
        """The "Kill process" line has no "Killed process" line: who died is only known from it."""
        if self.chosen is not None:
            chosen = self.chosen
            self.add_kill(Kill(chosen.pid, chosen.comm, KilledBy.CHOSEN, line=self.last_line))

    def finish(self) -> OomReport:
        """The report, with what is missing in it said."""
        self.flush_chosen()
        self._name_the_victim()
        self._name_the_nameless()
        page_size_kb = self.page_size_kb or self._page_size_from_kills() or 4
        rows = self._rows(page_size_kb * 1024)
        constraint = self._constraint()
        if constraint is OomConstraint.CONSTRAINT_MEMCG and self.oom_memcg is None:
            self.oom_memcg = self.stats_memcg
        return OomReport(
            first_line=self.first_line,
            last_line=max(self.last_line, self.first_line),
            timestamp=self.timestamp,
            kernel_release=self.kernel_release,
            invoker_comm=self.invoker_comm,
            invoker_pid=self.invoker_pid,
            gfp_mask=self.gfp_mask,
            gfp_flags=self.gfp_flags,
            order=self.order,
            invoker_oom_score_adj=self.invoker_oom_score_adj,
            constraint=constraint,
            cpuset=self.cpuset,
            mems_allowed=self.mems_allowed,
            nodemask=self.nodemask,
            oom_memcg=self.oom_memcg,
            task_memcg=self.task_memcg,
            memory=self.memory,
            swap=self.swap,
            memsw=self.memsw,
            kmem=self.kmem,
            ram_pages=self.ram_pages,
            reserved_pages=self.reserved_pages,
            free_swap_kb=self.free_swap_kb,
            total_swap_kb=self.total_swap_kb,
            pagetables_pages=self.pagetables_pages,
            page_size_bytes=page_size_kb * 1024,
            node_present_kb=tuple(sorted(self.node_present_kb.items())),
            columns=self.columns,
            rows=rows,
            table_is_whole=self._table_is_whole(),
            damaged_rows=self.damaged_rows,
            kills=tuple(self.kills),
            oom_group=self.oom_group,
            kills_allocating_task=self.kills_allocating_task,
            no_killable=self.no_killable,
            panic=self.panic,
            missing=tuple(self._missing(constraint)),
        )

    def _name_the_victim(self) -> None:
        """Where no "Killed process" line came through, the summary or the reaper still names the victim."""
        if self.kills:
            return
        if self.summary is not None and self.summary.pid is not None:
            self.kills.append(Kill(self.summary.pid, self.summary.task, KilledBy.SUMMARY, line=self.last_line))
        elif self.reaped is not None:
            self.kills.append(Kill(self.reaped.pid, self.reaped.comm, KilledBy.REAPER, line=self.last_line))

    def _name_the_nameless(self) -> None:
        """The name of a victim whose line was cut: the summary's, or the table's."""
        for number, kill in enumerate(self.kills[:1]):
            if kill.comm is not None:
                continue
            known = {int(cells[0]): cells[-1] for cells in self.cells}
            if self.summary is not None and self.summary.pid == kill.pid:
                known[kill.pid] = self.summary.task or known.get(kill.pid, "")
            self.kills[number] = replace(kill, comm=known.get(kill.pid) or None)

    def _page_size_from_kills(self) -> int | None:
        """kB in a page, from a victim that stands in the table in pages and in its own line in kB."""
        total_vm = {cells[0]: int(cells[1 + (self.columns or ()).index("total_vm")]) for cells in self.cells}
        ratios: Tally[int] = Tally()
        for kill in self.kills[:64]:
            pages = total_vm.get(str(kill.pid))
            if pages and kill.total_vm_kb and kill.total_vm_kb % pages == 0:
                ratios[kill.total_vm_kb // pages] += 1
        return next((ratio for ratio, _ in ratios.most_common(1) if ratio in PAGE_SIZES_KB), None)

    def _rows(self, page_size_bytes: int) -> tuple[TaskRow, ...]:
        columns = self.columns
        return () if columns is None else tuple(cells_to_row(columns, cells, page_size_bytes) for cells in self.cells)

    def _table_is_whole(self) -> bool:
        unharmed = not (self.header_lost or self.damaged_rows or self.rows_over or self.elided)
        return self.columns is not None and self.table_ended and unharmed

    def _constraint(self) -> OomConstraint | None:
        """The printed constraint, or what the lines imply where none is printed (or wrongly)."""
        summary = self.summary
        if summary is not None:
            if summary.oom_memcg is not None:
                self.oom_memcg = summary.oom_memcg
                self.memcg_said = True
            self.task_memcg = summary.task_memcg or self.task_memcg
            self.cpuset = summary.cpuset or self.cpuset
        if self.memcg_said or self.memory is not None:
            return OomConstraint.CONSTRAINT_MEMCG
        if summary is not None and not self._prints_no_constraint():
            return OomConstraint.__members__.get(summary.constraint)
        nodes = {node for node, present_kb in self.node_present_kb.items() if present_kb}
        if self.nodemask is not None and not self.nodemask.issuperset(nodes):
            return OomConstraint.CONSTRAINT_MEMORY_POLICY
        if self.mems_allowed is not None and not self.mems_allowed.issuperset(nodes) and self._is_hardwall():
            return OomConstraint.CONSTRAINT_CPUSET
        return OomConstraint.CONSTRAINT_NONE if self.ram_pages is not None or summary is not None else None

    def _prints_no_constraint(self) -> bool:
        """v5.0 and v5.1 always printed CONSTRAINT_NONE, until 432b1de0de02 (in v5.2)."""
        version = None if self.kernel_release is None else version_of(self.kernel_release)
        return version is not None and (5, 0, 0) <= version < (5, 2, 0)

    def _is_hardwall(self) -> bool:
        """Was the allocation bound to the task's own cpuset (__GFP_HARDWALL)?"""
        if self.gfp_flags is not None:
            return not HARDWALL_FLAGS.isdisjoint(self.gfp_flags.split("|"))
        return self.gfp_mask is not None and bool(self.gfp_mask & HARDWALL_BIT)

    def _missing(self, constraint: OomConstraint | None) -> list[str]:
        missing = []
        if not self.invoked:
            missing.append("the line that says who ran out of memory")
        if self.kernel_release is None:
            missing.append("the kernel's release")
        if self.columns is None:
            missing.append(
                "the rows of the task table: it has no header and no release tells the columns"
                if self.header_lost
                else "the task table"
            )
        elif self.header_lost:
            missing.append("the table's header: the columns are those of the kernel's release")
        if self.damaged_rows:
            missing.append(f"{_count(self.damaged_rows, 'row')} of the task table, damaged in the log")
        if self.elided:
            missing.append("rows of the task table: some were left out, or are lost among other lines")
        if self.rows_over:
            missing.append(f"{_count(self.rows_over, 'row')} beyond the {ROWS_AT_MOST} that are kept")
        if self.columns is not None and not self.table_ended:
            missing.append("the end of the task table")
        if not self.has_end:
            missing.append("the line that says who was killed")
        if self.kills and self.kills[0].comm is None:
            missing.append("the name of the killed: its line is cut")
        if self.kills_over:
            missing.append(f"{_count(self.kills_over, 'kill')} beyond the {KILLS_AT_MOST} that are kept")
        if constraint is OomConstraint.CONSTRAINT_MEMCG:
            if self.memory is None:
                missing.append("the memcg's limit")
        elif self.ram_pages is None or self.reserved_pages is None:
            missing.append("how much memory there is")
        return missing


def _count(number: int, noun: str) -> str:
    """ "1 row", "2 rows"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
