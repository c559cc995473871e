"""`oompolicy check`: is a policy fit to be put in force, in the kernel too?

Belongs here: the command and what it prints. Must not know: how a policy is loaded, tried or compiled.
"""

from __future__ import annotations

import linecache
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from oompolicy.backends.hook.examine import Examined, examine
from oompolicy.cli.inputs import json_option, named_policy, refuse_faults, scored, snapshot_options, taken_snapshot
from oompolicy.cli.render import Column, print_json, print_line, print_table
from oompolicy.compiler.listing import listing
from oompolicy.config import load_config
from oompolicy.errors import CompileError, OompolicyError, PolicyError
from oompolicy.policy.api import Policy
from oompolicy.policy.contract import lint, trials
from oompolicy.policy.decision import Decision, decide
from oompolicy.policy_limit import call_limit
from oompolicy.snapshot import Snapshot

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
@click.option("--listing", "with_listing", is_flag=True, help="Show source, IR and instructions side by side.")
@click.option("--compiled", "must_compile", is_flag=True, help="Exit status 1 too where it cannot go into the kernel.")
@snapshot_options
@json_option
def check(
    policy_name: str,
    parameters: tuple[str, ...],
    with_listing: bool,
    must_compile: bool,
    snapshot_path: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Does POLICY load, compile, and keep the contract: on this machine, and on machines at the edge of what can be?

    Exit status 1 where it faults anywhere, or the verifier refuses it; what is merely suspicious is said and passes.
    A policy that does not compile is still good for a snapshot, for oom_score_adj, and for the hook by its answers.
    """
    policy = named_policy(policy_name, parameters)
    assert policy is not None
    examined = examine(policy)
    if with_listing:
        _print_listing(policy, examined)
        return
    snapshot = scored(policy, taken_snapshot(snapshot_path, config_path))
    here = decide(snapshot.oom_control(), policy, snapshot.taken_boottime_ns, call_limit())
    plain = decide(snapshot.oom_control(), None)
    tried = trials(policy, call_limit())
    suspicions = list(dict.fromkeys([*map(str, examined.suspicions), *lint(policy, [here])]))
    suspicions += _nowhere(examined, snapshot, config_path)
    if as_json:
        for machine, decision in [("this machine", here), *((trial.machine, trial.decision) for trial in tried)]:
            print_json(_as_json(policy, machine, decision, suspicions if decision is here else [], examined))
    else:
        _print_head(policy)
        rows = [_row("this machine", here, _victim(plain))]
        rows += [_row(trial.machine, trial.decision, "") for trial in tried]
        print_table(COLUMNS, rows)
        _print_kernel(examined)
        for sentence in suspicions:
            print_line(f"suspicious: {sentence}")
    for decision in (here, *(trial.decision for trial in tried)):
        refuse_faults(policy, decision)
        if decision.chosen is None and decision.candidates:
            raise OompolicyError(f"policy {policy.name}", "nobody was chosen although somebody could be")
    if examined.refused is not None and (must_compile or not isinstance(examined.refused, CompileError)):
        raise examined.refused
    if not as_json:
        print_line(f"{policy.name} keeps the contract.")


def _print_kernel(examined: Examined) -> None:
    """What the kernel would have of it: one line, and one for each thing that it cannot have."""
    if isinstance(examined.refused, CompileError):
        print_line("does not compile; the hook would publish its answers:")
        for refusal in examined.refused.refusals:
            print_line(f"  {refusal}")
        return
    size = "" if examined.instructions is None else f", {examined.instructions} instructions with what is around it"
    if examined.refused is not None:
        print_line(f"compiles{size}; this kernel's verifier refuses it")
    elif examined.unverified is not None:
        print_line(f"compiles{size}; not tried on this kernel: {examined.unverified}")
    else:
        print_line(f"compiles{size}; this kernel's verifier accepts it")


def _nowhere(examined: Examined, snapshot: Snapshot, config_path: Path | None) -> Iterator[str]:
    """What names cgroups that are not here."""
    paths = [memcg.path for memcg in snapshot.kernel.memcgs]
    for path in examined.paths:
        if path not in paths:
            yield f"it asks for what is under {path}: there is no such cgroup here"
    for row in load_config(config_path).assign:
        if row.cgroup is not None and not any(row.matches_path(path) for path in paths):
            yield f'[[assign]] gives {row.value} to cgroup "{row.cgroup}", which matches none here'


def _print_listing(policy: Policy, examined: Examined) -> None:
    if examined.emitted is None:
        raise examined.refused or examined.unverified or PolicyError(f"policy {policy.name}", "there is no listing")
    for line in listing(examined.emitted, linecache.getline).splitlines():
        print_line(line)
    print_line("")
    _print_kernel(examined)


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


def _as_json(
    policy: Policy, machine: str, decision: Decision, suspicions: list[str], examined: Examined
) -> dict[str, object]:
    chosen = decision.chosen
    return {
        "policy": policy.name,
        "machine": machine,
        "candidates": len(decision.candidates),
        "verdicts": _verdicts(decision),
        "faults": [{"line": fault.line, "why": fault.why} for fault in decision.faults],
        "victim": None if chosen is None else {"pid": chosen.process_id, "comm": chosen.comm},
        "suspicions": suspicions,
        "compiles": not isinstance(examined.refused, CompileError),
        "refusals": list(map(str, examined.refused.refusals)) if isinstance(examined.refused, CompileError) else [],
        "instructions": examined.instructions,
        "verified": examined.refused is None and examined.unverified is None,
    }
