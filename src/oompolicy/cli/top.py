"""`oompolicy top`: a live view of who would die now.

Belongs here: the command's options, when it looks, the lines above the table. Must not know: how a look is taken, how
a terminal is written to.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import click

from oompolicy.backends.hook.in_force import InForce
from oompolicy.cli import ranked
from oompolicy.cli.in_force import state_in_words
from oompolicy.cli.inputs import (
    json_option,
    policy_options,
    refuse_faults,
    scope_option,
    scope_path,
    state_dir_option,
    usable_policy,
    values_option,
)
from oompolicy.cli.looks import Look, Looks
from oompolicy.cli.past_kills import victims_in_words, why_in_words
from oompolicy.cli.render import LiveView, mib, print_json, print_line, print_table, time_text
from oompolicy.config import load_config
from oompolicy.rules.readings import Stall
from oompolicy.service.history import Entry
from oompolicy.service.history import as_json as entry_as_json

_RESTS_AT_LEAST_S: Final = 0.05
_NOTES_MAX: Final = 3  # of a terminal's lines


@click.command()
@policy_options()
@values_option
@scope_option
@state_dir_option
@click.option(
    "--interval", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds between two looks."
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many looks; default: 1 without a terminal.")
@click.option("--top", "rows", type=click.IntRange(min=1), help="How many candidates; default: as many as fit.")
@json_option
def top(
    policy_name: str,
    parameters: tuple[str, ...],
    config_path: Path | None,
    scope: str | None,
    state_dir: Path | None,
    interval: float,
    count: int | None,
    rows: int | None,
    as_json: bool,
) -> None:
    """Who would die now, worst first, looked at again and again; how short memory is, what is in force, the last kill.

    Ctrl-C ends it. Without a terminal, and with --json, each look is printed, one unless --count says more.
    """
    policy = usable_policy(policy_name, parameters)
    config = load_config(config_path)
    config = replace(config, state_dir=state_dir or config.state_dir)
    is_live = sys.stdout.isatty() and not as_json
    if count is None and not is_live:
        count = 1
    signal.signal(signal.SIGTERM, _end)
    decision = None
    try:
        with (
            closing(Looks(policy, config, scope_path(scope))) as looks,
            LiveView() if is_live else nullcontext() as view,
        ):
            for look in _taken(looks, interval, count):
                decision = look.decision
                if view is not None:
                    _show(view, look, rows)
                elif as_json:
                    print_json(_as_json(look, rows))
                else:
                    _print(look, rows or ranked.TOP_OF_A_TABLE)
                sys.stdout.flush()
    except KeyboardInterrupt:
        return
    if decision is not None:
        refuse_faults(policy, decision)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """By way of what restores the terminal."""
    sys.exit(128 + number)


def _taken(looks: Looks, interval_s: float, count: int | None) -> Iterator[Look]:
    """A look after the other, the first at once."""
    taken = 0
    while True:
        began_s = time.monotonic()
        yield looks.take()
        taken += 1
        if taken == count:
            return
        time.sleep(max(began_s + interval_s - time.monotonic(), _RESTS_AT_LEAST_S))


def _show(view: LiveView, look: Look, rows: int | None) -> None:
    """On the terminal, as much as fits."""
    head = [*_head(look), *_notes(look)[:_NOTES_MAX], ""]
    foot = list(ranked.remarks(look.decision))
    room = view.room_for_rows(len(head) + len(foot))
    view.show(head, ranked.COLUMNS, _rows(look, min(rows or room, room)), foot)


def _print(look: Look, rows: int) -> None:
    """As plain text, with an empty line at its end."""
    for line in (*_head(look), *_notes(look), ""):
        print_line(line)
    print_table(ranked.COLUMNS, _rows(look, rows))
    for line in (*ranked.remarks(look.decision), ""):
        print_line(line)


def _rows(look: Look, number: int) -> Iterator[tuple[object, ...]]:
    for candidate in islice(look.decision.candidates, number):
        yield ranked.row_of(candidate, look.page_size_bytes)


def _head(look: Look) -> Iterator[str]:
    reading = look.reading
    available = _share(reading.mem_available_bytes, reading.mem_total_bytes)
    swap = _share(reading.swap_free_bytes, reading.swap_total_bytes) if reading.swap_total_bytes else "there is none"
    yield f"{time_text(look.time_ms)}  memory available: {available}; swap free: {swap}"
    some, full = (_stalled(stall) for stall in (reading.memory.some, reading.memory.full))
    yield f"memory pressure (avg10): some {some}, full {full}"
    yield f"in force in the kernel: {_in_force(look.in_force)}"
    yield f"last kill: {_last_kill(look.last_kill)}"


def _notes(look: Look) -> list[str]:
    return [f"note: {sentence}" for sentence in look.notes]


def _share(part_bytes: int, whole_bytes: int) -> str:
    """ "1,024 of 4,096 MiB (25 %)"."""
    return f"{mib(part_bytes, 1)} of {mib(whole_bytes, 1)} MiB ({100 * part_bytes / max(whole_bytes, 1):.0f} %)"


def _stalled(stall: Stall | None) -> str:
    return "not known" if stall is None else f"{stall.avg10:.2f} %"


def _in_force(found: InForce | str | None) -> str:
    if isinstance(found, InForce):
        return state_in_words(found)
    return found or "no policy; its own badness and oom_score_adj decide"


def _last_kill(found: Entry | str | None) -> str:
    if not isinstance(found, Entry):
        return found or "none is known of"
    when = "" if found.time_ms is None else f"{time_text(found.time_ms)} "
    return f"{when}by {found.rule or found.by}: {victims_in_words(found)}: {why_in_words(found)}"


def _as_json(look: Look, rows: int | None) -> dict[str, object]:
    reading, stalls, found = look.reading, look.reading.memory, look.in_force
    kill = look.last_kill
    return {
        "time_ms": look.time_ms,
        "mem_total_bytes": reading.mem_total_bytes,
        "mem_available_bytes": reading.mem_available_bytes,
        "swap_total_bytes": reading.swap_total_bytes,
        "swap_free_bytes": reading.swap_free_bytes,
        "psi_some_avg10": None if stalls.some is None else stalls.some.avg10,
        "psi_full_avg10": None if stalls.full is None else stalls.full.avg10,
        "in_force": {"policy": found.policy, "fresh": found.is_fresh, "age_ms": found.age_ms, "ttl_ms": found.ttl_ms}
        if isinstance(found, InForce)
        else None,
        "last_kill": entry_as_json(kill) if isinstance(kill, Entry) else None,
        "candidates": [ranked.as_json(candidate) for candidate in islice(look.decision.candidates, rows)],
        "notes": list(look.notes),
    }
