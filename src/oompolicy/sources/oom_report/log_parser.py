"""Bytes of a log in, reports out, in bounded memory.

Belongs here: cutting bytes into lines, and which lines deserve a close look. Must not know: what the lines say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from oompolicy.sources.oom_report.logical import Assembler, Message
from oompolicy.sources.oom_report.physical import Piece, is_quoted_printable, pieces
from oompolicy.sources.oom_report.reader import ReportReader
from oompolicy.sources.oom_report.report import OomReport
from oompolicy.sources.oom_report.table import NAME_AT_MOST, TWO_ROWS, row_pattern

LINE_BYTES_AT_MOST: Final = 1 << 16

# Without one of these on a line nothing begins: most of most logs is passed over at the speed of a search.
NEEDLES: Final = (
    b"oom-kill",  # "invoked oom-killer:", "oom-kill:constraint="
    b"oom_kill",  # oom_kill_process() in the call trace, "(oom_kill_allocating_task)"
    b"oom_reaper",
    b"oom.group",
    b"ut of memory",
    b"led process",
    b"OOM victim",
    b"tgid total_vm",  # the table's header, and the memcg's limit: where the beginning is lost
    b"kB, failcnt",
)
# How many lines after a needle, and after the last line that was of use to a report still open, are looked at.
LINES_AFTER_NEEDLE: Final = 64
LINES_AFTER_USE: Final = 4096


# A row with one of these in its name, or before all else, may be quoted or escaped.
SUSPICIOUS: Final = frozenset("\\\"'`\x1b")
QUOTING: Final = frozenset("{\"'`-")


class LogParser:
    """One log, fed in blocks of any size: each gives back the reports that ended in it.

    Lines are counted from 1. A line longer than 64 KiB is read as several; a table keeps 131,072 rows.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._line = 0
        self._attention = 0
        self._before = b""
        self._quoted_printable = False
        self._soft_break = False
        self._assembler = Assembler()
        self._reader = ReportReader()

    def feed(self, block: bytes) -> Iterator[OomReport]:
        """The reports that end in this block of bytes."""
        data = self._rest + block if self._rest else block
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        if end:
            yield from self._lines(data[:end])
        while len(self._rest) > LINE_BYTES_AT_MOST:
            cut = _cut(self._rest)
            yield from self._part(self._rest[:cut])
            self._rest = self._rest[cut:]

    def end(self) -> Iterator[OomReport]:
        """The log has ended: the reports that were still open."""
        if self._rest:
            self._line += 1
            rest, self._rest = self._rest, b""
            yield from self._part(rest)
        self._read(self._assembler.flush())
        self._reader.end()
        yield from self._reader.take_finished()

    def _lines(self, data: bytes) -> Iterator[OomReport]:
        """Whole lines: those near a needle are looked at, the others counted."""
        needles = _Needles(data)
        start = 0
        while start < len(data):
            needle = needles.next_from(start)
            if not self._attention:
                begin = data.rfind(b"\n", start, needle) + 1 or start
                self._pass_over(data, start, begin if needle < len(data) else len(data))
                if needle == len(data):
                    return
                start = begin
            end = data.index(b"\n", start)
            self._line += 1
            has_needle = needle < end
            while end - start > LINE_BYTES_AT_MOST:
                cut = start + _cut(data[start : start + LINE_BYTES_AT_MOST])
                yield from self._line_of(data[start:cut], has_needle)
                start = cut
            yield from self._line_of(data[start:end], has_needle)
            start = end + 1

    def _part(self, raw: bytes) -> Iterator[OomReport]:
        """A line without its newline, or as much of an overlong one as is taken at once."""
        yield from self._line_of(raw, any(needle in raw for needle in NEEDLES))

    def _pass_over(self, data: bytes, start: int, end: int) -> None:
        """Lines without a needle, far from one; the last is kept, a message may begin in it."""
        if start < end:
            self._line += data.count(b"\n", start, end)
            before = data.rfind(b"\n", start, end - 1) + 1 or start
            self._before = data[before : min(end, before + LINE_BYTES_AT_MOST)]

    def _line_of(self, raw: bytes, has_needle: bool) -> Iterator[OomReport]:
        if has_needle:
            if not self._attention and self._before.rstrip().endswith(b" invoked"):
                self._look_at(self._before.rstrip(b"\n"))
            self._attention = max(self._attention, LINES_AFTER_NEEDLE)
            self._before = b""
        elif not self._attention:
            return
        else:
            self._attention -= 1
            if not self._attention:
                self._reader.lose_sight()
        if not self._is_plain_row(raw):
            self._look_at(raw)
        if self._reader.finished:
            yield from self._reader.take_finished()

    def _is_plain_row(self, raw: bytes) -> bool:
        """Take a row of the open table that is whole on its line: most lines of most reports."""
        draft = self._reader.draft
        if draft is None or not draft.in_table or draft.columns is None or self._quoted_printable or self._soft_break:
            return False
        text = raw.decode("utf-8", "backslashreplace").rstrip("\r")
        columns = draft.columns
        found = row_pattern(columns).search(text)
        if found is None:
            return False
        cells = found.groups(default="")
        name = cells[-1]
        if not 0 < len(name) <= NAME_AT_MOST or not SUSPICIOUS.isdisjoint(name):
            return False
        if text.lstrip()[:1] in QUOTING or TWO_ROWS.search(text, 0, found.start()):
            return False
        self._read(self._assembler.flush())
        if self._reader.draft is not draft or not draft.in_table or draft.columns != columns:
            return False
        self._reader.add_row(cells, self._line)
        self._attention = LINES_AFTER_USE
        return True

    def _look_at(self, raw: bytes) -> None:
        if not self._quoted_printable and b"=3D" in raw and is_quoted_printable(raw):
            self._quoted_printable = True
        soft_break = self._quoted_printable and raw.rstrip(b"\r").endswith(b"=")
        if soft_break:
            raw = raw.rstrip(b"\r")[:-1]
        for piece in pieces(raw, self._quoted_printable):
            glued = Piece(piece.prefix, piece.text, glued=True) if self._soft_break else piece
            self._read(self._assembler.add(glued, self._line))
            self._soft_break = False
        self._soft_break = soft_break

    def _read(self, message: Message | None) -> None:
        if message is None or not self._reader.read(message):
            return
        self._attention = LINES_AFTER_USE if self._reader.is_waiting_for_more() else LINES_AFTER_NEEDLE


class _Needles:
    """Where in a block the next needle is."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._places = dict.fromkeys(NEEDLES, -1)
        self._next = -1

    def next_from(self, start: int) -> int:
        """The place of the first needle at or after start; the length of the block where there is none."""
        if self._next < start:
            for needle, place in self._places.items():
                if place < start:
                    found = self._data.find(needle, start)
                    self._places[needle] = len(self._data) if found < 0 else found
            self._next = min(self._places.values())
        return self._next


def read_reports(blocks: Iterable[bytes]) -> Iterator[OomReport]:
    """The reports of a log, from blocks or lines of bytes, in their order; any bytes will do, nothing raises."""
    parser = LogParser()
    for block in blocks:
        yield from parser.feed(block)
    yield from parser.end()


def _cut(raw: bytes) -> int:
    """Where to break an overlong line: after a newline written as an escape, where there is one."""
    escaped = raw.rfind(b"\\n", 1, LINE_BYTES_AT_MOST)
    return escaped + 2 if escaped > 0 else LINE_BYTES_AT_MOST
