"""The task table: its header names the columns, its rows are read by them.

Belongs here: columns, rows, what makes a row a row. Must not know: the lines before and after the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Final

from oompolicy.mm.rules import version_of
from oompolicy.sources.oom_report.report import TaskRow

COMM_BYTES: Final = 15  # TASK_COMM_LEN - 1
NAME_AT_MOST: Final = 4 * COMM_BYTES  # a byte that is not UTF-8 takes four characters: \xff
PARTS_OF_A_ROW: Final = 5

HEADER: Final = re.compile(r"\[\s*pid\s*\]\s+(uid\b.*)")
# A line of the table, whole or not: a pid in brackets and numbers, or numbers and a name.
ROWISH: Final = re.compile(r"\W{0,3}\[\s*\d+\]\s+-?\d+\s|.*?(?:\s-?\d+){2,}\s\S{1,20}$")
TWO_ROWS: Final = re.compile(r"\[\s*\d+\]\s+-?\d+\s+\d+\s")
# A row where the header is lost: only where a line begins so. `pcpu-alloc: [0] 32 33 34` does not.
HEADERLESS_ROW: Final = re.compile(r"\[\s*\d+\]\s+-?\d+\s+\d+\s+\d+\s+\d+(?:\s+-?\d+){2,7}\s\S")

# What follows `[ pid ]` in the headers of the kernels, and the first release that prints it.
HEADERS: Final = (
    ((2, 6, 0), "uid tgid total_vm rss cpu oom_adj name"),
    (
        (2, 6, 36),
        "uid tgid total_vm rss cpu oom_adj oom_score_adj name",
    ),  # a63d83f427fb "oom: badness heuristic rewrite"
    ((3, 6, 0), "uid tgid total_vm rss nr_ptes swapents oom_score_adj name"),
    ((4, 0, 0), "uid tgid total_vm rss nr_ptes nr_pmds swapents oom_score_adj name"),  # dc6c9a35b66b
    ((4, 15, 0), "uid tgid total_vm rss pgtables_bytes swapents oom_score_adj name"),  # af5b0f6a09e4
    # 27873192ac59 "mm, oom:dump_tasks add rss detailed information printing" (in v6.8)
    ((6, 8, 0), "uid tgid total_vm rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name"),
)
NEWEST_COLUMNS: Final = tuple(HEADERS[-1][1].split())
KNOWN: Final = frozenset(name for _, header in HEADERS for name in header.split())
NEEDED: Final = frozenset({"uid", "tgid", "total_vm", "rss", "name"})

# Column -> field of TaskRow; the rest (cpu, columns nobody knows) is read over. Page tables are added up.
FIELDS: Final = {
    "uid": "uid",
    "tgid": "tgid",
    "total_vm": "total_vm_pages",
    "rss": "rss_pages",
    "rss_anon": "rss_anon_pages",
    "rss_file": "rss_file_pages",
    "rss_shmem": "rss_shmem_pages",
    "swapents": "swapents_pages",
    "oom_score_adj": "oom_score_adj",
    "oom_adj": "oom_adj",
}
PGTABLES_IN_PAGES: Final = ("nr_ptes", "nr_pmds")


def columns_of_header(parts: Sequence[str]) -> tuple[str, ...] | None:
    """The names after `[ pid ]`, `name` the last; None where the line does not hold a whole header.

    >>> columns_of_header(["[ pid ]   uid  tgid total_vm      rss cpu oom_adj oom_sco", "re_adj name"])
    ('uid', 'tgid', 'total_vm', 'rss', 'cpu', 'oom_adj', 'oom_score_adj', 'name')
    """
    found = HEADER.search(" ".join(part.strip() for part in parts))
    if found is None:
        return None
    names: list[str] = []
    for token in found[1].split():
        if names and names[-1] + token in KNOWN and not {names[-1], token} <= KNOWN:
            names[-1] += token
        else:
            names.append(token)
        if names[-1] == "name":
            return tuple(names) if NEEDED.issubset(names) else None
    return None


def columns_of_release(release: str | None) -> tuple[str, ...] | None:
    """The columns that a kernel prints; None where its release is unknown."""
    version = None if release is None else version_of(release)
    if release is None or version is None:
        return None
    if ".el6" in release or ".el7" in release:
        version = (2, 6, 36) if ".el6" in release else (3, 6, 0)
    if ".el8" in release:
        version = (4, 15, 0)
    return tuple(next(header for since, header in reversed(HEADERS) if version >= since or since == (2, 6, 0)).split())


@lru_cache(maxsize=64)
def row_pattern(columns: tuple[str, ...]) -> re.Pattern[str]:
    """A whole row under a header: the pid, one number for each column, one space, the name."""
    return re.compile(r"\[\s*(\d{1,10})\]" + r"\s+(-?\d{1,20})" * (len(columns) - 1) + r"(?:\s(.*))?$")


def joins(parts: Sequence[str]) -> Iterator[str]:
    """The ways to put a wrapped line together, the likely one first: broken between words, or inside one."""
    for count in range(1, min(len(parts), PARTS_OF_A_ROW) + 1):
        for gaps in product((" ", ""), repeat=count - 1):
            yield parts[0] + "".join(gap + part.strip() for gap, part in zip(gaps, parts[1:count], strict=True))


def read_row(columns: tuple[str, ...], parts: Sequence[str]) -> tuple[str, ...] | None:
    """The cells of a row (pid first, name last), read from as few parts as it takes; None where it is not whole."""
    pattern = row_pattern(columns)
    nameless: tuple[str, ...] | None = None
    for text in joins(parts):
        found = pattern.match(text.lstrip())
        if found is None:
            continue
        cells = found.groups(default="")
        if 0 < len(cells[-1]) <= NAME_AT_MOST:
            return cells
        nameless = nameless or (
            cells if not cells[-1] else None
        )  # the name may stand in the next part; a process may have none
    return nameless


def cells_to_row(columns: tuple[str, ...], cells: Sequence[str], page_size_bytes: int) -> TaskRow:
    """A row from its cells as read_row() gives them."""
    fields: dict[str, int] = {}
    pgtables: int | None = None
    for name, cell in zip(columns[:-1], cells[1:-1], strict=True):
        if name in FIELDS:
            fields[FIELDS[name]] = int(cell)
        elif name in PGTABLES_IN_PAGES:
            pgtables = (pgtables or 0) + int(cell)
        elif name == "pgtables_bytes":
            pgtables = int(cell) // page_size_bytes
    return TaskRow(pid=int(cells[0]), comm=cells[-1], pgtables_pages=pgtables, **fields)
