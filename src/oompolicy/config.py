"""oompolicy.toml: what it may say, and where it is wrong.

Belongs here: the keys with their types and defaults, and errors with their place in the file.
Must not know: what a backend or a policy does with a value.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from oompolicy.assign import Assignment
from oompolicy.errors import ConfigError, OompolicyError, Place
from oompolicy.trusted_file import read_trusted

DEFAULT_PATH: Final = Path("/etc/oompolicy/oompolicy.toml")

Backend = Literal["auto", "oom_score_adj", "dry_run", "hook", "kill"]
Drift = Literal["correct", "leave"]
Parameter = int | str | list[int | str]
Value = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]

# What msgspec calls a type, and what a person calls it.
_TYPES: Final = {
    "int": "a whole number",
    "float": "a number with a decimal point",
    "str": "a text in quotes",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
    "datetime": "a date",
    "date": "a date",
    "time": "a time",
}


class AssignRow(Struct, frozen=True, forbid_unknown_fields=True):
    """One [[assign]] row: whom it matches, and the value they get (see assign.Assignment)."""

    value: Value
    cgroup: str | None = None
    comm: str | None = None
    uid: Annotated[int, Meta(ge=0, lt=1 << 32)] | None = None


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file; its fields are the keys of docs/config.md."""

    backend: Backend = "auto"
    policy: str = "kernel_default"
    params: dict[str, Parameter] = {}
    interval_ms: Annotated[int, Meta(ge=100, le=3_600_000)] = 5000
    drift: Drift = "correct"
    scope: str | None = None
    state_dir: str = "/run/oompolicy"
    ttl_ms: Annotated[int, Meta(ge=1000, le=86_400_000)] | None = None
    assign: list[AssignRow] = []


@dataclass(frozen=True, slots=True)
class Config:
    """What the daemon is told. policy is a name or a path; params are the policy's; path is the file, if there was one.

    scope is the cgroup whose processes are the only ones touched, None for all of the machine's. ttl_ms is how long
    the hook's answers count without the daemon, None for the default.
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


def load_config(path: Path | None = None) -> Config:
    """The configuration of a file; without a path that of DEFAULT_PATH, and the defaults where there is no such file.

    Raises ConfigError with line, column and what was expected where the file is not understood or not to be trusted.
    """
    if path is None:
        if not DEFAULT_PATH.exists():
            return Config()
        path = DEFAULT_PATH
    try:
        content = read_trusted(path)
    except OompolicyError as error:
        raise ConfigError(path, error.why, error.hint) from None
    text = _decoded(path, content)
    table = _parsed(path, text)
    _refuse_unknown_keys(path, text, table)
    try:
        read = msgspec.convert(table, _File)
    except msgspec.ValidationError as error:
        raise _refused(path, text, table, str(error)) from None
    return Config(
        read.backend,
        _beside(path, read.policy),
        tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in read.params.items()),
        read.interval_ms,
        read.drift,
        read.scope,
        Path(read.state_dir),
        tuple(Assignment(row.value, row.cgroup, row.comm, row.uid) for row in read.assign),
        path,
        read.ttl_ms,
    )


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


def _parsed(path: Path, text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, line, column = str(error), None, None
        if found := re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message):
            message = message[: found.start()]
            line = int(found[1]) if found[1] else text.count("\n") + 1
            column = int(found[2]) if found[2] else None
        raise ConfigError(_place(path, text, line, column), f"is not TOML: {message}") from None
    except RecursionError:
        raise ConfigError(path, "is not a configuration: it nests too deeply") from None


def _place(path: Path, text: str, line: int | None, column: int | None = None) -> Place:
    lines = text.splitlines()
    shown = lines[line - 1] if line is not None and line <= len(lines) else None
    return Place(str(path), line, column, shown)


def _refuse_unknown_keys(path: Path, text: str, table: dict[str, object]) -> None:
    """msgspec would refuse them too, but without the nearest known one."""
    rows = table.get("assign")
    checks: list[tuple[tuple[str | int, ...], object, type[Struct]]] = [((), table, _File)]
    if isinstance(rows, list):
        checks += [(("assign", number), row, AssignRow) for number, row in enumerate(rows)]
    for where, found, schema in checks:
        known = schema.__struct_fields__
        for key in found if isinstance(found, dict) else ():
            if key in known:
                continue
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            inside = "" if not where else " in [[assign]]"
            raise ConfigError(_place_of_key(path, text, (*where, key)), f"unknown key {key}{inside}", hint)


def _refused(path: Path, text: str, table: dict[str, object], message: str) -> ConfigError:
    """msgspec's refusal ("Expected `int`, got `str` - at `$.interval_ms`") with its place and in a person's words."""
    why, _, where = message.partition(" - at `$")
    keys = tuple(int(number) if number else (name or "") for name, number in re.findall(r"\.([\w-]+)|\[(\d+)\]", where))
    if "[...]" in where:  # msgspec does not name the key of a dict
        keys = ("params",)
    key = ".".join(str(part) for part in keys if isinstance(part, str)) or "the file"
    if missing := re.match(r"Object missing required field `(\w+)`", why):
        return ConfigError(_place_of_key(path, text, keys), f"{key} has no {missing[1]}", f"add {missing[1]} = …")
    if why.startswith("Invalid enum value"):
        choices = ", ".join(f'"{choice}"' for choice in get_args(Backend if key == "backend" else Drift))
        why = f"{key}: {why.removeprefix('Invalid enum value ')} is none of {choices}"
        return ConfigError(_place_of_key(path, text, keys), why)
    for word, human in _TYPES.items():
        why = re.sub(rf"\b{word}\b", human, why)
    why = why.replace("`", "").replace(" | ", " or ").removeprefix("Expected ")
    return ConfigError(_place_of_key(path, text, keys), f"{key}: expected {why}")


def _place_of_key(path: Path, text: str, keys: tuple[str | int, ...]) -> Place:
    """The line where a key is set, or where its table begins; the file alone where that cannot be found."""
    for found, line in _lines_of_keys(text):
        if found == keys:
            return _place(path, text, line)
    for length in range(len(keys) - 1, 0, -1):
        for found, line in _lines_of_keys(text):
            if found == keys[:length]:
                return _place(path, text, line)
    return Place(str(path))


def _lines_of_keys(text: str) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Each key with its line, as TOML is mostly written: one key a line, tables by their headings."""
    table: tuple[str | int, ...] = ()
    rows: dict[str, int] = {}
    for line, written in enumerate(text.splitlines(), start=1):
        if heading := re.match(r"\s*\[\[\s*([\w-]+)\s*\]\]", written):
            name = heading[1]
            rows[name] = rows.get(name, -1) + 1
            table = (name, rows[name])
            yield table, line
        elif heading := re.match(r"\s*\[\s*([\w-]+)\s*\]", written):
            table = (heading[1],)
            yield table, line
        elif key := re.match(r"""\s*["']?([\w-]+)["']?\s*[=.]""", written):
            yield (*table, key[1]), line
