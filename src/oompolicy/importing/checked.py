"""No import yields a rule that the daemon would refuse: such a rule is left out, with the reason.

Belongs here: what a [[rule]] may not be, as far as an import can make it so. Must not know: any tool.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from oompolicy.errors import ConfigError
from oompolicy.importing.imported import Imported, ImportedRule, LeftOut, rule_name
from oompolicy.rules.judge import armed
from oompolicy.rules.rule import Rule

LONGEST_MS: Final = 366 * 86_400_000  # config/values.py


def checked(imported: Imported) -> Imported:
    """The same with the rules that load, each under a name of its own."""
    rules: list[ImportedRule] = []
    left_out = list(imported.left_out)
    for one in imported.rules:
        why = _refused(one.rule)
        if why is not None:
            left_out.append(LeftOut(f"rule {one.rule.name}", why, one.origins[0].place))
            continue
        name = rule_name(one.rule.name, {known.rule.name for known in rules})
        rules.append(replace(one, rule=replace(one.rule, name=name)))
    named = {one.rule.policy for one in rules}
    policies = tuple(policy for policy in imported.policies if policy.name in named)
    return replace(imported, rules=tuple(rules), policies=policies, left_out=tuple(left_out))


def _refused(rule: Rule) -> str | None:
    try:
        armed(rule)
    except ConfigError as error:
        return f"{rule.when}: {error.why}"
    for path in (*rule.scope, *rule.among):
        if path.startswith("/sys/fs/cgroup"):
            return f"{path} is a path of the file system, not one from the root of the cgroups"
    if max(rule.grace_ms, rule.cooldown_ms) > LONGEST_MS:
        return "it would rest for more than a year"
    return None
