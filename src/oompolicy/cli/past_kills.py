"""Past kills as one list: what a daemon has written down, and what the kernel's log tells besides.

Belongs here: reports and entries in words, times of a log as times of day, whom both tell of. Must not know: options,
tables.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from oompolicy.cli.render import mib
from oompolicy.errors import SourceError
from oompolicy.mm.oom import OomConstraint
from oompolicy.replay import replay
from oompolicy.rules.rule import Victim
from oompolicy.service.history import Entry, entries_of, is_entry, read_history
from oompolicy.sources.oom_report import LogFile, LogParser, OomReport, read_reports
from oompolicy.sources.oom_report.report import Kill

KMSG: Final = "/dev/kmsg"
HOW_TO_FEED: Final = "journalctl -k -o short-iso | oompolicy history -"
# A daemon writes a kill down when it sees it, seconds after the kernel's lines at most.
_SAME_WITHIN_MS: Final = 5_000
# The log's clock is not steered by NTP as that of the day is: so much they may come apart (commonly a tenth of it).
_DRIFT: Final = 2e-4
_SLEPT_AT_LEAST_MS: Final = 1_000


class LogClock(NamedTuple):
    """Now, by the clocks that it takes to read the kernel's log: of the day, and of the log, which stands still while
    the machine sleeps; slept_ms: how long it has slept since it was booted, nobody knows when.
    """

    now_ms: int
    monotonic_ms: int
    slept_ms: int

    @classmethod
    def read(cls) -> LogClock:
        """As they are."""
        monotonic_ms = time.monotonic_ns() // 1_000_000
        boottime_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        return cls(time.time_ns() // 1_000_000, monotonic_ms, max(boottime_ms - monotonic_ms, 0))

    def time_ms(self, stamp_us: int) -> int:
        """Unix time of a record of /dev/kmsg; where the machine has slept since, up to slept_ms too late."""
        return self.now_ms - self.monotonic_ms + stamp_us // 1000

    def is_same_moment(self, told_ms: int, recorded_ms: int) -> bool:
        """May the log's time be that of the record?"""
        late_ms = told_ms - recorded_ms
        drift_ms = max(self.now_ms - recorded_ms, 0) * _DRIFT
        return -_SAME_WITHIN_MS - drift_ms <= late_ms <= _SAME_WITHIN_MS + drift_ms + self.slept_ms


class Past(NamedTuple):
    """An entry; printed: its time as a log has it, where it is no time of a day."""

    entry: Entry
    printed: str | None = None


class PastKills(NamedTuple):
    """Oldest first; notes: what is missing, and what is to be known of it, in sentences."""

    kills: list[Past]
    notes: list[str]


def past_kills(state_dir: Path, log_path: str | None = None) -> PastKills:
    """Of this machine, by its daemon's record and its kernel's log. Raises OompolicyError where no record can be read.

    Where the log cannot be read, that is a note.
    """
    recorded, broken = read_history(state_dir)
    notes = _broken(state_dir, broken)
    clock = LogClock.read()
    told: list[Entry] = []
    try:
        for report in read_reports(LogFile(log_path or KMSG).blocks()):
            stamp = report.timestamp
            told.append(entry_of(report, clock.time_ms(int(stamp)) if stamp and stamp.isdecimal() else None))
    except SourceError as error:
        notes.append(f"{error}: kills that only the kernel's log tells of are missing: {HOW_TO_FEED}")
    kills = merged(recorded, told, clock)
    if clock.slept_ms >= _SLEPT_AT_LEAST_MS and len(kills) > len(recorded):
        notes.append(
            f"the machine has slept for {clock.slept_ms // 1000} s since it was booted, and its log does not say when: "
            "times of what no daemon has recorded may be so much too late"
        )
    return PastKills([Past(entry) for entry in kills], notes)


def kills_of_files(paths: Sequence[str]) -> PastKills:
    """Of files instead: logs of a kernel, and records of a daemon. Raises SourceError where one cannot be read."""
    found: list[Past] = []
    notes: list[str] = []
    for path in paths:
        of_file = _of_file(path)
        found += of_file.kills
        notes += of_file.notes
    if all(past.entry.time_ms is not None for past in found):
        found.sort(key=lambda past: past.entry.time_ms or 0)
    return PastKills(found, notes)


def merged(recorded: Sequence[Entry], told: Iterable[Entry], clock: LogClock) -> list[Entry]:
    """By time; what both tell of is there once, by the record, which knows why, with what only the log knows."""
    found = list(recorded)
    by_pid: dict[int, list[int]] = {}
    for place, entry in enumerate(found):
        for victim in () if entry.dry_run else entry.victims:
            by_pid.setdefault(victim.pid, []).append(place)
    for entry in told:
        places = [place for victim in entry.victims for place in by_pid.get(victim.pid, ())]
        same = next((place for place in places if _is_same(entry, recorded[place], clock)), None)
        if same is None:
            found.append(entry)
        else:
            found[same] = _completed(found[same], entry)
    return sorted(found, key=lambda entry: entry.time_ms or 0)


def entry_of(report: OomReport, time_ms: int | None) -> Entry:
    """A report of the kernel as an entry."""
    tgids = {row.pid: row.tgid for row in report.rows}
    victims = tuple(Victim(tgids.get(kill.pid, kill.pid), kill.comm or "?") for kill in report.kills)
    is_of_memcg = report.constraint is OomConstraint.CONSTRAINT_MEMCG
    return Entry(
        time_ms=time_ms,
        by="kernel",
        rule=None,
        action="kill",
        scope=report.oom_memcg if is_of_memcg else "/",
        victims=victims,
        killed=len(victims),
        cgroup=report.task_memcg,
        why=f"{_where(report)}: {_choice(report)}",
        freed_bytes=None,
        failed=_why_nobody(report) if _is_known_that_nobody(report) else None,
        dry_run=False,
    )


def victims_in_words(entry: Entry) -> str:
    """ "sort (42) and 23 more"; of what was no kill, what was done."""
    if entry.dry_run and not entry.victims:
        return f"would {entry.action}"
    if not entry.victims:
        if entry.by == "kernel":
            return "nobody" if entry.failed else "?"
        return "nobody" if entry.action.startswith("kill") else entry.action
    first = entry.victims[0].name
    return f"{first} and {entry.killed - 1} more" if entry.killed > 1 else first


def why_in_words(entry: Entry) -> str:
    """The reason, and what did not become of it."""
    dry = "dry run, nothing was done: " if entry.dry_run else ""
    scope = "" if entry.by == "kernel" or entry.scope in (None, "/") else f"{entry.scope}: "
    return f"{dry}{scope}{entry.why}" + (f": failed: {entry.failed}" if entry.failed else "")


def _of_file(path: str) -> PastKills:
    log = LogFile(path)
    blocks = log.blocks()
    begin = next(blocks, b"")
    while b"\n" not in begin and (block := next(blocks, b"")):
        begin += block
    if is_entry(begin.partition(b"\n")[0]):
        entries, broken = entries_of(b"".join((begin, *blocks)))
        return PastKills([Past(entry) for entry in entries], _broken(Path(path), broken))
    kills = [Past(entry_of(report, _time_ms(report.timestamp)), report.timestamp) for report in _reports(begin, blocks)]
    damage = [f"{path}: {log.damage}; what came before was read"] if log.damage is not None else []
    if not kills:
        return PastKills([], damage or [f"{path}: neither a daemon's history nor a log with a report of an OOM"])
    without = sum(past.entry.time_ms is None for past in kills)
    of_day = f"{path}: {without} reports without a time of a day, shown as printed; a log that has them: {HOW_TO_FEED}"
    return PastKills(kills, [*damage, of_day] if without else damage)


def _reports(begin: bytes, blocks: Iterable[bytes]) -> Iterator[OomReport]:
    parser = LogParser()
    yield from parser.feed(begin)
    for block in blocks:
        yield from parser.feed(block)
    yield from parser.end()


def _time_ms(printed: str | None) -> int | None:
    """A time as a log has it; None where it lacks the day, or the year.

    >>> _time_ms("2024-05-09T12:34:56+02:00"), _time_ms("12.345678"), _time_ms("May  9 12:34:56")
    (1715250896000, None, None)
    """
    if printed is None:
        return None
    for read in (datetime.fromisoformat, lambda text: datetime.strptime(text, "%a %b %d %H:%M:%S %Y")):
        try:
            return int(read(printed).timestamp() * 1000)
        except (ValueError, OverflowError):
            continue
    return None


def _broken(path: Path, number: int) -> list[str]:
    lines = "line of the history" if number == 1 else "lines of the history"
    return [f"{path}: {number} {lines} cannot be read, and left out"] if number else []


def _is_same(told: Entry, recorded: Entry, clock: LogClock) -> bool:
    if told.time_ms is None or recorded.time_ms is None:
        return False
    return clock.is_same_moment(told.time_ms, recorded.time_ms)


def _completed(recorded: Entry, told: Entry) -> Entry:
    """The record, with what it does not say."""
    found = recorded._replace(
        why=recorded.why or told.why, scope=recorded.scope or told.scope, cgroup=recorded.cgroup or told.cgroup
    )
    if recorded.by == "kernel" and told.killed > recorded.killed:  # the others died by memory.oom.group
        return found._replace(victims=told.victims, killed=told.killed)
    return found


def _where(report: OomReport) -> str:
    """Which memory ran out, and who asked for more."""
    scope = {
        OomConstraint.CONSTRAINT_MEMCG: report.oom_memcg or "a memcg",
        OomConstraint.CONSTRAINT_CPUSET: f"cpuset {report.cpuset or ''}".strip(),
        OomConstraint.CONSTRAINT_MEMORY_POLICY: "the nodes of a memory policy",
    }.get(report.constraint or OomConstraint.CONSTRAINT_NONE, "the machine")
    if report.is_sysrq:
        return f"OOM in {scope} (asked for by sysrq f)"
    if report.invoker_comm is None:
        return f"OOM in {scope}"
    pid = "" if report.invoker_pid is None else f", {report.invoker_pid}"
    return f"OOM in {scope} (asked for by {report.invoker_comm}{pid})"


def _choice(report: OomReport) -> str:
    """Of how many, how much it held, and who would have been chosen by badness alone."""
    killed = report.killed
    if killed is None:
        return "nobody was killed" if _is_known_that_nobody(report) else "the log does not say who was killed"
    if report.kills_allocating_task:
        how = "the one that asked for more (vm.oom_kill_allocating_task)"
    elif report.rows:
        played = replay(report)
        others = f"choice of {played.candidates} candidates" if played.candidates > 1 else "only candidate"
        how = f"the kernel's {others}"
        pick = played.model.pick
        if played.agrees is False and pick is not None and not played.is_kernels(pick):
            how += f", where the most points by the log has {pick.comm} ({pick.pid})"
    else:
        how = "the kernel's choice; the log has no table of candidates"
    held = _held(report, killed)
    words = f"{how}; it held {held}" if held else how
    of_group = sum(kill.of_group for kill in report.kills)
    return f"{words}; with it all of {report.oom_group}, by memory.oom.group" if of_group else words


def _held(report: OomReport, killed: Kill) -> str:
    parts = (killed.anon_rss_kb, killed.file_rss_kb, killed.shmem_rss_kb)
    row = next((row for row in report.rows if killed.pid in (row.pid, row.tgid)), None)
    pages = None if row is None else row.rss_pages
    if killed.anon_rss_kb is not None:
        pages = sum(part or 0 for part in parts) * 1024 // report.page_size_bytes
    if pages is None:
        return ""
    swapped = 0 if row is None else row.swapents_pages or 0
    is_worth_a_word = swapped * report.page_size_bytes >= 1 << 20
    in_swap = f" and {mib(swapped, report.page_size_bytes)} MiB in swap" if is_worth_a_word else ""
    return f"{mib(pages, report.page_size_bytes)} MiB{in_swap}"


def _is_known_that_nobody(report: OomReport) -> bool:
    """Was nobody killed, rather than somebody of whom a log that was cut does not tell?"""
    return report.killed is None and (report.panic is not None or report.no_killable)


def _why_nobody(report: OomReport) -> str:
    return "it found no killable process" if report.panic is None else f"it panicked ({report.panic})"
