"""Rules made ready to be judged: a condition is read, a function is loaded from its file.

Belongs here: which of the two it is. Must not know: when a rule fires.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from oompolicy.policy_limit import call_limit
from oompolicy.python_file import Words, defined_in_file
from oompolicy.rules.judge import Armed, armed
from oompolicy.rules.python_rule import PythonRule
from oompolicy.rules.ranking import ranking_of
from oompolicy.rules.rule import Rule

_WORDS: Final = Words("rule", "rules", "mark a function (now) with @rule")


def armed_rules(rules: Iterable[Rule]) -> tuple[Armed, ...]:
    """Each with what is to be judged, in their order.

    Raises ConfigError where a condition is wrong, PolicyError where a file does not run or has no such function.
    """
    return tuple(
        armed(rule) if rule.python is None else Armed(rule, load_rule(rule.python), ranking_of(rule)) for rule in rules
    )


def load_rule(name: str) -> PythonRule:
    """The rule of a file, "file.py" or "file.py:name", with the limit that policies have on each call."""
    return defined_in_file(name, PythonRule, _WORDS).limited(call_limit())
