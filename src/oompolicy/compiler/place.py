"""Where something stands in a source.

Belongs here: the place alone, which the daemon has without the IR. Must not know: what stands there.
"""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """Where in a source: line from 1, column from 1, as an editor shows them."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"
