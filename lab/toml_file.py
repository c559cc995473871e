"""A TOML file read into typed structures, and told where it is wrong.

Belongs here: unknown keys with the nearest known one, wrong types with what is expected, and the line of either.
Must not know: which keys there are; the structures say so.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Final, Generic, Literal, NoReturn, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from oompolicy.errors import ConfigError, Place

Keys = tuple[str | int, ...]  # from the top of the file: names of keys, numbers of rows
Schema = TypeVar("Schema", bound=Struct)

SHOWN_AT_MOST: Final = 40
_PART: Final = r"""(?:[\w-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED: Final = rf"{_PART}(?:\s*\.\s*{_PART})*"
_ROW: Final = re.compile(rf"\s*\[\[\s*({_DOTTED})\s*\]\]")
_TABLE: Final = re.compile(rf"\s*\[\s*({_DOTTED})\s*\]")
_KEY: Final = re.compile(rf"\s*({_DOTTED})\s*=(.*)")
_PLAIN: Final = {  # types that say nothing of themselves
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    list: "a list",
    dict: "a table",
}


class TomlFile(Generic[Schema]):
    """A file and what it says, for errors that name a line of it."""

    def __init__(self, path: Path, schema: type[Schema]) -> None:
        """Read it. Raises ConfigError where it is not TOML, or not what the schema says."""
        self.path = path
        try:
            self.text = path.read_text()
        except UnicodeDecodeError as error:
            raise ConfigError(path, "is not UTF-8 text", "TOML is UTF-8; is it a text file?") from error
        except OSError as error:
            raise ConfigError(
                path, f"cannot be read ({error.strerror})", "`oompolicy lab` lists the collection"
            ) from error
        table = self._parsed()
        self._check(table, schema, ())
        self.said: Schema = msgspec.convert(table, schema)

    def refuse(self, keys: Keys, why: str, hint: str | None = None) -> NoReturn:
        """Raise ConfigError for what stands at a key, or nearest above it."""
        raise ConfigError(self.place(keys), why, hint)

    def unknown(self, keys: Keys, what: str, name: str, known: Iterable[str]) -> NoReturn:
        """Raise ConfigError for a name that nothing has, with the nearest that something has."""
        known = list(known)
        near = difflib.get_close_matches(name, known, n=1)
        there_are = f"there are {', '.join(known)}" if known else "there are none"
        self.refuse(keys, f"{what} {name}", f"did you mean {near[0]}?" if near else there_are)

    def sets(self, keys: Keys) -> bool:
        """Is there a line for this very key?"""
        return any(found == keys for found, _ in lines_of_keys(self.text))

    def place(self, keys: Keys) -> Place:
        """The line where a key is set or its table begins; the file alone where that cannot be found."""
        found = dict(reversed(list(lines_of_keys(self.text))))
        for length in range(len(keys), 0, -1):
            if (line := found.get(keys[:length])) is not None:
                return Place(str(self.path), line, None, self.text.splitlines()[line - 1])
        return Place(str(self.path))

    def _parsed(self) -> dict[str, object]:
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            found = re.fullmatch(
                r"(.*?)(?: \(at (?:line (\d+), column (\d+)|end of document)\))?", str(error), re.DOTALL
            )
            assert found
            if found[2] is None:
                raise ConfigError(self.path, f"is not TOML: {found[1]}") from None
            line = self.text.splitlines()[int(found[2]) - 1 : int(found[2])]
            place = Place(str(self.path), int(found[2]), int(found[3]), line[0] if line else None)
            raise ConfigError(place, f"is not TOML: {found[1]}") from None
        except RecursionError:
            raise ConfigError(self.path, "nests too deeply") from None

    def _check(self, value: object, wanted: object, keys: Keys) -> None:
        """Refuse what does not fit, the innermost first, so that the key of any error is known."""
        struct = _struct_in(wanted)
        if struct is not None and isinstance(value, dict):
            self._check_table(value, struct, keys)
            return
        below = _struct_below(wanted)
        if below is not None and isinstance(value, Mapping | list):
            for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
                self._check(item, below, (*keys, key))
        try:
            msgspec.convert(value, wanted)
        except msgspec.ValidationError:
            shown = json.dumps(value, default=str, ensure_ascii=False)
            shown = f"{shown[:SHOWN_AT_MOST]}…" if len(shown) > SHOWN_AT_MOST else shown
            self.refuse(keys, f"{_said(keys)}: expected {expected(wanted)}, not {shown}", _nearest(value, wanted))

    def _check_table(self, table: Mapping[str, object], struct: type[Struct], keys: Keys) -> None:
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        for key in table:
            if key not in fields:
                if key.partition(".")[0] in fields:
                    self.refuse((*keys, key), f"unknown key {json.dumps(key)}", f"leave out the quotes: {key}")
                self.unknown((*keys, key), f"{_said(keys)}: unknown key" if keys else "unknown key", key, fields)
        for name, field in fields.items():
            if name in table:
                self._check(table[name], field.type, (*keys, name))
            elif field.required:
                self.refuse(keys, f"{_said(keys)} has no {name}", f"add {name} = …")


def _said(keys: Keys) -> str:
    """A key as a person names it: "workload 2: size", "cgroup /job: memory.max"."""
    said, names_one = "", False  # a row by its number, a cgroup by its path
    for key in keys:
        before, names_one = names_one, isinstance(key, int) or key.startswith("/")
        separator = " " if names_one else ": " if before else "." if said else ""
        said += f"{separator}{key + 1 if isinstance(key, int) else key}"
    return said or "the file"


def expected(wanted: object) -> str:
    """What a type takes, in words: its description, the choices of a literal, else its name for people."""
    if get_origin(wanted) is Annotated:
        for note in wanted.__metadata__:  # type: ignore[attr-defined]
            if isinstance(note, msgspec.Meta) and note.description is not None:
                return note.description
        return expected(get_args(wanted)[0])
    if get_origin(wanted) is Literal:
        return "one of " + ", ".join(map(json.dumps, get_args(wanted)))
    if get_origin(wanted) in (Union, UnionType):
        return " or ".join(expected(choice) for choice in get_args(wanted) if choice is not type(None))
    if _struct_in(wanted) is not None:
        return "a table"
    plain = get_origin(wanted) or wanted
    return _PLAIN.get(plain, str(plain)) if isinstance(plain, type) else str(plain)


def _nearest(value: object, wanted: object) -> str | None:
    """A hint where a text is nearly one of a literal's choices."""
    choices = [
        choice for kind in (wanted, *get_args(wanted)) if get_origin(kind) is Literal for choice in get_args(kind)
    ]
    near = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
    return f"did you mean {json.dumps(near[0])}?" if near else None


def _struct_in(wanted: object) -> type[Struct] | None:
    """The structure that a type is, or may be besides None."""
    for kind in (wanted, *(get_args(wanted) if get_origin(wanted) in (Union, UnionType) else ())):
        if isinstance(kind, type) and issubclass(kind, Struct):
            return kind
    return None


def _struct_below(wanted: object) -> type[Struct] | None:
    """The structure of the rows of a list, or of the values of a table."""
    arguments = get_args(wanted)
    return _struct_in(arguments[-1]) if get_origin(wanted) in (list, dict) and arguments else None


def lines_of_keys(text: str) -> Iterator[tuple[Keys, int]]:
    """Each key with its line, as TOML is mostly written: one key a line, tables by their headings."""
    table: Keys = ()
    rows: dict[Keys, int] = {}

    def resolved(parts: Iterable[str]) -> Keys:
        keys: Keys = ()
        for part in parts:
            keys = (*keys, part)
            keys = (*keys, rows[keys]) if keys in rows else keys
        return keys

    open_quotes = ""
    for line, written in enumerate(text.splitlines(), start=1):
        if open_quotes:
            open_quotes = "" if open_quotes in written else open_quotes
        elif heading := _ROW.match(written):
            *above, name = _parts(heading[1])
            keys = (*resolved(above), name)
            rows[keys] = rows.get(keys, -1) + 1
            table = (*keys, rows[keys])
            yield keys, line
            yield table, line
        elif heading := _TABLE.match(written):
            table = resolved(_parts(heading[1]))
            yield table, line
        elif key := _KEY.match(written):
            parts = _parts(key[1])
            for length in range(1, len(parts) + 1):
                yield (*table, *parts[:length]), line
            opened = re.match(r"""\s*('''|\""")""", key[2])
            open_quotes = opened[1] if opened and key[2].count(opened[1]) == 1 else ""


def _parts(dotted: str) -> list[str]:
    """The parts of a dotted key, without quotes.

    >>> _parts('cgroup."/job/db".memory')
    ['cgroup', '/job/db', 'memory']
    """
    return [part.strip("\"'") for part in re.findall(_PART, dotted)]
