"""Files become one configuration: the main one, then its drop-ins in the order of their names.

Belongs here: which files, and what a later one does to what an earlier one said. Must not know: the keys' meaning.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from oompolicy.assign import Assignment
from oompolicy.config.places import Keys, Source
from oompolicy.config.refusal import WrongValueError, understood
from oompolicy.config.rows import budget_of, protect_of, rule_of
from oompolicy.config.schema import Backend, Drift, File, RuleRow
from oompolicy.errors import ConfigError, OompolicyError, Place
from oompolicy.rules.protect import Protect
from oompolicy.rules.rule import Budget, Rule
from oompolicy.trusted_file import read_trusted

DEFAULT_PATH: Final = Path("/etc/oompolicy/oompolicy.toml")

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Config:
    """What the daemon is told. policy is a name or a path; params are the policy's; path is the file, if there was one.

    scope is the cgroup whose processes are the only ones touched, None for all of the machine's. ttl_ms is how long
    the hook's answers count without the daemon, None for the default. files are all that was read, drop-ins included.
    """

    backend: Backend = "auto"
    policy: str = "kernel_default"
    params: tuple[tuple[str, int | str | tuple[int | str, ...]], ...] = ()
    interval_ms: int = 5000
    drift: Drift = "correct"
    scope: str | None = None
    state_dir: Path = Path("/run/oompolicy")
    assign: tuple[Assignment, ...] = ()
    path: Path | None = None
    ttl_ms: int | None = None
    reload_on_change: bool = True
    rules: tuple[Rule, ...] = ()
    budget: Budget | None = None
    protect: Protect = field(default_factory=Protect)
    files: tuple[Path, ...] = field(default=(), compare=False)
    scorers: tuple[str, ...] = ()


def drop_ins(path: Path) -> tuple[Path, ...]:
    """The files that add to a configuration: FILE.d/*.toml beside it, by their names, as systemd has it."""
    folder = path.with_name(f"{path.name}.d")
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".toml") and not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise ConfigError(folder, f"cannot be read: {error.strerror}") from None
    return tuple(folder / name for name in names)


def load_config(path: Path | None = None) -> Config:
    """The configuration of a file and its drop-ins; without a path those of DEFAULT_PATH, where there are any.

    Raises ConfigError with line, column and what was expected where a file is not understood or not to be trusted.
    """
    main = path or DEFAULT_PATH
    files = (*((main,) if path is not None or main.exists() else ()), *drop_ins(main))
    if not files:
        return Config()
    said: dict[str, Any] = {}
    for each in files:
        _add(said, each)
    rules = tuple(said.pop("rule", {}).values())
    return Config(**said, rules=rules, path=main, files=files)


def _add(said: dict[str, Any], path: Path) -> None:
    """What one more file says: later keys replace earlier ones, rows and protections add up."""
    source = Source(path, _decoded(path, _read(path)))
    table = _parsed(source)
    read = understood(source, table)
    plain = ("backend", "interval_ms", "drift", "scope", "ttl_ms", "reload_on_change")
    said.update({key: getattr(read, key) for key in plain if key in table})
    if "state_dir" in table:
        said["state_dir"] = Path(read.state_dir)
    if "policy" in table:
        said["policy"] = _beside(path, read.policy)
        said.pop("params", None)  # they were the other policy's
    if "params" in table:
        items = read.params.items()
        said["params"] = tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in items)
    if "scorers" in table:
        said["scorers"] = tuple(_scorer(source, number, name) for number, name in enumerate(read.scorers))
    rows = tuple(Assignment(**{key: getattr(row, key) for key in row.__struct_fields__}) for row in read.assign)
    said["assign"] = said.get("assign", ()) + rows
    if read.budget is not None:
        budget = read.budget
        said["budget"] = _at(source, ("budget",), lambda: budget_of(budget))
    if "protect" in table:
        protect = _at(source, ("protect",), lambda: protect_of(read.protect))
        said["protect"] = _protected(said.get("protect", Protect()), protect, table["protect"])
    _add_rules(said.setdefault("rule", {}), source, read)


def _scorer(source: Source, number: int, name: str) -> str:
    if ".py" not in name:
        why = f"scorers: {name!r} is no file"
        raise ConfigError(source.place_of(("scorers", number)), why, 'write "FILE.py", or "FILE.py:NAME"')
    return str(source.path.parent / name)


def _add_rules(rules: dict[str, Rule], source: Source, read: File) -> None:
    """A row with the name of an earlier file's takes its place; two in one file are a mistake."""
    seen: set[str] = set()
    for number, row in enumerate(read.rule):
        keys: Keys = ("rule", number)
        if row.name in seen:
            raise ConfigError(source.place_of((*keys, "name")), f"there are two rules named {row.name}")
        seen.add(row.name)
        if not row.enabled and row.when is None and row.python is None:
            rules.pop(row.name, None)
            continue
        rule = _rule(source, keys, row)
        if row.enabled:
            rules[row.name] = rule
        else:
            rules.pop(row.name, None)


def _rule(source: Source, keys: Keys, row: RuleRow) -> Rule:
    def place_inside(key: str, value: str, line: int, column: int) -> Place:
        return source.place_inside((*keys, key), value, line, column)

    rule = _at(source, keys, lambda: rule_of(row, place_inside))
    policy = None if rule.policy is None else _beside(source.path, rule.policy)
    python = None if rule.python is None else _beside(source.path, rule.python)
    return replace(rule, policy=policy, python=python)


def _at(source: Source, keys: Keys, make: Callable[[], Made]) -> Made:
    try:
        return make()
    except WrongValueError as wrong:
        raise ConfigError(source.place_of((*keys, *wrong.keys)), wrong.why, wrong.hint) from None


def _protected(before: Protect, more: Protect, table: object) -> Protect:
    """Both; an empty list forgets what was before, as in systemd's files."""
    assert isinstance(table, dict)

    def both(name: str) -> tuple[Any, ...]:
        found: tuple[Any, ...] = getattr(more, name)
        return () if name in table and not found else getattr(before, name) + found

    return Protect(both("cgroups"), both("comms"), both("uids"), both("pids"))


def _read(path: Path) -> bytes:
    try:
        return read_trusted(path)
    except OompolicyError as error:
        raise ConfigError(path, error.why, error.hint) from None


def _beside(path: Path, policy: str) -> str:
    """A policy's file is named from the folder of the file that names it; a built-in's name stays."""
    if "/" not in policy and ".py" not in policy:
        return policy
    return str(path.parent / policy)


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(Place(str(path), line), "is not UTF-8 text", "TOML is UTF-8; is it a text file?") from None


def _parsed(source: Source) -> dict[str, object]:
    try:
        return tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        message, line, column = str(error), None, None
        if found := re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message):
            message = message[: found.start()]
            line = int(found[1]) if found[1] else source.text.count("\n") + 1
            column = int(found[2]) if found[2] else None
        raise ConfigError(source.place(line, column), f"is not TOML: {message}") from None
    except RecursionError:
        raise ConfigError(source.path, "is not a configuration: it nests too deeply") from None
