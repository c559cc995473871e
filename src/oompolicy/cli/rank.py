"""`oompolicy rank`: who would die now, worst first.

Belongs here: the command's options. Must not know: how a victim is chosen.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import click

from oompolicy.cli import ranked
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
from oompolicy.cli.render import print_json, print_line, print_table
from oompolicy.policy.decision import Decision, decide
from oompolicy.policy_limit import call_limit


@click.command()
@policy_options()
@snapshot_options
@scope_option
@click.option("--top", type=click.IntRange(min=1), help=f"How many; a table shows {ranked.TOP_OF_A_TABLE}, JSON all.")
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
            print_json(ranked.as_json(candidate))
    else:
        _print(decision, ranked.TOP_OF_A_TABLE if top is None else top, snapshot.page_size_bytes)
    refuse_faults(policy, decision)


def _print(decision: Decision, top: int, page_size_bytes: int) -> None:
    print_table(
        ranked.COLUMNS, (ranked.row_of(candidate, page_size_bytes) for candidate in islice(decision.candidates, top))
    )
    if len(decision.candidates) > top:
        print_line(f"… and {len(decision.candidates) - top} more (--top)")
    for sentence in ranked.remarks(decision):
        print_line(sentence)
