"""What people and programs see: tables, JSON lines, errors.

Belongs here: all formatting. Must not know: how any of it was found out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from oompolicy.errors import CompileError, OompolicyError, PolicyError

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column: its heading; is_number aligns it right, is_wide lets it wrap and take what is left."""

    heading: str
    is_number: bool = False
    is_wide: bool = False


def console(stderr: bool = False) -> Console:
    """Where tables go: colours only on a terminal, and its width; a pipe gets lines as long as they are."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 240, highlight=False, emoji=False, markup=False)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """A table for people, without lines around it; control characters in names are shown, not obeyed."""
    console().print(_table(columns, rows, title))


class LiveView:
    """The terminal, whole, as long as it is entered; the last that was shown is left on it."""

    def __init__(self) -> None:
        from rich.live import Live

        self._console = console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._shown: RenderableType | None = None

    def room_for_rows(self, others: int) -> int:
        """How many rows of a table fit beside so many other lines, and its head."""
        return max(self._console.size.height - others - 1, 1)

    def show(
        self, head: Sequence[str], columns: Sequence[Column], rows: Iterable[Sequence[object]], foot: Sequence[str]
    ) -> None:
        """Lines, a table, lines, instead of what was there before; each is one line, cut where it is longer."""
        from rich.console import Group

        above, below = (map(_one_line, lines) for lines in (head, foot))
        self._shown = Group(*above, _table(columns, rows, is_cut=True), *below)
        self._live.update(self._shown, refresh=True)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._live.stop()
        if self._shown is not None and (kind is None or issubclass(kind, KeyboardInterrupt)):
            self._console.print(self._shown)


def _table(
    columns: Sequence[Column], rows: Iterable[Sequence[object]], title: str | None = None, is_cut: bool = False
) -> Table:
    """is_cut: no row takes more than a line, and where there is no room words are cut, not numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            _one_line(column.heading) if is_cut else column.heading,
            justify="right" if column.is_number else "left",
            no_wrap=column.is_number if is_cut else not column.is_wide,
            overflow="fold" if column.is_wide else "ellipsis",
            ratio=1 if column.is_wide else None,
        )
    for row in rows:
        texts = ("" if cell is None else str(cell) for cell in row)
        table.add_row(*(_one_line(text) if is_cut else Text(visible(text)) for text in texts))
    return table


def _one_line(text: str) -> Text:
    from rich.text import Text

    return Text(visible(text), no_wrap=True, overflow="ellipsis")


def print_json(line: object) -> None:
    """One object on one line, keys in the order given; a byte that is not UTF-8 prints escaped."""
    print(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace").decode())


def print_line(text: str) -> None:
    """A line for people on standard output."""
    print(visible(text))


def print_note(text: str) -> None:
    """A line for people on standard error, beside what was asked for."""
    print(f"oompolicy: {visible(text)}", file=sys.stderr)


def print_error(error: OompolicyError) -> None:
    """Trouble, as `oompolicy: what: why`, with the source line where there is one, and what to do."""
    if isinstance(error, CompileError):
        for refusal in error.refusals:
            print_error(PolicyError(refusal.place, refusal.why, refusal.hint))
        return
    if not error.excerpt:
        print(f"oompolicy: {visible(str(error))}", file=sys.stderr)
        return
    print(f"oompolicy: {visible(error.what)}: {visible(error.why)}\n{error.excerpt}", file=sys.stderr)
    if error.hint:
        print(f"  {visible(error.hint)}", file=sys.stderr)


def visible(text: str) -> str:
    """The text with what a terminal would obey or cannot show written as escapes.

    >>> visible("a\\x1b[2Jb\\n")
    'a\\\\x1b[2Jb\\\\n'
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )


def mib(pages: int | None, page_size_bytes: int) -> str:
    """Pages as MiB for people; empty where unknown.

    >>> mib(51200, 4096), mib(64, 4096), mib(-256, 4096)
    ('200', '0.2', '-1')
    """
    if pages is None:
        return ""
    size = pages * page_size_bytes / (1 << 20)
    return f"{size:,.0f}" if abs(size) >= 10 or size == int(size) else f"{size:.1f}"


def time_text(time_ms: int) -> str:
    """A moment (Unix time) for people, by this machine's time zone."""
    return datetime.fromtimestamp(time_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def points_text(points: int) -> str:
    """Points for people: pages as they are, the huge ones of the bands and of priorities as powers of two.

    >>> points_text(51200), points_text((1 << 62) + 5), points_text(-10 * (1 << 36) + 7)
    ('51,200', '2^62+5', '-687,194,767,353')
    """
    for exponent in (62, 61):
        for sign in (1, -1):
            rest = points - sign * (1 << exponent)
            if abs(rest) < 1 << 40:
                return f"{'-' if sign < 0 else ''}2^{exponent}{rest:+d}"
    return f"{points:,}"
