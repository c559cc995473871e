"""What is wrong with a file, in a person's words, at its place.

Belongs here: unknown keys, and msgspec's refusals translated. Must not know: what the keys are for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, get_args

import msgspec
from msgspec import Struct

from oompolicy.config.places import Keys, Source
from oompolicy.config.schema import CHOICES, AssignRow, BudgetTable, File, ProtectTable, RuleRow
from oompolicy.errors import ConfigError
from oompolicy.mistakes import nearest

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
_ROWS: Final[dict[str, type[Struct]]] = {"assign": AssignRow, "rule": RuleRow}
_TABLES: Final[dict[str, type[Struct]]] = {"budget": BudgetTable, "protect": ProtectTable}


class WrongValueError(Exception):
    """A value that is of the right type, and yet wrong. keys: where, from the row on."""

    def __init__(self, keys: Keys, why: str, hint: str | None = None) -> None:
        super().__init__(why)
        self.keys, self.why, self.hint = keys, why, hint


def understood(source: Source, table: dict[str, object]) -> File:
    """The file's table as the schema has it. Raises ConfigError at the place of what is wrong."""
    _refuse_unknown_keys(source, table)
    try:
        return msgspec.convert(table, File)
    except msgspec.ValidationError as error:
        raise _refused(source, str(error)) from None


def _refuse_unknown_keys(source: Source, table: dict[str, object]) -> None:
    """msgspec would refuse them too, but without the nearest known one."""
    for where, heading, found, schema in _with_schemas(table):
        known = schema.__struct_fields__
        for key in found if isinstance(found, dict) else ():
            if key in known:
                continue
            near = nearest(key, known)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
            inside = f" in {heading}" if heading else ""
            raise ConfigError(source.place_of((*where, key)), f"unknown key {key}{inside}", hint)


def _with_schemas(table: dict[str, object]) -> Iterator[tuple[Keys, str, object, type[Struct]]]:
    yield (), "", table, File
    for name, schema in _TABLES.items():
        yield (name,), f"[{name}]", table.get(name), schema
    for name, schema in _ROWS.items():
        rows = table.get(name)
        for number, row in enumerate(rows if isinstance(rows, list) else ()):
            yield (name, number), f"[[{name}]]", row, schema
            if name == "rule" and isinstance(row, dict):
                yield (name, number, "budget"), "a rule's budget", row.get("budget"), BudgetTable


def _refused(source: Source, message: str) -> ConfigError:
    """msgspec's refusal ("Expected `int`, got `str` - at `$.interval_ms`") with its place and in a person's words."""
    why, _, where = message.partition(" - at `$")
    keys = tuple(int(number) if number else (name or "") for name, number in re.findall(r"\.([\w-]+)|\[(\d+)\]", where))
    if "[...]" in where:  # msgspec does not name the key of a dict
        keys = keys or ("params",)
    key = ".".join(str(part) for part in keys if isinstance(part, str)) or "the file"
    place = source.place_of(keys)
    if missing := re.match(r"Object missing required field `(\w+)`", why):
        return ConfigError(place, f"{key} has no {missing[1]}", f"add {missing[1]} = …")
    if why.startswith("Invalid enum value"):
        known = get_args(CHOICES[key])
        wrong = why.removeprefix("Invalid enum value ")
        near = nearest(wrong.strip("'"), known)
        choices = ", ".join(f'"{choice}"' for choice in known)
        hint = f'did you mean "{near}"?' if near else None
        return ConfigError(place, f"{key}: {wrong} is none of {choices}", hint)
    for word, human in _TYPES.items():
        why = re.sub(rf"\b{word}\b", human, why)
    why = why.replace("`", "").replace(" | ", " or ").removeprefix("Expected ")
    return ConfigError(place, f"{key}: expected {why}")
