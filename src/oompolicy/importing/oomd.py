"""oomd: oomd.json.

Sources: docs/configuration.md, core_plugins.md, ruleset_cgroup.md, drop_in_configs.md, prekill_hooks.md of oomd 0.5.0
(GPL-2.0), and src/oomd/plugins/BaseKillPlugin.cpp.

A ruleset becomes a rule of the machine for each action that kills: it asks of() the cgroups that detectors name, and
compares those that the action names. What would make a rule fire more often than its ruleset is written with
dry_run = true, and said.

Belongs here: rulesets, detector groups, the chain of actions. Must not know: what single detectors say
(oomd_detectors.py), whom single actions take (oomd_actions.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Final

from oompolicy.importing import when
from oompolicy.importing.imported import Imported, ImportedRule, LeftOut, Setting, bad, rule_name
from oompolicy.importing.json_places import Node, read_json
from oompolicy.importing.oomd_actions import KILLS, NOT_KILLS, among, remarks, wanted
from oompolicy.importing.oomd_detectors import BadArgumentError, Plugin, argument, detected, globs, truth
from oompolicy.rules.rule import Kill, Other, Rule

POST_ACTION_DELAY_S: Final = 15  # DEFAULT_POST_ACTION_DELAY, engine/Ruleset.h
MACHINE: Final = ("/",)
LOOSER: Final = "without it the rule fires more often: it has dry_run = true until its `when` is mended"
_RULESET_KEYS: Final = {
    "name": None,
    "detectors": None,
    "actions": None,
    "post_action_delay": None,
    "cgroup": None,
    "xattr_filter": "a scope is chosen by its path alone",
    "silence-logs": "a matter of the log, not of the rules",
    "drop-in": "drop-in files of oomd change a ruleset; here a drop-in folder adds rules",
    "prekill_hook_timeout": "a rule's pre_kill is a command, and pre_kill_limit_ms its time",
}


@dataclass(slots=True)
class _Out:
    """What has come of it so far."""

    path: str
    rules: list[ImportedRule] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def leave_out(self, what: str, why: str, place: str) -> None:
        self.left_out.append(LeftOut(what, why, place))


@dataclass(frozen=True, slots=True)
class _Group:
    """A detector group: its name, where it stands, and its detectors."""

    title: str
    place: str
    plugins: tuple[Plugin, ...]


@dataclass(frozen=True, slots=True)
class _Ruleset:
    """One ruleset; scope: its own cgroup's globs, () where it has none."""

    name: str
    place: str
    scope: tuple[str, ...]
    delay_s: float
    groups: tuple[_Group, ...]
    actions: tuple[Plugin, ...]


@dataclass(frozen=True, slots=True)
class _Watched:
    """Detector groups as a rule has them: the condition, and whether it holds more often than oomd's."""

    condition: str
    is_looser: bool
    origins: tuple[Setting, ...]


def is_oomd(text: str) -> bool:
    """Is it an oomd.json?"""
    return '"rulesets"' in text


def import_oomd(text: str, path: str) -> Imported:
    """From a whole configuration; a drop-in is one without detectors or actions."""
    out = _Out(path)
    root = _object(read_json(text, path), path, "the configuration")
    for key, node in root.items():
        if key == "prekill_hooks":
            why = "hooks are plugins of oomd's own: a rule's pre_kill names a command"
            out.leave_out(key, why, f"{path}:{node.line}")
        elif key not in ("rulesets", "version"):
            out.leave_out(key, "not a key of oomd", f"{path}:{node.line}")
    if "rulesets" not in root:
        raise bad(path, "there are no rulesets")
    for node in _array(root["rulesets"], path, "rulesets"):
        _import_ruleset(_ruleset(node, path, out), out)
    return Imported("oomd", path, tuple(out.rules), (), tuple(out.left_out))


def _ruleset(node: Node, path: str, out: _Out) -> _Ruleset:
    place = f"{path}:{node.line}"
    found = _object(node, path, "a ruleset")
    name = _text(found["name"], path, "name") if "name" in found else f"ruleset in line {node.line}"
    for key, member in found.items():
        why = _RULESET_KEYS.get(key, "not a key of a ruleset")
        if why is not None:
            out.leave_out(f"{name}: {key}", why, f"{path}:{member.line}")
    for key in ("detectors", "actions"):
        if key not in found:
            out.leave_out(f"{name}: no {key}", "a drop-in: what it changes is in another file", place)
    own = globs(_text(found["cgroup"], path, "cgroup")) if "cgroup" in found else ()
    delay_s = POST_ACTION_DELAY_S if "post_action_delay" not in found else _seconds(found["post_action_delay"], path)
    groups = tuple(_group(group, path, own) for group in _items(found, "detectors", path))
    actions = tuple(_plugin(action, path, own) for action in _items(found, "actions", path))
    return _Ruleset(name, place, own, delay_s, groups, actions)


def _items(found: dict[str, Node], key: str, path: str) -> list[Node]:
    return _array(found[key], path, key) if key in found else []


def _group(node: Node, path: str, own: tuple[str, ...]) -> _Group:
    items = _array(node, path, "a detector group")
    if not items:
        raise bad(f"{path}:{node.line}", "a detector group is empty", 'it is ["a name", {"name": ...}, ...]')
    title = _text(items[0], path, "a detector group's name")
    return _Group(title, f"{path}:{node.line}", tuple(_plugin(item, path, own) for item in items[1:]))


def _plugin(node: Node, path: str, own: tuple[str, ...]) -> Plugin:
    """own: its ruleset's cgroups. What it names below them goes with what it names itself (docs/ruleset_cgroup.md)."""
    found = _object(node, path, "a plugin")
    if "name" not in found:
        raise bad(f"{path}:{node.line}", "a plugin has no name")
    args = _object(found["args"], path, "args") if "args" in found else {}
    given = {key: _argument(value, path, key) for key, value in args.items()}
    if "ruleset_cgroup" in given:
        below = [part.strip("/") for part in given.pop("ruleset_cgroup").split(",")]
        named = [base if part in ("", ".") else f"{base}/{part}" for base in own for part in below]
        given["cgroup"] = ",".join(filter(None, (given.get("cgroup"), *named)))
    return Plugin(_text(found["name"], path, "name"), given, f"{path}:{node.line}")


def _import_ruleset(ruleset: _Ruleset, out: _Out) -> None:
    actions = list(_chain(ruleset, out))
    if not actions and ruleset.groups:
        out.leave_out(ruleset.name, "none of its actions does anything that a rule can do", ruleset.place)
        return
    watched = [one for group in ruleset.groups if (one := _watched(ruleset, group, out)) is not None]
    for is_looser in (False, True):
        # As one rule, so that one delay is for all groups, as there.
        same = [one for one in watched if one.is_looser is is_looser]
        if same:
            condition = when.any_of(*(one.condition for one in same))
            together = _Watched(condition, is_looser, tuple(one.origins[0] for one in same))
            for action in actions:
                with _at(action):
                    rule = _rule(ruleset, together, action, out)
                if rule is not None:
                    out.rules.append(rule)


def _chain(ruleset: _Ruleset, out: _Out) -> Iterator[Plugin]:
    """The actions that act. The chain ends with the first one that kills, unless it is told always to continue."""
    for position, action in enumerate(ruleset.actions):
        if action.name in KILLS or action.name == "systemd_restart":
            yield action
        elif action.name != "continue" and action.name != "stop":
            why = NOT_KILLS.get(action.name, "no such action among oomd's core plugins")
            out.leave_out(f"{ruleset.name}: {action.text}", why, action.place)
            continue
        if action.name == "stop" or (action.name != "continue" and not truth(action, "always_continue", False)):
            for rest in ruleset.actions[position + 1 :]:
                why = "it is run where the action before it has killed nothing; a rule has one action"
                out.leave_out(f"{ruleset.name}: {rest.text}", why, rest.place)
            return


def _watched(ruleset: _Ruleset, group: _Group, out: _Out) -> _Watched | None:
    """All of a group's detectors; None where it never fires."""
    what = f"{ruleset.name}: {group.title}"
    parts: list[str] = []
    is_looser = False
    for plugin in group.plugins:
        with _at(plugin):
            one = detected(plugin, ruleset.scope)
        if one.never:
            why = f"no rule: {'; '.join(one.notes) or 'it never fires'}"
            out.leave_out(f"{what}: {plugin.text}", why, plugin.place)
            return None
        if one.condition:
            parts.append(one.condition)
        for note in one.notes if one.lost is None else (*one.notes, f"{one.lost}; {LOOSER}"):
            out.leave_out(f"{what}: {plugin.text}", note, plugin.place)
        is_looser = is_looser or one.lost is not None
    if not parts:
        out.leave_out(what, "nothing is left of its detectors to make a condition of", group.place)
        return None
    return _Watched(when.all_of(*dict.fromkeys(parts)), is_looser, (Setting(what, group.place),))


@contextmanager
def _at(plugin: Plugin) -> Iterator[None]:
    """What is wrong with its arguments is told with its place."""
    try:
        yield
    except BadArgumentError as error:
        raise bad(plugin.place, str(error)) from None


def is_under(target: str, scope: tuple[str, ...]) -> bool:
    """Is what a glob names inside one of the scopes?

    >>> is_under("/system.slice/*", ("/system.slice",)), is_under("/a.slice/b", ("/system.slice",))
    (True, False)
    """
    for one in scope:
        own, theirs = one.strip("/").split("/"), target.strip("/").split("/")
        if one == "/" or (
            len(theirs) >= len(own) and all(fnmatchcase(part, glob) for part, glob in zip(theirs, own, strict=False))
        ):
            return True
    return False


def _rule(ruleset: _Ruleset, watched: _Watched, action: Plugin, out: _Out) -> ImportedRule | None:
    """One rule of an action, and of the detector groups that set it off; None where it would kill nobody."""
    name = rule_name(ruleset.name, {rule.rule.name for rule in out.rules})
    rule = Rule(
        name,
        watched.condition,
        ruleset.scope or MACHINE,
        cooldown_ms=round(1000 * argument(action, "post_action_delay", ruleset.delay_s)),
        must_last_anew=not when.lasts(watched.condition),
        is_dry_run=watched.is_looser or truth(action, "dry", False),
    )
    origins = (*watched.origins, Setting(action.text, action.place))
    if action.name == "systemd_restart":
        return ImportedRule(_restart(rule, ruleset, action, out), origins)
    targets = among(action)
    if not targets:
        out.leave_out(
            f"{name}: {action.text}", "no rule: it names no cgroup, or the root, which never goes", action.place
        )
        return None
    is_recursive = truth(action, "recursive", False)
    by = KILLS[action.name](action)
    rule = replace(rule, action=Kill.CGROUP, among=targets, by=by, is_recursive=is_recursive)
    for why in remarks(action):
        out.leave_out(f"{name}: {action.name}", why, action.place)
    if not any(is_under(target, rule.scope) for target in targets):
        why = f"it kills in {', '.join(targets)}, a rule in its scope: it has dry_run = true"
        out.leave_out(f"{name}: {action.name}", why, action.place)
        return ImportedRule(replace(rule, is_dry_run=True), origins)
    return ImportedRule(replace(rule, when=_and(rule.when, wanted(action, targets))), origins)


def _and(condition: str, more: str) -> str:
    return when.all_of(condition, more) if more else condition


def _restart(rule: Rule, ruleset: _Ruleset, action: Plugin, out: _Out) -> Rule:
    """What a rule restarts is the unit whose cgroup it is judged for: one that is named, or the system's."""
    service = action.args.get("service", "")
    watched = (cgroup for group in ruleset.groups for plugin in group.plugins for cgroup in plugin.cgroups)
    named = (*rule.scope, *(() if ruleset.scope else watched))
    own = [cgroup for cgroup in dict.fromkeys(named) if cgroup.endswith("/" + service)]
    if not own and ruleset.scope:
        why = f"a rule restarts the unit whose cgroup is its scope, {', '.join(rule.scope)}: it has dry_run = true"
        out.leave_out(f"{rule.name}: {action.text}", why, action.place)
        return replace(rule, action=Other.RESTART, is_dry_run=True)
    return replace(rule, action=Other.RESTART, scope=tuple(own) or (f"/system.slice/{service}",))


def _object(node: Node, path: str, what: str) -> dict[str, Node]:
    if not isinstance(node.value, dict):
        raise bad(f"{path}:{node.line}", f"{what} is not an object {{...}}")
    return node.value


def _array(node: Node, path: str, what: str) -> list[Node]:
    if not isinstance(node.value, list):
        raise bad(f"{path}:{node.line}", f"{what} is not an array [...]")
    return node.value


def _text(node: Node, path: str, what: str) -> str:
    if not isinstance(node.value, str):
        raise bad(f"{path}:{node.line}", f"{what} is not a text")
    return node.value


def _seconds(node: Node, path: str) -> float:
    text = str(node.value)
    if not re.fullmatch(r"\d{1,9}", text):
        raise bad(f"{path}:{node.line}", f"post_action_delay is {text!r}, not a whole number")
    return float(text)


def _argument(node: Node, path: str, name: str) -> str:
    """Arguments are texts; oomd takes numbers and booleans too (JsonConfigParser: asString)."""
    if isinstance(node.value, bool):
        return str(node.value).lower()
    if isinstance(node.value, dict | list) or node.value is None:
        raise bad(f"{path}:{node.line}", f"args: {name} is not a text")
    return str(node.value)
