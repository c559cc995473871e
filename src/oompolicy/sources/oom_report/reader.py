"""Reports out of messages: which lines belong to one OOM, where it begins and ends.

Belongs here: the order of the lines of a report. Must not know: how bytes become messages, what is done with a report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from oompolicy.sources.oom_report.draft import Draft
from oompolicy.sources.oom_report.earlier_victims import EarlierVictims
from oompolicy.sources.oom_report.header_lines import (
    GROUP,
    INVOKED,
    PANIC,
    node_list,
    read_header_line,
    read_invocation,
)
from oompolicy.sources.oom_report.kill_lines import (
    read_chosen,
    read_exiting,
    read_killed,
    read_reaped,
    read_summary,
)
from oompolicy.sources.oom_report.logical import Message
from oompolicy.sources.oom_report.physical import seconds_of, timestamp_of
from oompolicy.sources.oom_report.report import Kill, KilledBy, OomReport
from oompolicy.sources.oom_report.table import (
    COMM_BYTES,
    HEADER,
    HEADERLESS_ROW,
    ROWISH,
    columns_of_header,
    columns_of_release,
    read_row,
)

ELISIONS: Final = frozenset({"...", "....", "…", "[...]", "[…]", "<snip>", "[snip]", "(...)", "<...>"})


class ReportReader:
    """Takes the messages of a log in their order; finished reports wait in `finished`."""

    def __init__(self) -> None:
        self.finished: list[OomReport] = []
        self.draft: Draft | None = None
        self._victims = EarlierVictims()
        self._last: tuple[str, str | None] = "", None
        # What must stand in a message -> who reads it. Several may: a reader says whether the message was its own.
        self._readers: tuple[tuple[str, Callable[[Message], bool]], ...] = (
            ("invoked oom-killer", self._invoked),
            ("total_vm", self._table_header),
            ("kill:", self._summary),
            ("ill process", self._chosen),
            ("Killed process", self._killed),
            ("reaped process", self._reaped),
            ("already exiting", self._exiting),
            ("are going to be killed", self._group),
            ("o killable process", self._no_killable),
            ("Kernel panic", self._panic),
        )

    def is_waiting_for_more(self) -> bool:
        """Is a report begun whose end has not come?"""
        return self.draft is not None and not self.draft.has_end

    def take_finished(self) -> Iterator[OomReport]:
        """The reports finished since the last call."""
        finished, self.finished = self.finished, []
        yield from finished

    def add_row(self, cells: tuple[str, ...], line: int) -> None:
        """A row that was recognized without its message being made."""
        assert self.draft is not None
        self.draft.add_cells(cells)
        self.draft.last_line = line

    def lose_sight(self) -> None:
        """So many lines were of no use that no more are looked at until one names an OOM."""
        if self.draft is not None and self.draft.in_table:
            self.draft.elided = True

    def end(self) -> None:
        """The log has ended."""
        self._finish()

    def read(self, message: Message) -> bool:
        """Take one message; False where it is nothing of a report's."""
        text = message.text
        if (text, message.prefix) == self._last:
            return False  # logged twice
        self._last = text, message.prefix
        for needle, read in self._readers:
            if (needle in text or needle in message.glued) and read(message):
                if self.draft is not None:
                    self.draft.last_line = max(message.line, self.draft.last_line)
                return True
        draft = self.draft
        if draft is None or draft.has_end:
            return self._begins_without_invocation(message)
        is_own = self._table_line(draft, message) or (not draft.in_table and self._header_line(draft, message))
        if is_own:
            draft.last_line = max(message.line, draft.last_line)
        return is_own

    def _begin(self, message: Message) -> Draft:
        self._finish()
        seconds = seconds_of(message.prefix)
        self.draft = Draft(message.line, timestamp_of(message.prefix), seconds, last_line=message.line)
        return self.draft

    def _finish(self) -> None:
        draft, self.draft = self.draft, None
        if draft is None or not draft.says_something:
            return
        report = draft.finish()
        self._victims.new_boot_if(draft.seconds, report.kernel_release)
        report = replace(report, already_killed=self._victims.among(report))
        self._victims.add(report)
        self.finished.append(report)

    def _invoked(self, message: Message) -> bool:
        invoked = INVOKED.search(message.text)
        if invoked is None:
            return False
        before = self.draft
        draft = self._begin(message)
        draft.invoked = True
        read_invocation(draft, message)
        if before is not None and before.invoked and not before.says_something:
            draft.first_line = before.first_line  # the same line logged twice
        return True

    def _table_header(self, message: Message) -> bool:
        if HEADER.search(message.text) is None:
            return False
        draft = self.draft
        if draft is None or draft.has_end or (draft.has_table and draft.cells):
            draft = self._begin(message)
        columns = columns_of_header(message.parts)
        if columns is None:
            columns = columns_of_release(draft.kernel_release)
            draft.header_lost = True
        draft.columns, draft.in_table = columns, columns is not None
        draft.hard_wrapped = len(message.parts) > 1 and columns is not None and columns[-2] not in message.text
        return True

    def _table_line(self, draft: Draft, message: Message) -> bool:
        if not draft.in_table:
            return self._row_without_header(draft, message)
        assert draft.columns is not None
        cells = read_row(draft.columns, message.parts)
        if cells is not None:
            if draft.hard_wrapped:
                cells = _with_rest_of_name(cells, message.parts)
            draft.add_cells(cells)
            return True
        if message.text.strip() in ELISIONS:
            draft.elided = True
            return True
        if ROWISH.match(message.parts[0]) is not None:
            draft.damaged_rows += 1
            return True
        return False

    def _row_without_header(self, draft: Draft, message: Message) -> bool:
        if draft.has_table or HEADERLESS_ROW.match(message.text) is None:
            return False
        draft.header_lost = True
        draft.columns = columns_of_release(draft.kernel_release)
        if draft.columns is None:
            return True
        draft.in_table = True
        return self._table_line(draft, message)

    def _header_line(self, draft: Draft, message: Message) -> bool:
        if "emory cgroup out of memory" in message.text:
            draft.memcg_said = True
        if "oom_kill_allocating_task)" in message.text:
            draft.kills_allocating_task = True
        return read_header_line(draft, message)

    def _begins_without_invocation(self, message: Message) -> bool:
        """A memcg's limit, where the lines before it are lost."""
        if ": usage " not in message.text and "as a result of limit of" not in message.text:
            return False
        probe = Draft(message.line)
        if not read_header_line(probe, message):
            return False
        read_header_line(self._begin(message), message)
        return True

    def _draft_for_a_kill(self, message: Message) -> Draft:
        """The report that a kill belongs to: the open one, unless that has neither a table nor a group to kill."""
        draft = self.draft
        if draft is None or (draft.kills and not draft.has_table and draft.oom_group is None):
            return self._begin(message)
        draft.end_table()
        return draft

    def _said_on_the_line(self, draft: Draft, message: Message) -> None:
        if draft.kills:
            return
        if "emory cgroup out of memory" in message.text:
            draft.memcg_said = True
        if "(oom_kill_allocating_task)" in message.text:
            draft.kills_allocating_task = True

    def _summary(self, message: Message) -> bool:
        summary = read_summary(message)
        if summary is None:
            return False
        draft = self.draft
        if draft is None or draft.kills or draft.summary is not None:
            if draft is not None and draft.summary == summary:
                return True  # logged twice
            draft = self._begin(message)
        draft.end_table()
        draft.summary = summary
        draft.mems_allowed = node_list(summary.mems_allowed) or draft.mems_allowed
        draft.nodemask = node_list(summary.nodemask)
        return True

    def _chosen(self, message: Message) -> bool:
        chosen = read_chosen(message)
        if chosen is None:
            return False
        draft = self._draft_for_a_kill(message)
        if draft.chosen != chosen:
            draft.flush_chosen()
        self._said_on_the_line(draft, message)
        draft.chosen = chosen
        return True

    def _killed(self, message: Message) -> bool:
        killed = read_killed(message)
        if killed is None:
            return False
        draft = self._draft_for_a_kill(message)
        self._said_on_the_line(draft, message)
        pid, comm, sizes = killed
        draft.add_kill(Kill(pid, comm, line=message.line, **sizes))  # type: ignore[arg-type]
        return True

    def _exiting(self, message: Message) -> bool:
        exiting = read_exiting(message)
        if exiting is None:
            return False
        draft = self._draft_for_a_kill(message)
        self._said_on_the_line(draft, message)
        draft.add_kill(Kill(exiting[0], exiting[1], KilledBy.EXITING, line=message.line))
        return True

    def _reaped(self, message: Message) -> bool:
        reaped = read_reaped(message)
        if reaped is None:
            return False
        draft = self.draft
        if self._victims.note_reaped(reaped) or (
            draft is not None and any(kill.pid == reaped.pid for kill in draft.kills)
        ):
            return True
        if draft is None or draft.kills:
            draft = self._begin(message)
        elif not draft.in_table and not draft.table_ended:
            return True  # an earlier victim, reaped while this report was being written
        draft.end_table()
        draft.reaped = reaped
        return True

    def _group(self, message: Message) -> bool:
        group = GROUP.search(message.text)
        if group is None:
            return False
        draft = self.draft if self.draft is not None else self._begin(message)
        draft.end_table()
        draft.oom_group = group[1]
        return True

    def _no_killable(self, message: Message) -> bool:
        draft = self.draft if self.draft is not None and not self.draft.kills else self._begin(message)
        draft.end_table()
        draft.no_killable = True
        return True

    def _panic(self, message: Message) -> bool:
        panic = PANIC.search(message.text)
        if panic is None or self.draft is None or "emory" not in panic[1]:
            return False
        self.draft.end_table()
        self.draft.panic = panic[1].strip()
        return True


def _with_rest_of_name(cells: tuple[str, ...], parts: tuple[str, ...]) -> tuple[str, ...]:
    """A row whose name was broken in two by a mailer that breaks inside words."""
    last = parts[-1].strip()
    if len(parts) > 2 and not cells[-1].endswith(last) and len(cells[-1]) + len(last) <= COMM_BYTES and " " not in last:
        return (*cells[:-1], cells[-1] + last)
    return cells
