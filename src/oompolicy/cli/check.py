"""`oompolicy check`: is a policy fit to be put in force?

Belongs here: the command and what it prints. Must not know: how a policy is loaded or tried.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from oompolicy.cli.inputs import json_option, named_policy, refuse_faults, snapshot_options, taken_snapshot
from oompolicy.cli.render import Column, print_json, print_line, print_table
from oompolicy.errors import OompolicyError
from oompolicy.policy.api import Policy
from oompolicy.policy.contract import lint, trials
from oompolicy.policy.decision import Decision, decide
from oompolicy.policy_limit import call_limit

COLUMNS = (
    Column("MACHINE"),
    Column("TASKS", is_number=True),
    Column("VERDICTS"),
    Column("FAULTS", is_number=True),
    Column("VICTIM"),
    Column("THE KERNEL'S"),
)


@click.command()
@click.argument("policy_name", metavar="POLICY")
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="Set a parameter of the policy.")
@snapshot_options
@json_option
def check(
    policy_name: str,
    parameters: tuple[str, ...],
    snapshot_path: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Does POLICY load, and keep the contract: on this machine, and on made-up ones at the edge of what can be?

    Exit status 1 where it faults anywhere; what is merely suspicious is said and passes.
    """
    policy = named_policy(policy_name, parameters)
    assert policy is not None
    snapshot = taken_snapshot(snapshot_path, config_path)
    here = decide(snapshot.oom_control(), policy, snapshot.taken_boottime_ns, call_limit())
    plain = decide(snapshot.oom_control(), None)
    tried = trials(policy, call_limit())
    suspicions = lint(policy, [here])
    if as_json:
        for machine, decision in [("this machine", here), *((trial.machine, trial.decision) for trial in tried)]:
            print_json(_as_json(policy, machine, decision, suspicions if decision is here else []))
    else:
        _print_head(policy)
        rows = [_row("this machine", here, _victim(plain))]
        rows += [_row(trial.machine, trial.decision, "") for trial in tried]
        print_table(COLUMNS, rows)
        for sentence in suspicions:
            print_line(f"suspicious: {sentence}")
    for decision in (here, *(trial.decision for trial in tried)):
        refuse_faults(policy, decision)
        if decision.chosen is None and decision.candidates:
            raise OompolicyError(f"policy {policy.name}", "nobody was chosen although somebody could be")
    if not as_json:
        print_line(f"{policy.name} keeps the contract.")


def _print_head(policy: Policy) -> None:
    first = policy.doc.strip().splitlines()
    print_line(f"{policy.name}: {first[0] if first else 'no docstring'}")
    for name, value in policy.parameters.items():
        print_line(f"  {name} = {value!r}")
    print_line("")


def _verdicts(decision: Decision) -> dict[str, int]:
    return dict(Counter(candidate.band.value for candidate in decision.candidates))


def _victim(decision: Decision) -> str:
    return "nobody" if decision.chosen is None else f"{decision.chosen.comm} ({decision.chosen.process_id})"


def _row(machine: str, decision: Decision, kernels: str) -> tuple[object, ...]:
    said = ", ".join(f"{count} {band}" for band, count in _verdicts(decision).items())
    return machine, len(decision.candidates), said, len(decision.faults), _victim(decision), kernels


def _as_json(policy: Policy, machine: str, decision: Decision, suspicions: list[str]) -> dict[str, object]:
    chosen = decision.chosen
    return {
        "policy": policy.name,
        "machine": machine,
        "candidates": len(decision.candidates),
        "verdicts": _verdicts(decision),
        "faults": [{"line": fault.line, "why": fault.why} for fault in decision.faults],
        "victim": None if chosen is None else {"pid": chosen.process_id, "comm": chosen.comm},
        "suspicions": suspicions,
    }
