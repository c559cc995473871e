"""The lines that name a victim.

Belongs here: their forms through time, read as far as they are whole. Must not know: which report a line belongs to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from oompolicy.sources.oom_report.logical import Message

CHOSEN: Final = re.compile(r"[Kk]ill process (\d+)(?: \((.*?)\)(?: score (-?\d+)| or |$))?")
# `N (x) total-vm`, `N, UID 27, (x) total-vm`, `N (x), UID 9730, total-vm`; the name may hold parentheses.
KILLED: Final = re.compile(r"Killed process (\d+)(?:, UID (\d+),)?(?: \((.*)\)(?=,? (?:UID|total-vm)|\.?$|\s*,?$))?")
EXITING: Final = re.compile(r"OOM victim (\d+) \((.*)\) is already exiting")
REAPED: Final = re.compile(r"reaped process (\d+)(?: \((.*)\)(?=,|\s*$))?")
SUMMARY: Final = re.compile(r"oom-\s?kill:\s?constraint=(CONSTRAINT_[A-Z_]+)")

# Fields of the "Killed process" line.
SIZES: Final = {
    "total_vm_kb": re.compile(r"total-vm:\s?(\d+)\s?kB"),
    "anon_rss_kb": re.compile(r"anon-rss:\s?(\d+)\s?kB"),
    "file_rss_kb": re.compile(r"file-rss:\s?(\d+)\s?kB"),
    "shmem_rss_kb": re.compile(r"shmem-rss:\s?(\d+)\s?kB"),
    "pgtables_kb": re.compile(r"pgtables:\s?(\d+)\s?kB"),
    "oom_score_adj": re.compile(r"oom_score_adj:\s?(-?\d+)\b"),
    "uid": re.compile(r"\bUID[: ]\s?(\d+)"),
}
# Fields of the "oom-kill:" line: a value ends where the next key begins, since names and paths may hold commas.
_END = r"(?=,\s?(?:nodemask=|cpuset=|mems_allowed=|global_oom|oom_memcg=|task_memcg=|task=|pid=|uid=)|$)"
SUMMARY_FIELDS: Final = {
    name: re.compile(rf"[,:]\s?{name}=(.*?){_END}")
    for name in ("nodemask", "cpuset", "mems_allowed", "oom_memcg", "task_memcg")
}
SUMMARY_TASK: Final = re.compile(r",task=(.*),pid=(\d+),uid=")


@dataclass(frozen=True, slots=True)
class Chosen:
    """ "Kill process N (x) score S or sacrifice child": whom the kernel chose; score is None where it was cut."""

    pid: int
    comm: str | None
    score: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """ "oom-kill:...": the context in one line. Whatever the line does not have, or was cut, is None."""

    constraint: str
    nodemask: str | None
    cpuset: str | None
    mems_allowed: str | None
    oom_memcg: str | None
    task_memcg: str | None
    task: str | None
    pid: int | None


@dataclass(frozen=True, slots=True)
class Reaped:
    """ "oom_reaper: reaped process N (x), now anon-rss:..."; left_kb is what it still holds."""

    pid: int
    comm: str | None
    left_kb: int | None


def read_chosen(message: Message) -> Chosen | None:
    """The chosen of a "Kill process" line; None where the line names none."""
    found = CHOSEN.search(message.text)
    if found is None:
        return None
    score = found[3] or _first(re.compile(r"score\s?(-?\d+)"), message)
    return Chosen(int(found[1]), found[2], None if score is None else int(score))


def read_killed(message: Message) -> tuple[int, str | None, dict[str, int]] | None:
    """pid, name and sizes of a "Killed process" line; None where the line names none."""
    found = KILLED.search(message.text)
    if found is None:
        return None
    glued = KILLED.search(message.glued)
    rests = [match.string[match.end() :] for match in (found, glued) if match is not None]
    sizes: dict[str, int] = {} if found[2] is None else {"uid": int(found[2])}
    for name, pattern in SIZES.items():
        value = next((match[1] for rest in rests if (match := pattern.search(rest)) is not None), None)
        if value is not None:
            sizes.setdefault(name, int(value))
    return int(found[1]), found[3], sizes


def read_exiting(message: Message) -> tuple[int, str] | None:
    """pid and name of a victim that was on its way out by itself when it was to be killed."""
    found = EXITING.search(message.text)
    return None if found is None else (int(found[1]), found[2])


def read_reaped(message: Message) -> Reaped | None:
    """The process of an "oom_reaper: reaped process" line."""
    found = REAPED.search(message.text)
    if found is None:
        return None
    sizes = [_first(SIZES[name], message) for name in ("anon_rss_kb", "file_rss_kb", "shmem_rss_kb")]
    return Reaped(int(found[1]), found[2], None if None in sizes else sum(int(size) for size in sizes if size))


def read_summary(message: Message) -> Summary | None:
    """The context of an "oom-kill:" line."""
    found = SUMMARY.search(message.glued) or SUMMARY.search(message.text)
    if found is None:
        return None
    text = message.glued  # the line has no spaces but in names: what is broken was broken inside a word
    fields: dict[str, str | None] = {}
    for name, pattern in SUMMARY_FIELDS.items():
        value = pattern.search(text)
        whole = value is not None and value.end() < len(text)
        fields[name] = value[1] if whole and value is not None else None
    task = SUMMARY_TASK.search(text)
    return Summary(
        constraint=found[1],
        **fields,
        task=None if task is None else task[1],
        pid=None if task is None else int(task[2]),
    )


def _first(pattern: re.Pattern[str], message: Message) -> str | None:
    found = pattern.search(message.text) or pattern.search(message.glued)
    return None if found is None else found[1]
