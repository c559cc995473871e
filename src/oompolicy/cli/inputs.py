"""The options that several commands take, and what they stand for.

Belongs here: reading a snapshot, a policy, a scope and a table of values as a command line names them.
Must not know: what a command does with them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

import click
from click.shell_completion import CompletionItem

from oompolicy.assign import assigned
from oompolicy.cli.render import print_note
from oompolicy.compiler.checked import checked
from oompolicy.config import load_config
from oompolicy.errors import Place, PolicyError
from oompolicy.policies import BUILT_IN
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import Decision
from oompolicy.policy_file import load_policy
from oompolicy.policy_limit import call_limit
from oompolicy.scorer_file import load_scorer
from oompolicy.scoring import Scorer, Scoring, scorers_of
from oompolicy.snapshot import Snapshot
from oompolicy.sources.live import live_snapshot
from oompolicy.sources.recording import read_recording
from oompolicy.sources.senses import live_senses
from oompolicy.sources.unit_files import read_unit_settings
from oompolicy.values.wishes import with_wishes

Function = TypeVar("Function", bound=Callable[..., object])
_NO_REST: Final[Mapping[str, object]] = MappingProxyType({})


def _complete_policy(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Built-in names, and the shell's own completion of files."""
    names = [CompletionItem(name) for name in BUILT_IN if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="file")]


def policy_options(default: str | None = "kernel_default") -> Callable[[Function], Function]:
    """--policy and --param."""

    def decorate(function: Function) -> Function:
        function = click.option(
            "--param", "parameters", multiple=True, metavar="NAME=VALUE", help="Set a parameter of the policy."
        )(function)
        return click.option(
            "--policy",
            "-p",
            "policy_name",
            default=default,
            metavar="P",
            show_default=default is not None,
            shell_complete=_complete_policy,
            help="A built-in policy, or file.py[:name].",
        )(function)

    return decorate


def snapshot_options(function: Function) -> Function:
    """--snapshot and --config."""
    return snapshot_option(values_option(function))


values_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Take values from its [[assign]] table and its scorers.",
)
snapshot_option = click.option(
    "--snapshot", "snapshot_path", type=click.Path(path_type=Path), help="A recording, instead of this machine now."
)


scope_option = click.option(
    "--scope", metavar="CGROUP", help="The memcg that runs out, as a path from the root; default: the whole machine."
)
state_dir_option = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, readable=False),  # what cannot be read is no wrong usage
    help="Where the daemon keeps its record; default: the configuration's.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


def taken_snapshot(snapshot_path: Path | None, config_path: Path | None) -> Snapshot:
    """The recording of a file, or this machine now, with the configured values; what is missing is said on stderr.

    This very process is left out: it is gone when the answer is read. Unit files are this machine's alone.
    """
    snapshot = read_recording(snapshot_path) if snapshot_path is not None else without(live_snapshot(), os.getpid())
    for sentence in snapshot.missing:
        print_note(sentence)
    config = load_config(config_path)
    if snapshot_path is None:
        units = read_unit_settings()
        for note in units.notes:
            print_note(note)
        snapshot = units.valued(snapshot)
    return _scored(assigned(snapshot, config.assign), tuple(load_scorer(name) for name in config.scorers))


def without(snapshot: Snapshot, pid: int) -> Snapshot:
    """The snapshot as if that process were not there."""
    tasks = tuple(task for task in snapshot.kernel.tasks if task.process_id != pid)
    return replace(snapshot, kernel=replace(snapshot.kernel, tasks=tasks))


def named_policy(name: str | None, parameters: tuple[str, ...]) -> Policy | None:
    """The policy of --policy and --param; None where no policy was named."""
    return None if name is None else usable_policy(name, parameters)


def usable_policy(name: str, parameters: tuple[str, ...] = (), rest: Mapping[str, object] = _NO_REST) -> Policy:
    """A policy by name, with parameters as a command line and as a file gives them, and with the kernel's faults."""
    return checked(load_policy(name, parameters).with_parameters(rest))


def scored(policy: Policy | None, snapshot: Snapshot) -> Snapshot:
    """With the values that the policy's scorer gives at a first look. Raises PolicyError where that fails."""
    if policy is None:
        return snapshot
    found = _scored(snapshot, scorers_of(policy))
    return with_wishes(found) if policy.lowest_first else found


def _scored(snapshot: Snapshot, scorers: tuple[Scorer, ...]) -> Snapshot:
    senses = None if snapshot.details is None or not scorers else live_senses()
    found = Scoring(scorers, call_limit(), senses).scored(snapshot)
    for fault in found.faults:
        place = Place(fault.scorer.source_path or fault.scorer.name, fault.line)
        raise PolicyError(place, f"scorer {fault.scorer.name}: {fault.why}")
    return found.snapshot


def scope_path(scope: str | None) -> str | None:
    """A cgroup as its path from the root: /sys/fs/cgroup and a v1 controller's folder in front are left out."""
    if scope is None:
        return None
    for mount in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        if scope == mount or scope.startswith(mount + "/"):
            return scope.removeprefix(mount) or "/"
    return scope


def refuse_faults(policy: Policy | None, decision: Decision) -> None:
    """Raise PolicyError for a policy that faulted, once its answer has been shown: no script may take it for sound."""
    if policy is None or not decision.faults:
        return
    first = decision.faults[0]
    asked = len(decision.candidates)
    place = Place(policy.source_path or policy.name, first.line)
    if first.line is not None and policy.source_path is not None and Path(policy.source_path).is_file():
        lines = Path(policy.source_path).read_text(errors="replace").splitlines()
        place = replace(place, text=lines[first.line - 1])
    raise PolicyError(
        place,
        f"policy {policy.name} faulted for {len(decision.faults)} of {asked} tasks, first for {first.who}: {first.why}",
        "each fault counted as DEFER; `oompolicy check` shows them all",
    )
