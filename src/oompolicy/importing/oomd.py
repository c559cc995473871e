"""oomd: oomd.json.

Sources: docs/configuration.md, core_plugins.md, ruleset_cgroup.md, drop_in_configs.md, prekill_hooks.md of oomd 0.5.0
(GPL-2.0), and src/oomd/plugins/BaseKillPlugin.cpp.

A rule of ours watches a cgroup and kills inside it; a ruleset of oomd may watch one and kill in another. What would
make a rule fire more often than its ruleset is written with dry_run = true, and said.

Belongs here: rulesets, detector groups, the chain of actions. Must not know: what single detectors say
(oomd_detectors.py), whom single actions take (oomd_actions.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Final

from oompolicy.importing import when
from oompolicy.importing.imported import Imported, ImportedRule, LeftOut, PolicyFile, Setting, bad, rule_name
from oompolicy.importing.json_places import Node, read_json
from oompolicy.importing.oomd_actions import KILLS, NOT_KILLS, narrowed, policy_of, remarks
from oompolicy.importing.oomd_detectors import BadArgumentError, Detected, Plugin, detected, globs, truth
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
    policies: list[PolicyFile] = field(default_factory=list)
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
    """A detector group as a rule would have it: the condition, the scope, and whether it fires more often than oomd."""

    condition: str
    scope: tuple[str, ...]
    is_looser: bool
    origin: Setting


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
    if any(rule.rule.action is Kill.CGROUP for rule in out.rules):
        why = (
            "what is compared and killed is the cgroup that a process is in, not all below the one that a pattern names"
        )
        out.leave_out("cgroup", why, path)
    return Imported("oomd", path, tuple(out.rules), tuple(out.policies), tuple(out.left_out))


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
    kills = list(_chain(ruleset, out))
    if not kills and ruleset.groups:
        out.leave_out(ruleset.name, "none of its actions does anything that a rule can do", ruleset.place)
    several = len(ruleset.groups) > 1 or len(kills) > 1
    for group in ruleset.groups:
        for action in kills:
            watched = _watched(ruleset, group, action, out)
            if watched is not None:
                name = f"{ruleset.name}: {group.title}" if several else ruleset.name
                name = rule_name(name, {rule.rule.name for rule in out.rules})
                out.rules.append(_rule(ruleset, watched, action, name, out))


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


def _watched(ruleset: _Ruleset, group: _Group, action: Plugin, out: _Out) -> _Watched | None:
    what = f"{ruleset.name}: {group.title}"
    found = [(plugin, _detected(plugin)) for plugin in group.plugins]
    for plugin, one in found:
        if one.never:
            out.leave_out(
                f"{what}: {plugin.text}", f"no rule: {'; '.join(one.notes) or 'it never fires'}", plugin.place
            )
            return None
    scope = ruleset.scope or _scope(found, action)
    parts: list[str] = []
    is_looser = False
    for plugin, one in found:
        condition, lost = _part(plugin, one, scope)
        if condition:
            parts.append(condition)
        for note in one.notes if lost is None else (*one.notes, f"{lost}; {LOOSER}"):
            out.leave_out(f"{what}: {plugin.text}", note, plugin.place)
        if condition and one.cgroups not in ((), scope):
            why = f"it asks whether anything of {', '.join(scope)} was reclaimed, which is more"
            out.leave_out(f"{what}: {plugin.text}", why, plugin.place)
        is_looser = is_looser or lost is not None
    if not parts:
        out.leave_out(what, "nothing is left of its detectors to make a condition of", group.place)
        return None
    if len(scope) > 1:
        why = f"oomd takes the worst of {', '.join(scope)}; the rule is judged for each, and kills inside it"
        out.leave_out(what, why, group.place)
    return _Watched(when.all_of(*dict.fromkeys(parts)), scope, is_looser, Setting(what, group.place))


def _detected(plugin: Plugin) -> Detected:
    try:
        return detected(plugin)
    except BadArgumentError as error:
        raise bad(plugin.place, str(error)) from None


def _part(plugin: Plugin, one: Detected, scope: tuple[str, ...]) -> tuple[str, str | None]:
    """The condition of one detector in a rule of that scope, and what of it is lost."""
    if one.cgroups in ((), scope):
        return one.condition, one.lost
    if plugin.name == "memory_reclaim" and _held(scope, one.cgroups):
        # A cgroup's memory.stat counts what is below it too.
        return one.condition, one.lost
    return "", f"a rule reads of the cgroup that it kills in alone, {', '.join(scope)}"


def _scope(found: list[tuple[Plugin, Detected]], action: Plugin) -> tuple[str, ...]:
    """Of the cgroups that detectors watch, those that hold what is to be killed; the machine where none is watched."""
    watching = [(plugin.name, one.cgroups) for plugin, one in found if one.cgroups]
    if not watching:
        return MACHINE
    # What asks for reclaim asks whether the others are right: it follows them.
    sets = [cgroups for name, cgroups in watching if name != "memory_reclaim"] or [watching[0][1]]
    return max(sets, key=lambda cgroups: (_held(cgroups, action.cgroups), len(cgroups)))


def _held(scope: tuple[str, ...], targets: tuple[str, ...]) -> int:
    return sum(is_under(target, scope) for target in targets)


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


def _rule(ruleset: _Ruleset, watched: _Watched, action: Plugin, name: str, out: _Out) -> ImportedRule:
    """One rule of one detector group and one action."""
    origins = (watched.origin, Setting(action.text, action.place))
    delay_ms = round(1000 * float(_argument_number(action, "post_action_delay", ruleset.delay_s)))
    is_dry = watched.is_looser or truth(action, "dry", False)
    rule = Rule(name, watched.condition, watched.scope, cooldown_ms=delay_ms, is_dry_run=is_dry)
    if action.name == "systemd_restart":
        return ImportedRule(_restart(rule, action, watched, out), origins)
    targets = action.cgroups
    inside = [target for target in targets if is_under(target, watched.scope)]
    what = f"{name}: {action.name}"
    if not inside:
        why = f"it kills in {', '.join(targets) or 'no cgroup'}, a rule in what it watches: it has dry_run = true"
        out.leave_out(what, why, action.place)
        return ImportedRule(replace(rule, action=Kill.CGROUP, is_dry_run=True), origins)
    outside = ", ".join(target for target in targets if target not in inside)
    if outside:
        why = f"a rule kills inside the cgroup that it watches, {', '.join(watched.scope)}, not in {outside}"
        out.leave_out(what, why, action.place)
    rule = replace(rule, action=Kill.CGROUP, scope=narrowed(watched.scope, inside))
    for why in remarks(action, rule.scope, inside):
        out.leave_out(what, why, action.place)
    policy, file = policy_of(action, rule.scope, inside, len(out.policies) + 1)
    if file is not None:
        same = next((known.name for known in out.policies if _body(known) == _body(file)), None)
        if same is None:
            out.policies.append(file)
        else:
            policy = same
    return ImportedRule(replace(rule, policy=policy), origins)


def _body(file: PolicyFile) -> str:
    """The text without its own name, to find out that two are the same."""
    return file.text.replace(file.name.removesuffix(".py"), "").replace(file.name, "")


def _restart(rule: Rule, action: Plugin, watched: _Watched, out: _Out) -> Rule:
    service = action.args.get("service", "")
    made = replace(rule, action=Other.RESTART)
    if any(scope.endswith("/" + service) for scope in watched.scope):
        return made
    if watched.scope == MACHINE:
        return replace(made, scope=(f"/system.slice/{service}",))
    why = f"a rule restarts the unit whose cgroup it watches, {', '.join(watched.scope)}: it has dry_run = true"
    out.leave_out(f"{rule.name}: {action.text}", why, action.place)
    return replace(made, is_dry_run=True)


def _argument_number(action: Plugin, name: str, default: float) -> float:
    text = action.args.get(name, "")
    if text and not re.fullmatch(r"\d{1,9}", text.strip()):
        raise bad(action.place, f"{action.name}: {name} is {text!r}, not a whole number")
    return float(text) if text else default


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
