"""`oompolicy replay`: what happened in the OOM reports of a log, and what a policy would have done.

Belongs here: the command's options, its files and rows. Must not know: how a report is read or judged.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click

from oompolicy.assign import Assignment
from oompolicy.cli.inputs import named_policy
from oompolicy.cli.render import (
    Column,
    console,
    points_text,
    print_error,
    print_json,
    print_line,
    print_note,
    print_table,
)
from oompolicy.errors import PolicyError, SourceError
from oompolicy.mm.oom import OomConstraint
from oompolicy.policy.api import Policy
from oompolicy.policy_limit import call_limit
from oompolicy.replay import Choice, Pick, Replayed
from oompolicy.replay import replay as replay_report
from oompolicy.sources.oom_report import LogFile, LogParser, OomReport

HOW_TO_FEED = "the kernel's log is one: journalctl -k | oompolicy replay -"
LONG_LOG_BYTES = 32 << 20
BINARY_SAMPLE_BYTES = 4096


@dataclass
class _Asked:
    """What the command line asks for."""

    policy: Policy | None
    against: Policy | None
    table: tuple[Assignment, ...]
    as_json: bool
    names_files: bool


@dataclass
class _Tally:
    """What is said at the end."""

    reports: int = 0
    agree: int = 0
    differ: int = 0
    elsewhere: int = 0  # the policy picks another than the kernel killed
    judged: int = 0
    pairs_differ: int = 0
    pairs_undecided: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)
    rows: list[tuple[object, ...]] = field(default_factory=list)

    def add(self, asked: _Asked, played: Replayed) -> None:
        """Count one report."""
        self.reports += 1
        self.agree += played.agrees is True
        self.differ += played.agrees is False
        pairs = ((asked.policy, played.policy), (asked.against, played.against))
        for policy, choice in pairs:
            if policy is not None and choice is not None:
                self.faults += [(policy.name, fault.why) for fault in choice.faults]
        killed = played.report.killed
        if played.policy is not None and played.policy.why_not is None and killed is not None:
            self.judged += 1
            pick = played.policy.pick
            self.elsewhere += pick is None or not played.is_kernels(pick)
        if asked.against is not None:
            self.pairs_differ += played.differs is True
            self.pairs_undecided += played.differs is None


@click.command()
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option(
    "--policy", "-p", "policy_name", metavar="P", help="Whom would it have picked? A name, or file.py[:name]."
)
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="Set a parameter of --policy.")
@click.option("--against", "against_name", metavar="B", help="List the reports whose victim differs between P and B.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Take values from its [[assign]] table.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def replay(
    files: tuple[str, ...],
    policy_name: str | None,
    parameters: tuple[str, ...],
    against_name: str | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """For each OOM report in a log: whom the kernel killed, whom the model of the kernel picks, and whom a policy.

    FILE is a log of any kind (dmesg, syslog, journalctl -k or its -o json, /dev/kmsg; gzip, bzip2, xz); - is standard
    input. One at hand:  journalctl -k | oompolicy replay -
    """
    if not files:
        raise click.UsageError(f"name a log, or - for standard input; {HOW_TO_FEED}")
    if policy_name is None and (against_name is not None or parameters):
        policy_name = "kernel_default"
    asked = _Asked(
        named_policy(policy_name, parameters),
        named_policy(against_name, ()),
        _values(config_path) if policy_name is not None else (),
        as_json,
        len(files) > 1,
    )
    tally = _Tally()
    errors = [error for path in files if (error := _replay_file(path, asked, tally)) is not None]
    if not as_json:
        _print(asked, tally)
    _refuse(errors, tally, len(files))


def _values(config_path: Path | None) -> tuple[Assignment, ...]:
    from oompolicy.config import load_config  # it brings msgspec, which a plain replay does not need

    return load_config(config_path).assign


def _replay_file(path: str, asked: _Asked, tally: _Tally) -> SourceError | None:
    """Play the reports of one log; the error where it could not be read, or has none."""
    number = 0
    try:
        log = LogFile(path)
        sample = b""
        parser = LogParser()
        with _progress(log) as tell:
            for block in log.blocks():
                sample = sample or block[:BINARY_SAMPLE_BYTES]
                for report in parser.feed(block):
                    number += 1
                    _take(path, number, report, asked, tally)
                tell(log.read_bytes, number)
        for report in parser.end():
            number += 1
            _take(path, number, report, asked, tally)
    except SourceError as error:
        return error
    if log.damage is not None:
        print_note(f"{path}: {log.damage}; what came before was read")
    return None if number else _no_report(path, sample)


def _no_report(path: str, sample: bytes) -> SourceError:
    name = "standard input" if path == "-" else path
    if not sample:
        return SourceError(name, "is empty", f"name a log; {HOW_TO_FEED}")
    if b"\0" in sample:
        return SourceError(f"no OOM report found in {name}", "it is not text", HOW_TO_FEED)
    return SourceError(f"no OOM report found in {name}", "no line of it is of one", HOW_TO_FEED)


def _take(path: str, number: int, report: OomReport, asked: _Asked, tally: _Tally) -> None:
    played = replay_report(report, asked.policy, asked.against, asked.table, call_limit())
    tally.add(asked, played)
    if asked.as_json:
        print_json(_as_json(path, number, played, with_against=asked.against is not None))
    elif asked.against is None or played.differs is not False:
        tally.rows.append(_row(path, number, played, asked))


def _refuse(errors: Sequence[SourceError], tally: _Tally, files: int) -> None:
    """Say what could not be read; exit 1 where a file was unreadable, none had a report, or a policy faulted."""
    if errors and (files == 1 or not tally.reports):
        for error in errors[:-1]:
            print_error(error)
        raise errors[-1]
    unreadable = False
    for error in errors:
        if error.what.startswith("no OOM report"):
            print_note(str(error).partition(": ")[0])
        else:
            print_error(error)
            unreadable = True
    if tally.faults:
        name, why = tally.faults[0]
        raise PolicyError(
            f"policy {name}",
            f"faulted {len(tally.faults)} times, first: {why}",
            "a report does not have all that a live machine has; each fault counted as DEFER",
        )
    if unreadable:
        raise click.exceptions.Exit(1)


@contextmanager
def _progress(log: LogFile) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error for long logs and pipes, on a terminal only."""
    is_long = log.size_bytes is None or log.size_bytes >= LONG_LOG_BYTES
    if not is_long or not sys.stderr.isatty() or (log.path == "-" and sys.stdin.isatty()):
        yield lambda read_bytes, reports: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[reports]} reports"),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        bar = progress.add_task(Path(log.path).name, total=log.size_bytes, reports=0)
        yield lambda read_bytes, reports: progress.update(bar, completed=read_bytes, reports=reports)


def _print(asked: _Asked, tally: _Tally) -> None:
    if tally.rows:
        print_table(_columns(asked), tally.rows)
    if not tally.reports:
        return
    undecided = tally.reports - tally.agree - tally.differ
    print_line(
        f"{_reports(tally.reports)}: the model of the kernel agrees with {tally.agree}, differs in {tally.differ}, "
        f"cannot tell in {undecided}."
    )
    if asked.policy is not None and asked.against is not None:
        print_line(
            f"{asked.policy.name} and {asked.against.name} pick different victims in {tally.pairs_differ} of "
            f"{tally.reports - tally.pairs_undecided}; {tally.pairs_undecided} cannot be told."
        )
    elif asked.policy is not None:
        print_line(
            f"{asked.policy.name} would have picked another victim than the kernel in {tally.elsewhere} "
            f"of {tally.judged}."
        )


def _columns(asked: _Asked) -> list[Column]:
    columns = [Column("FILE")] if asked.names_files else []
    columns += [Column("#", is_number=True), Column("WHEN"), Column("SCOPE"), Column("KILLED")]
    if asked.against is None:
        columns += [Column("MODEL"), Column("POINTS", is_number=True), Column("AGREES")]
    if asked.policy is not None:
        columns.append(Column(asked.policy.name.upper()))
    if asked.against is not None:
        columns += [Column(asked.against.name.upper()), Column("DIFFER")]
    return [*columns, Column("REMARKS", is_wide=True)]


def _row(path: str, number: int, played: Replayed, asked: _Asked) -> tuple[object, ...]:
    report = played.report
    killed = report.killed
    cells: list[object] = [path] if asked.names_files else []
    cells += [number, report.timestamp, _scope(report)]
    cells.append("nobody" if killed is None else f"{killed.comm or '?'} ({killed.pid})")
    if asked.against is None:
        pick = played.model.pick
        points = None if pick is None or pick.points is None else points_text(pick.points)
        cells += [_picked(played.model), points, _yes_no(played.agrees)]
    if played.policy is not None:
        cells.append(_picked(played.policy))
    if played.against is not None:
        cells += [_picked(played.against), _yes_no(played.differs)]
    return (*cells, "; ".join(_remarks(played, asked)))


def _remarks(played: Replayed, asked: _Asked) -> list[str]:
    """Why a comparison fails, and what else is to be known; each sentence once."""
    choices = (played.policy, played.against)
    whys = [choice.why_not for choice in choices if choice is not None and choice.why_not is not None]
    if asked.against is None and played.why_not is not None:
        whys.insert(0, played.why_not)
    reasons = [
        choice.pick.reason
        for choice in choices[:1]
        if choice is not None and choice.pick is not None and choice.pick.reason is not None
    ]
    return list(dict.fromkeys([*whys, *reasons, *played.notes]))


def _scope(report: OomReport) -> str:
    if report.constraint is OomConstraint.CONSTRAINT_MEMCG:
        return report.oom_memcg or "a memcg"
    if report.constraint is OomConstraint.CONSTRAINT_CPUSET:
        return f"cpuset {report.cpuset or ''}".strip()
    return "mempolicy" if report.constraint is OomConstraint.CONSTRAINT_MEMORY_POLICY else "machine"


def _picked(choice: Choice) -> str:
    if choice.pick is not None:
        return f"{choice.pick.comm} ({choice.pick.pid})"
    return "?" if choice.why_not is not None else "nobody"


def _yes_no(answer: bool | None) -> str:
    return "?" if answer is None else "yes" if answer else "no"


def _reports(number: int) -> str:
    return f"{number} report{'' if number == 1 else 's'}"


def _as_json(path: str, number: int, played: Replayed, with_against: bool) -> dict[str, object]:
    report = played.report
    killed = report.killed
    line: dict[str, object] = {
        "file": path,
        "report": number,
        "constraint": None if report.constraint is None else report.constraint.value,
        "kernel": report.kernel_release,
        "complete": report.is_complete,
        "candidates": played.candidates,
        "killed": None if killed is None else {"pid": killed.pid, "comm": killed.comm},
        "model": _pick_as_json(played.model.pick, with_reason=False),
        "policy": None if played.policy is None else _pick_as_json(played.policy.pick, with_reason=True),
    }
    if with_against:
        line["against"] = None if played.against is None else _pick_as_json(played.against.pick, with_reason=True)
    return {**line, "agrees": played.agrees, "why_not": played.why_not}


def _pick_as_json(pick: Pick | None, with_reason: bool) -> dict[str, object] | None:
    if pick is None:
        return None
    found: dict[str, object] = {"pid": pick.pid, "comm": pick.comm, "points": pick.points}
    return {**found, "reason": pick.reason} if with_reason else found
