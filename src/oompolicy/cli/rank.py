"""`oompolicy rank`: who would die now, worst first.

Belongs here: the command's options and its rows. Must not know: how a victim is chosen.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import click

from oompolicy.cli.inputs import (
    json_option,
    named_policy,
    policy_options,
    refuse_faults,
    scope_option,
    scope_path,
    scored,
    snapshot_options,
    taken_snapshot,
)
from oompolicy.cli.render import Column, mib, points_text, print_json, print_line, print_table
from oompolicy.mm.oom_kill import OomEnd
from oompolicy.policy.decision import Candidate, Decision, decide
from oompolicy.policy_limit import call_limit

TOP_OF_A_TABLE = 20

COLUMNS = (
    Column("RANK", is_number=True),
    Column("PID", is_number=True),
    Column("COMM"),
    Column("POINTS", is_number=True),
    Column("VERDICT"),
    Column("MIB", is_number=True),
    Column("SWAP MIB", is_number=True),
    Column("ADJ", is_number=True),
    Column("CGROUP"),
    Column("REASON", is_wide=True),
)


@click.command()
@policy_options()
@snapshot_options
@scope_option
@click.option("--top", type=click.IntRange(min=1), help=f"How many; a table shows {TOP_OF_A_TABLE}, JSON all.")
@json_option
def rank(
    policy_name: str | None,
    parameters: tuple[str, ...],
    snapshot_path: Path | None,
    config_path: Path | None,
    scope: str | None,
    top: int | None,
    as_json: bool,
) -> None:
    """The candidates of an OOM now, worst first: the first is the victim."""
    policy = named_policy(policy_name, parameters)
    snapshot = scored(policy, taken_snapshot(snapshot_path, config_path))
    oc = snapshot.oom_control(scope_path(scope))
    decision = decide(oc, policy, snapshot.taken_boottime_ns, call_limit())
    if as_json:
        for candidate in islice(decision.candidates, top):
            print_json(_as_json(candidate))
    else:
        _print(decision, TOP_OF_A_TABLE if top is None else top, snapshot.page_size_bytes)
    refuse_faults(policy, decision)


def _print(decision: Decision, top: int, page_size_bytes: int) -> None:
    print_table(COLUMNS, (_row(candidate, page_size_bytes) for candidate in islice(decision.candidates, top)))
    if len(decision.candidates) > top:
        print_line(f"… and {len(decision.candidates) - top} more (--top)")
    outcome = decision.outcome
    if outcome.end is not OomEnd.KILLED:
        print_line(f"{outcome.end.value}.")
    if outcome.oc.aborted_by is not None:
        print_line(f"The victim on its way out is {outcome.oc.aborted_by.comm} ({outcome.oc.aborted_by.process_id}).")
    if outcome.oom_group is not None:
        names = ", ".join(f"{task.comm} ({task.process_id})" for task in outcome.killed[1:])
        print_line(f"memory.oom.group of {outcome.oom_group.path}: dies with it: {names or 'nobody'}")
    if decision.is_tie:
        print_line("The first two have equal points: the order of the kernel's scan decides between them.")


def _row(candidate: Candidate, page_size_bytes: int) -> tuple[object, ...]:
    task = candidate.task
    mm = task.mm
    return (
        candidate.rank,
        task.process_id,
        task.comm,
        points_text(candidate.points),
        candidate.band.value,
        mib(None if mm is None else mm.rss_pages, page_size_bytes),
        mib(None if mm is None else mm.swap_pages, page_size_bytes),
        task.oom_score_adj,
        "" if task.memcg is None else task.memcg.path,
        candidate.reason,
    )


def _as_json(candidate: Candidate) -> dict[str, object]:
    task = candidate.task
    mm = task.mm
    return {
        "rank": candidate.rank,
        "pid": task.process_id,
        "comm": task.comm,
        "cgroup": None if task.memcg is None else task.memcg.path,
        "points": candidate.points,
        "verdict": candidate.band.value,
        "badness": candidate.badness,
        "oom_score_adj": task.oom_score_adj,
        "rss_pages": None if mm is None else mm.rss_pages,
        "swap_pages": None if mm is None else mm.swap_pages,
        "pgtables_pages": None if mm is None else mm.pgtables_pages,
        "reason": candidate.reason,
    }
