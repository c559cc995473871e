"""Where a key stands in a file, as TOML is mostly written: one key a line, tables by their headings.

Belongs here: lines and columns. Must not know: which keys there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oompolicy.errors import Place

Keys = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A file and its text."""

    path: Path
    text: str

    def place(self, line: int | None, column: int | None = None) -> Place:
        """A line of it, with what stands there."""
        lines = self.text.split("\n")
        shown = lines[line - 1].rstrip("\r") if line is not None and line <= len(lines) else None
        return Place(str(self.path), line, column, shown)

    def place_of(self, keys: Keys) -> Place:
        """The line where a key is set, or where its table begins; the file alone where that cannot be found."""
        line = self._line_of(keys)
        return Place(str(self.path)) if line is None else self.place(line)

    def place_inside(self, keys: Keys, value: str, line: int, column: int) -> Place:
        """A place inside a text that is a key's value, both counted from 1."""
        start = self._line_of(keys)
        if start is None:
            return Place(str(self.path))
        before = sum(len(each) + 1 for each in self.text.split("\n")[: start - 1])
        # In its quotes: another text of a list may begin with it.
        quoted = (self.text.find(f"{quote}{value}{quote}", before) + 1 for quote in "\"'")
        found = min((place for place in quoted if place > 0), default=self.text.find(value, before))
        if found < 0:  # written with escapes
            return Place(str(self.path), start, None, value.split("\n")[line - 1])
        inside = sum(len(each) + 1 for each in value.split("\n")[: line - 1]) + column - 1
        ahead = self.text[: found + inside]
        return self.place(ahead.count("\n") + 1, len(ahead) - (ahead.rfind("\n") + 1) + 1)

    def _line_of(self, keys: Keys) -> int | None:
        for length in range(len(keys), 0, -1):
            for found, line in self._lines_of_keys():
                if found == keys[:length]:
                    return line
        return None

    def _lines_of_keys(self) -> Iterator[tuple[Keys, int]]:
        """Each key with its line."""
        table: Keys = ()
        rows: dict[str, int] = {}
        for line, written in enumerate(self.text.split("\n"), start=1):
            if heading := re.match(r"\s*\[\[\s*([\w-]+)\s*\]\]", written):
                name = heading[1]
                rows[name] = rows.get(name, -1) + 1
                table = (name, rows[name])
                yield table, line
            elif heading := re.match(r"\s*\[\s*([\w-]+)\s*(?:\.\s*([\w-]+)\s*)?\]", written):
                name = heading[1]
                table = (name, rows[name]) if name in rows else (name,)
                table = (*table, heading[2]) if heading[2] else table
                yield table, line
            elif key := re.match(r"""\s*["']?([\w-]+)["']?\s*[=.]""", written):
                yield (*table, key[1]), line
