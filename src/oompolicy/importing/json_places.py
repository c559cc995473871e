"""JSON with comments, and with the line of every value: what jsoncpp reads for oomd.

Belongs here: reading it, and errors with line and column. Must not know: what the keys mean.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final, TypeAlias

from oompolicy.errors import ConfigError, Place

_SPACE: Final = re.compile(r"(?:[ \t\r\n]|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_SCALAR: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null")
MOST_NESTED: Final = 100

Scalar: TypeAlias = "str | int | float | bool | None"


@dataclass(frozen=True, slots=True)
class Node:
    """A value and the line where it begins; an object's members and an array's items are nodes themselves."""

    value: Scalar | dict[str, Node] | list[Node]
    line: int


def read_json(text: str, path: str) -> Node:
    """The whole text; raises ConfigError with line, column and the line's text."""
    return _Reader(text, path).whole()


class _Reader:
    def __init__(self, text: str, path: str) -> None:
        self._text = text
        self._path = path
        self._at = 0
        self._newlines = [position for position, character in enumerate(text) if character == "\n"]

    def whole(self) -> Node:
        node = self._value(0)
        self._skip()
        if self._at < len(self._text):
            raise self._bad("something stands after the end")
        return node

    def _value(self, depth: int) -> Node:
        self._skip()
        if depth > MOST_NESTED:
            raise self._bad(f"more than {MOST_NESTED} levels")
        line = bisect_left(self._newlines, self._at) + 1
        match self._text[self._at : self._at + 1]:
            case "{":
                return Node(self._object(depth), line)
            case "[":
                return Node(self._array(depth), line)
            case '"':
                return Node(self._string(), line)
            case "":
                raise self._bad("the text ends too early")
        found = _SCALAR.match(self._text, self._at)
        if found is None:
            raise self._bad("expected a value")
        try:
            scalar: Scalar = json.loads(found[0])
        except ValueError as error:  # 01, or more digits than Python converts
            raise self._bad(str(error)) from None
        self._at = found.end()
        return Node(scalar, line)

    def _object(self, depth: int) -> dict[str, Node]:
        members: dict[str, Node] = {}
        self._at += 1
        while not self._takes("}"):
            if members:
                self._expect(",")
            self._skip()
            if self._text[self._at : self._at + 1] != '"':
                raise self._bad("expected a key in quotes")
            start = self._at
            key = self._string()
            if key in members:
                self._at = start
                raise self._bad(f'"{key}" is there twice')
            self._expect(":")
            members[key] = self._value(depth + 1)
        return members

    def _array(self, depth: int) -> list[Node]:
        items: list[Node] = []
        self._at += 1
        while not self._takes("]"):
            if items:
                self._expect(",")
            items.append(self._value(depth + 1))
        return items

    def _string(self) -> str:
        found = _STRING.match(self._text, self._at)
        if found is None:
            raise self._bad("a text has no end in its line")
        try:
            text: str = json.loads(found[0], strict=False)
        except json.JSONDecodeError as error:
            self._at += error.pos
            raise self._bad(error.msg) from None
        if not text.isascii() and re.search("[\ud800-\udfff]", text):
            raise self._bad("half of a surrogate pair is no character")
        self._at = found.end()
        return text

    def _takes(self, character: str) -> bool:
        self._skip()
        if not self._text.startswith(character, self._at):
            return False
        self._at += 1
        return True

    def _expect(self, character: str) -> None:
        if not self._takes(character):
            raise self._bad(f"expected {character!r}")

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None  # it matches the empty text
        self._at = found.end()

    def _bad(self, why: str) -> ConfigError:
        line = bisect_left(self._newlines, self._at) + 1
        start = self._text.rfind("\n", 0, self._at) + 1
        end = self._text.find("\n", start)
        written = self._text[start : len(self._text) if end < 0 else end]
        return ConfigError(Place(self._path, line, self._at - start + 1, written), f"is not JSON: {why}")
