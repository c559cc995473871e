"""Imports that are loaded as the daemon would load them. Must not know: what is tested."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from oompolicy.compiler.frontend import compile_to_ir
from oompolicy.config import Config, load_config
from oompolicy.importing.checked import checked
from oompolicy.importing.config_text import config_text
from oompolicy.importing.imported import Imported
from oompolicy.policy.api import Policy
from oompolicy.policy.contract import trials
from oompolicy.policy_file import load_policy
from oompolicy.rules.rule import Rule

FIXTURES = Path(__file__).parents[1] / "fixtures" / "imports"


def loaded(imported: Imported, folder: Path) -> Config:
    """The configuration, read back; every policy loads, compiles unless it searches with expressions, never faults."""
    assert checked(imported) == imported
    for policy in imported.policies:
        (folder / policy.name).write_text(policy.text)
        found = load_policy(str(folder / policy.name))
        assert not any(trial.decision.faults for trial in trials(found, nullcontext))
        if "import re" not in policy.text:
            compile_to_ir(found)
    path = folder / "oompolicy.toml"
    path.write_text(config_text(imported))
    config = load_config(path)
    assert [rule.name for rule in config.rules] == [rule.rule.name for rule in imported.rules]
    for ours, theirs in zip(config.rules, imported.rules, strict=True):
        assert (ours.when, ours.scope, ours.action) == (theirs.rule.when, theirs.rule.scope, theirs.rule.action)
        assert (ours.grace_ms, ours.cooldown_ms) == (theirs.rule.grace_ms, theirs.rule.cooldown_ms)
        assert ours.is_dry_run is theirs.rule.is_dry_run
        assert ours.must_last_anew is theirs.rule.must_last_anew
        assert (ours.among, ours.by, ours.is_recursive) == (theirs.rule.among, theirs.rule.by, theirs.rule.is_recursive)
        if ours.policy is not None:
            load_policy(ours.policy)
    return config


def policy_of(imported: Imported, folder: Path) -> Policy:
    """The only policy, as a file."""
    (policy,) = imported.policies
    (folder / policy.name).write_text(policy.text)
    return load_policy(str(folder / policy.name))


def rules_of(imported: Imported) -> dict[str, Rule]:
    return {rule.rule.name: rule.rule for rule in imported.rules}


def left_out(imported: Imported) -> dict[str, str]:
    """What has no equivalent, with the reason."""
    return {one.what: one.why for one in imported.left_out}
