"""`oompolicy history`: past kills, explained.

Belongs here: the command's options and its rows. Must not know: where kills are recorded, how a log is read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from oompolicy.cli.inputs import json_option, state_dir_option
from oompolicy.cli.past_kills import Past, kills_of_files, past_kills, victims_in_words, why_in_words
from oompolicy.cli.render import Column, mib, print_json, print_line, print_note, print_table, time_text
from oompolicy.config import load_config
from oompolicy.config.values import duration_ms
from oompolicy.service.history import Entry
from oompolicy.service.history import as_json as as_fields

LAST_OF_A_TABLE = 20

COLUMNS = (
    Column("TIME"),
    Column("BY"),
    Column("VICTIM"),
    Column("CGROUP"),
    Column("FREED MIB", is_number=True),
    Column("WHY", is_wide=True),
)


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE...]")
@click.option("--last", "-n", type=click.IntRange(min=1), help=f"How many; a table shows {LAST_OF_A_TABLE}, JSON all.")
@click.option("--since", metavar="TIME", help="From then on: 2h, 18:00, 2026-01-31, 2026-01-31 18:00.")
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="Instead of /etc/oompolicy/oompolicy.toml."
)
@state_dir_option
@json_option
def history(
    files: tuple[str, ...],
    last: int | None,
    since: str | None,
    config_path: Path | None,
    state_dir: Path | None,
    as_json: bool,
) -> None:
    """Who was killed, by whom, and why, the newest last: what a daemon has recorded, and what the kernel's log tells.

    With FILE instead: logs of a kernel (- is standard input; journalctl -k -b -1 -o short-iso | oompolicy history -)
    and copies of a daemon's history. /run is empty after a boot: a state_dir on a disk remembers longer.
    """
    from_ms = None if since is None else _since_ms(since)
    folder = state_dir or load_config(config_path).state_dir
    found = kills_of_files(files) if files else past_kills(folder)
    for note in found.notes:
        print_note(note)
    kills = [past for past in found.kills if _is_since(past.entry, from_ms)]
    if as_json:
        for past in kills[-last:] if last else kills:
            print_json(as_fields(past.entry))
    elif kills:
        _print(kills, last or LAST_OF_A_TABLE)
    else:
        print_line(_nothing(files, folder, bool(found.kills)))


def _print(kills: Sequence[Past], last: int) -> None:
    if len(kills) > last:
        print_line(f"… {len(kills) - last} before these (--last)")
    print_table(COLUMNS, map(_row, kills[-last:]))


def _nothing(files: Sequence[str], folder: Path, is_some_before: bool) -> str:
    if is_some_before:
        return "Nobody was killed since then."
    if files:
        return "No kill is told of there."
    return f"No kill is recorded: neither by a daemon in {folder}, nor in what the kernel's log still has."


def _row(past: Past) -> tuple[object, ...]:
    entry = past.entry
    when = past.printed if entry.time_ms is None else time_text(entry.time_ms)
    freed = None if entry.freed_bytes is None else mib(entry.freed_bytes, 1)
    return when, entry.rule or entry.by, victims_in_words(entry), entry.cgroup, freed, why_in_words(entry)


def _is_since(entry: Entry, from_ms: int | None) -> bool:
    """A report without a time of day may be of any: it is shown."""
    return from_ms is None or entry.time_ms is None or entry.time_ms >= from_ms


def _since_ms(text: str) -> int:
    """Unix time. Raises BadParameter for what is none."""
    ago_ms = duration_ms(text)
    if ago_ms is not None:
        return time.time_ns() // 1_000_000 - ago_ms
    today = datetime.now().astimezone().date().isoformat()
    for written in (text, f"{today}T{text}"):
        try:
            return int(datetime.fromisoformat(written).timestamp() * 1000)
        except (ValueError, OverflowError):
            continue
    raise click.BadParameter(
        f"{text} is no time: write 2h, 18:00, 2026-01-31 or '2026-01-31 18:00'", param_hint="--since"
    )
