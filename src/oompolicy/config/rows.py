"""A [[rule]] row becomes a rule, with its condition read once so that a mistake is told with its place.

Belongs here: what a row's texts mean. Must not know: the file they stand in, but for the place of a condition.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Final

from oompolicy.config.refusal import WrongValueError
from oompolicy.config.schema import BudgetTable, ProtectTable, RuleRow
from oompolicy.config.values import duration_ms, size_bytes
from oompolicy.errors import Place
from oompolicy.rules.protect import Protect
from oompolicy.rules.rule import Budget, Kill, Other, Rule
from oompolicy.rules.syntax import parse_condition, parse_number

ACTIONS: Final[dict[str, Kill | Other]] = {
    "kill": Kill.PROCESS,
    "kill_tree": Kill.TREE,
    "kill_cgroup": Kill.CGROUP,
    **{action.value: action for action in Other},
}
# What an action needs, and what no other one has.
NEEDS: Final = {"reclaim": "amount", "high": "amount"}
ONLY_FOR: Final = {
    "amount": ("reclaim", "high"),
    "undo_after": ("high", "freeze"),
    "grace": ("kill", "kill_tree", "kill_cgroup"),
    "pre_kill": ("kill", "kill_tree", "kill_cgroup"),
    "among": ("kill_cgroup",),
    "by": ("kill_cgroup",),
    "recursive": ("kill_cgroup",),
}
# By what cgroups are compared where nothing is said.
BY_DEFAULT: Final = ("cgroup.current_mib",)
_DURATION: Final = 'write "500ms", "5s", "2min", "1h"'
_SIZE: Final = 'write "512M" or "2G"'


PlaceInside = Callable[[str, str, int, int], Place]


def rule_of(row: RuleRow, place_inside: PlaceInside) -> Rule:
    """The rule. place_inside(key, value, line, column) is a place inside a text of the row.

    Raises WrongValueError with the row's key, and ConfigError where the condition is wrong.
    """
    if not re.fullmatch(r"[\w.@-]{1,64}", row.name, re.ASCII):
        raise WrongValueError(("name",), f"{row.name!r} is no name", "1 to 64 letters, digits, - _ . @")
    scope = _scope(row)
    _check_condition(row, scope, place_inside)
    _check_action(row)
    among, by = _compared(row, place_inside)
    grace_ms = _duration(row.grace, "grace", 0)
    defaults = Rule("", "")
    return Rule(
        name=row.name,
        when=row.when or "",
        python=row.python,
        scope=scope,
        policy=row.policy,
        params=tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in row.params.items()),
        action=ACTIONS[row.action],
        among=among,
        by=by,
        is_recursive=row.recursive,
        amount_bytes=_amount(row),
        for_ms=_duration(row.undo_after, "undo_after", 0),
        grace_ms=grace_ms,
        cooldown_ms=_duration(row.cooldown, "cooldown", defaults.cooldown_ms),
        must_last_anew=row.anew,
        budget=None if row.budget is None else budget_of(row.budget, ("budget",)),
        pre_kill=tuple(row.pre_kill),
        pre_kill_limit_ms=_duration(row.pre_kill_limit, "pre_kill_limit", defaults.pre_kill_limit_ms),
        notify=tuple(row.notify),
        is_dry_run=row.dry_run,
    )


def budget_of(table: BudgetTable, keys: tuple[str, ...] = ()) -> Budget:
    """At most so many kills in so long. Raises WrongValueError."""
    per_ms = duration_ms(table.per)
    if not per_ms:
        raise WrongValueError((*keys, "per"), f"{table.per!r} is no duration", _DURATION)
    return Budget(table.kills, per_ms)


def protect_of(table: ProtectTable) -> Protect:
    """Raises WrongValueError where a cgroup is no path."""
    for path in table.cgroups:
        _check_path(path, ("cgroups",))
    return Protect(tuple(table.cgroups), tuple(table.comms), tuple(table.uids), tuple(table.pids))


def _scope(row: RuleRow) -> tuple[str, ...]:
    scope = (row.scope,) if isinstance(row.scope, str) else tuple(row.scope)
    if not scope:
        raise WrongValueError(("scope",), "there is no scope", 'write "/" for the machine, or patterns of cgroups')
    for path in scope:
        _check_path(path, ("scope",))
    return scope


def _check_path(path: str, keys: tuple[str, ...]) -> None:
    if not path.startswith(("/", "*")):
        hint = f'write "/{path}"'
        if path.startswith("sys/fs/cgroup"):
            hint = "leave out /sys/fs/cgroup"
        raise WrongValueError(keys, f"{path!r} is not a path from the root of the cgroups", hint)
    if path.startswith("/sys/fs/cgroup"):
        raise WrongValueError(keys, f"{path!r} is a path of the file system", "leave out /sys/fs/cgroup")


def _check_condition(row: RuleRow, scope: tuple[str, ...], place_inside: PlaceInside) -> None:
    if (row.when is None) is (row.python is None):
        why = "has neither when nor python" if row.when is None else "has both when and python"
        raise WrongValueError((), f"rule {row.name} {why}", 'add when = "…", or python = "FILE.py:NAME"')
    if row.when is None:
        return
    when = row.when
    condition = parse_condition(when, lambda line, column: place_inside("when", when, line, column))
    if condition.of_scope is not None and scope == ("/",):
        hint = 'add scope = "/some.slice", write of("/some.slice", …), or use a field of the machine'
        why = f"{condition.of_scope.name} is of a cgroup, and the rule's scope is the machine"
        raise WrongValueError(("when",), why, hint)


def _compared(row: RuleRow, place_inside: PlaceInside) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Patterns of the cgroups that are compared, and by what."""
    among = (row.among,) if isinstance(row.among, str) else tuple(row.among)
    by = (row.by,) if isinstance(row.by, str) else tuple(row.by)
    if not among:
        for name, value in (("by", by), ("recursive", row.recursive)):
            if value:
                raise WrongValueError((name,), f"{name} has no meaning without among", 'add among = "/some.slice/*"')
        return (), ()
    for path in among:
        _check_path(path, ("among",))
        if path.strip("/") == "":
            raise WrongValueError(("among",), "the root is not killed whole", 'write "/*" for what is in it')
    for text in by:
        parse_number(text, partial(place_inside, "by", text))
    return tuple(path.rstrip("/") for path in among), by or BY_DEFAULT


def _check_action(row: RuleRow) -> None:
    given = {name: getattr(row, name) for name in ONLY_FOR}
    for name, value in given.items():
        if value and row.action not in ONLY_FOR[name]:
            fitting = " or ".join(f'"{action}"' for action in ONLY_FOR[name])
            raise WrongValueError((name,), f'{name} has no meaning for action "{row.action}"', f"it is for {fitting}")
    wanted = NEEDS.get(row.action)
    if wanted is not None and not given[wanted]:
        raise WrongValueError((), f'action "{row.action}" needs {wanted}', f'add {wanted} = "512M"')
    if row.action == "notify" and not row.notify:
        raise WrongValueError((), 'action "notify" needs a command', 'add notify = ["COMMAND", "ARGUMENT"]')


def _duration(text: str | None, key: str, default: int) -> int:
    found = default if text is None else duration_ms(text)
    if found is None:
        raise WrongValueError((key,), f"{text!r} is no duration", _DURATION)
    return found


def _amount(row: RuleRow) -> int:
    found = 0 if row.amount is None else size_bytes(row.amount)
    if found is None:
        raise WrongValueError(("amount",), f"{row.amount!r} is no size", _SIZE)
    return found
