"""`oompolicy get`: the values of memcgs, and what is in force in the kernel because of them.

Belongs here: the command. Must not know: where a value is kept, how the kernel's maps are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from oompolicy.backends.hook.abi import Entry, EntryFlag, Form
from oompolicy.backends.hook.in_force import InForce, is_hidden, read_in_force
from oompolicy.cli.in_force import state_in_words
from oompolicy.cli.inputs import json_option, scope_path, snapshot_options, taken_snapshot
from oompolicy.cli.render import Column, mib, points_text, print_error, print_json, print_line, print_note, print_table
from oompolicy.errors import OompolicyError
from oompolicy.mm.memcontrol import MemCgroup, mem_cgroup_is_descendant
from oompolicy.mm.sched import Task
from oompolicy.policy.verdict import Band
from oompolicy.snapshot import Snapshot

COLUMNS = (
    Column("CGROUP"),
    Column("VALUE", is_number=True),
    Column("OWN", is_number=True),
    Column("MIB", is_number=True),
    Column("LIMIT MIB", is_number=True),
)
IN_FORCE = (Column("IN FORCE", is_wide=True),)


@click.command()
@click.argument("cgroup", required=False)
@click.option("--all", "show_all", is_flag=True, help="Those without a value too.")
@snapshot_options
@json_option
def get(
    cgroup: str | None, show_all: bool, snapshot_path: Path | None, config_path: Path | None, as_json: bool
) -> None:
    """The values of CGROUP and those below it; without CGROUP, of all that have one.

    Where a hook is attached, also what is in force in the kernel for each: the answer that a policy's look at the
    value has led to, by which policy, and how old that look is. Only root sees it.
    """
    snapshot = taken_snapshot(snapshot_path, config_path)
    path = scope_path(cgroup)
    root = None if path is None else snapshot.memcg(path)
    found = [
        memcg
        for memcg in snapshot.kernel.memcgs
        if (root is None or mem_cgroup_is_descendant(memcg, root))
        and (show_all or memcg is root or memcg.value is not None)
    ]
    published = None if snapshot_path is not None else _in_force()
    if as_json:
        for memcg in found:
            print_json(_as_json(memcg) | {"in_force": _in_force_as_json(published, memcg, snapshot)})
        return
    if not found:
        print_line("No memcg has a value yet: oompolicy set CGROUP VALUE")
    elif published is None:
        print_table(COLUMNS, (_row(memcg, snapshot.page_size_bytes) for memcg in found))
    else:
        rows = ((*_row(memcg, snapshot.page_size_bytes), _words(published, memcg, snapshot)) for memcg in found)
        print_table((*COLUMNS, *IN_FORCE), rows)
    if published is not None:
        print_line(f"in force: {state_in_words(published)}")
    elif snapshot_path is None and is_hidden():
        print_note("what is in force in the kernel, if anything, only root sees")


def _in_force() -> InForce | None:
    """What is in force; where it cannot be read, that is said, and the values are shown all the same."""
    try:
        return read_in_force()
    except OompolicyError as error:
        print_error(error)
        return None


def _words(published: InForce, memcg: MemCgroup, snapshot: Snapshot) -> str:
    """The answer for a memcg, for people; of its tasks only that some have another."""
    if published.is_compiled:
        return _value_words(published, memcg)
    if not published.is_fresh:
        return "the kernel's badness: expired" if published.age_ms is not None else "the kernel's badness"
    answer = published.for_memcg(memcg)
    words = "nothing published" if answer is None else _answer(answer.entry)
    if answer is not None and answer.of is not memcg:
        words += f" (as {answer.of.path})"
    tasks = _tasks(memcg, snapshot)
    others = sum(published.has_another(task, answer) for task in tasks)
    if others:
        words += f"; another for {others} of {len(tasks)} processes"
    scopes = len(published.other_scopes.get(memcg.id or 0, ()))
    return words + (f"; another in the OOMs of {scopes} memcgs" if scopes else "")


def _value_words(published: InForce, memcg: MemCgroup) -> str:
    """What a compiled policy, asked when memory runs out, reads as the memcg's value."""
    if published.form is Form.COMPILED:
        return "as the policy answers then"
    value = published.value_of(memcg) if published.is_fresh else None
    if value is None:
        return "no value" if published.is_fresh else "no value: expired"
    return f"value {value}"


def _answer(entry: Entry) -> str:
    """What the program answers.

    >>> from oompolicy.backends.hook.abi import EntryFlag
    >>> _answer(Entry(Band.SCORE, -5, EntryFlag.ADDS_BADNESS)), _answer(Entry(Band.KILL))
    ('score -5 + badness', 'KILL')
    """
    if entry.band not in (Band.SCORE, Band.PRESELECTED):
        return str(entry.band.value)
    adds = " + badness" if entry.flags & EntryFlag.ADDS_BADNESS else ""
    return f"{entry.band.value} {points_text(entry.score)}{adds}"


def _tasks(memcg: MemCgroup, snapshot: Snapshot) -> Sequence[Task]:
    """The processes in a memcg that have memory; the others are nobody's candidates."""
    return [task for task in snapshot.kernel.tasks if task.memcg == memcg and task.mm is not None]


def _in_force_as_json(published: InForce | None, memcg: MemCgroup, snapshot: Snapshot) -> dict[str, object] | None:
    """None where nothing is attached, or is not ours to see. band is null where nothing is published for the memcg."""
    if published is None:
        return None
    answer = None if published.is_compiled else published.for_memcg(memcg)
    entry = None if answer is None else answer.entry
    has_score = entry is not None and entry.band in (Band.SCORE, Band.PRESELECTED)
    tasks = _tasks(memcg, snapshot)
    scopes = published.other_scopes.get(memcg.id or 0, ())
    return {
        "policy": published.policy,
        "form": published.form.name.lower(),
        "value": published.value_of(memcg) if published.is_compiled else None,
        "fresh": published.is_fresh,
        "age_ms": published.age_ms,
        "ttl_ms": published.ttl_ms,
        "band": None if entry is None else entry.band.name,
        "score": entry.score if entry is not None and has_score else None,
        "adds_badness": entry is not None and has_score and bool(entry.flags & EntryFlag.ADDS_BADNESS),
        "of": None if answer is None else answer.of.path,
        "processes": len(tasks),
        "processes_with_another": 0
        if published.is_compiled
        else sum(published.has_another(task, answer) for task in tasks),
        "other_in_scopes": [other.path for other in snapshot.kernel.memcgs if other.id in scopes],
    }


def _row(memcg: MemCgroup, page_size_bytes: int) -> tuple[object, ...]:
    usage, limit = (mib(pages, page_size_bytes) for pages in (memcg.usage_pages, memcg.max_pages))
    return memcg.path, memcg.nearest_value, memcg.value, usage, limit


def _as_json(memcg: MemCgroup) -> dict[str, object]:
    return {
        "cgroup": memcg.path,
        "value": memcg.nearest_value,
        "own": memcg.value,
        "usage_pages": memcg.usage_pages,
        "limit_pages": memcg.max_pages,
    }
