"""Imported rules as an oompolicy.toml: the one place that knows the keys of [[rule]].

Belongs here: how a rule is written, and the comments that say where it came from. Must not know: any tool's settings.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Final

from oompolicy.assign import Assignment
from oompolicy.importing.imported import Imported, ImportedRule, plain
from oompolicy.rules.rule import Kill, Other, Rule

WIDTH: Final = 118
_DEFAULT: Final = Rule("", "")
_ACTIONS: Final[dict[Kill | Other, str]] = {
    Kill.PROCESS: "kill",
    Kill.TREE: "kill_tree",
    Kill.CGROUP: "kill_cgroup",
}


def config_text(imported: Imported) -> str:
    """The whole file."""
    lines = [f"# Made by `oompolicy import` from {plain(imported.source)} ({imported.tool})."]
    if imported.left_out:
        lines += ["#", "# Not, or not quite, taken over:"]
        for left_out in imported.left_out:
            text = f"{left_out.place}: {left_out.what}: {left_out.why}"
            lines += textwrap.wrap(
                plain(text), WIDTH, initial_indent="# - ", subsequent_indent="#   ", break_on_hyphens=False
            )
    if not imported.rules:
        lines += ["#", "# No rule came of it: the kernel alone decides."]
    lines += _assigned(imported)
    lines += _protect(imported)
    for rule in imported.rules:
        lines += ["", *_rule(rule)]
    return "\n".join([*lines, ""])


def _rule(imported: ImportedRule) -> Iterator[str]:
    for origin in imported.origins:
        yield from _wrapped(origin.origin, "# ")
    yield "[[rule]]"
    for key, value in _keys(imported.rule):
        line = f"{key} = {_value(value)}"
        if isinstance(value, list) and len(line) > WIDTH:
            yield from (f"{key} = [", *(f"    {_value(one)}," for one in value), "]")
        else:
            yield line


def _wrapped(text: str, start: str) -> list[str]:
    return textwrap.wrap(
        plain(text),
        WIDTH,
        initial_indent=start,
        subsequent_indent="#   ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _keys(rule: Rule) -> Iterator[tuple[str, object]]:
    """The keys that say more than their defaults."""
    yield "name", rule.name
    yield "when", rule.when
    if rule.scope != _DEFAULT.scope:
        yield "scope", rule.scope[0] if len(rule.scope) == 1 else list(rule.scope)
    if rule.policy is not None:
        yield "policy", rule.policy
    yield "action", _ACTIONS.get(rule.action, rule.action.value)
    for key, texts in (("among", rule.among), ("by", rule.by)):
        if texts:
            yield key, texts[0] if len(texts) == 1 else list(texts)
    if rule.is_recursive:
        yield "recursive", True
    if rule.grace_ms:
        yield "grace", _duration(rule.grace_ms)
    yield "cooldown", _duration(rule.cooldown_ms)
    if not rule.must_last_anew:
        yield "anew", False
    if rule.pre_kill:
        yield "pre_kill", list(rule.pre_kill)
        yield "pre_kill_limit", _duration(rule.pre_kill_limit_ms)
    if rule.notify:
        yield "notify", list(rule.notify)
    if rule.is_dry_run:
        yield "dry_run", True


def _assigned(imported: Imported) -> Iterator[str]:
    """[[assign]] as one list: it has a row for each path."""
    if not imported.assigned:
        return
    yield from ("", "assign = [")
    before = None
    for one in imported.assigned:
        if one.origin != before:
            yield from (f"    {line}" for line in _wrapped(one.origin.origin, "# "))
        before = one.origin
        asked = {name: getattr(one.row, name) for name in Assignment.__slots__ if name != "value"}
        said = ", ".join(f"{name} = {_value(text)}" for name, text in asked.items() if text is not None)
        yield f"    {{ {said}, value = {one.row.value} }},"
    yield "]"


def _protect(imported: Imported) -> Iterator[str]:
    if imported.protected_comms or imported.protected_uids:
        yield from ("", "[protect]")
    if imported.protected_comms:
        yield f"comms = {_value(list(imported.protected_comms))}"
    if imported.protected_uids:
        yield f"uids = {_value(list(imported.protected_uids))}"


def _duration(duration_ms: int) -> str:
    """As it is read most easily.

    >>> _duration(1500), _duration(15_000)
    ('1500ms', '15s')
    """
    return f"{duration_ms // 1000}s" if duration_ms % 1000 == 0 else f"{duration_ms}ms"


def _value(value: object) -> str:
    """A TOML value: JSON's texts, numbers, lists and booleans are TOML's too.

    >>> print(_value('of("/a", cgroup.swap_mib > 0)'))
    'of("/a", cgroup.swap_mib > 0)'
    """
    if isinstance(value, str) and '"' in value and "'" not in value and value.isprintable():
        return f"'{value}'"
    text = json.dumps(value, ensure_ascii=False)
    # TOML wants the one control character escaped that JSON lets stand.
    return text.replace("\x7f", "\\u007f")
