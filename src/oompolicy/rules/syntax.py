"""The language of `when` and `by`: a line in Python's syntax becomes a tree. Python parses it, and evaluates nothing.

Belongs here: what may be written, and what is said of the rest, with its place in the text.
Must not know: what is true of it, in which file it stands.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from oompolicy.errors import ConfigError, Place
from oompolicy.mistakes import nearest
from oompolicy.rules.condition import Condition
from oompolicy.rules.fields import BY_NAME, Field, Unit
from oompolicy.rules.tree import (
    OPPOSITE,
    AllOf,
    AnyOf,
    Arithmetic,
    Choose,
    Compare,
    Fixed,
    Growth,
    Lasts,
    Node,
    Number,
    Of,
    OfPeers,
    Rate,
    Reads,
    constant,
    numbers_in,
)
from oompolicy.rules.vocabulary import CONSTANTS, FUNCTIONS, RANKING

MOST_CHARACTERS: Final = 4000
MOST_NESTED: Final = 50
LONGEST_S: Final = 86_400

_COMPARE: Final[dict[type, str]] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_ARITHMETIC: Final[dict[type, str]] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}

# What people write who know other languages: what it looks like, what to write instead.
_SLIPS: Final = (
    (re.compile(r"\d\s*%"), "percent are plain numbers: 10, not 10%"),
    (re.compile(r"\d\s*([KMGT])(i?B)?\b"), "write an amount as 512 * MiB"),
    (re.compile(r"\d\s*(s|ms|min|m|h)\b"), "times are in seconds: lasts(CONDITION, 5)"),
    (re.compile(r"&&"), "write and"),
    (re.compile(r"\|\|"), "write or"),
    (re.compile(r"!(?!=)"), "write not"),
    (re.compile(r"(?<![<>=!])=(?!=)"), "write == to compare"),
    (re.compile(r"\bfor\b"), "write lasts(CONDITION, SECONDS)"),
)

PlaceAt = Callable[[int, int], Place]


def parse_condition(text: str, place_at: PlaceAt | None = None) -> Condition:
    """The condition of a text. place_at(line, column) tells where a place of the text is, both from 1.

    Raises ConfigError with the place, what is wrong, and the nearest name that there is.
    """
    return _Parser(text, place_at or _in_text(text, "condition"), "condition").condition()


def parse_number(text: str, place_at: PlaceAt | None = None) -> Number:
    """A number by which cgroups are compared (ranking.py). Raises ConfigError as parse_condition() does."""
    return _Parser(text, place_at or _in_text(text, "by"), "number").number()


def _in_text(text: str, what: str) -> PlaceAt:
    return lambda line, column: Place(what, line, column, text.split("\n")[line - 1])


class _Parser:
    """kind: what the text is to be, "condition" or "number"."""

    def __init__(self, text: str, place_at: PlaceAt, kind: str) -> None:
        self._text = text
        self._place_at = place_at
        self._kind = kind
        self._is_inside = False  # of() or total()
        # One line of the same length, so that a condition may be written in several.
        blank = re.sub(r"#[^\n]*", lambda found: " " * len(found[0]), text)
        self._line = re.sub(r"\s", " ", blank)
        self._start = len(self._line) - len(self._line.lstrip())
        self._next_index = 0

    def condition(self) -> Condition:
        return Condition(" ".join(self._line.split()), self._node(self._parsed()))

    def number(self) -> Number:
        tree = self._parsed()
        number, _ = self._number(tree)
        if not any(read.field.is_of_cgroup for read in numbers_in(number)):
            raise self._refused(tree, "it is the same for every cgroup", "use a field that begins with cgroup.")
        return number

    def _parsed(self) -> ast.expr:
        if not self._line.strip():
            example = "mem_available_percent < 5" if self._kind == "condition" else "cgroup.swap_mib"
            raise self._refused(0, f"the {self._kind} is empty", f"write one, as {example}")
        if len(self._text) > MOST_CHARACTERS:
            raise self._refused(0, f"the {self._kind} has more than {MOST_CHARACTERS} characters")
        try:
            tree = ast.parse(self._line.strip(), mode="eval").body
        except SyntaxError as error:
            raise self._not_python(error) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise self._refused(0, f"this is not a {self._kind}: {error or 'it nests too deep'}") from None
        if (depth := _depth(tree)) > MOST_NESTED:
            raise self._refused(0, f"the {self._kind} nests {depth} deep, more than {MOST_NESTED}")
        return tree

    # What is true or false. `not` is carried down to the comparisons, so that every node says what must be true.

    def _node(self, found: ast.expr, negated: bool = False) -> Node:
        match found:
            case ast.BoolOp():
                parts = tuple(self._node(part, negated) for part in found.values)
                return AllOf(parts) if isinstance(found.op, ast.And) is not negated else AnyOf(parts)
            case ast.UnaryOp(op=ast.Not()):
                return self._node(found.operand, not negated)
            case ast.Compare():
                return self._compare(found, negated)
            case ast.Call(func=ast.Name(id="lasts")) if self._kind == "number":
                raise self._refused(found, "lasts() is for conditions", "compare by what is, or by growth()")
            case ast.Call(func=ast.Name(id="lasts")):
                part, span_ms = self._two_arguments(found)
                return Lasts(self._node(part), span_ms, self._index(), negated)
            case ast.Call(func=ast.Name(id="of" | "exists")) if self._kind == "condition":
                return self._of(found, negated)
            case _:
                self._number(found)  # what is wrong with it is said first
                raise self._refused(found, f"{self._source(found)} is a number, not a condition", "compare it: ... > 0")

    def _compare(self, found: ast.Compare, negated: bool) -> Node:
        operands = [found.left, *found.comparators]
        sides = [self._number(operand) for operand in operands]
        parts = []
        for place, op in enumerate(found.ops):
            if type(op) not in _COMPARE:
                raise self._refused(found, "this comparison is not part of the language", "there are < <= > >= == !=")
            (left, left_unit), (right, right_unit) = sides[place], sides[place + 1]
            self._match_units(operands[place], left_unit, operands[place + 1], right_unit)
            if next(numbers_in(left), None) is None and next(numbers_in(right), None) is None:
                raise self._refused(
                    operands[place], "both sides are the same for ever", "compare a field with a number"
                )
            written = _COMPARE[type(op)]
            parts.append(Compare(left, OPPOSITE[written] if negated else written, right))
        if len(parts) == 1:
            return parts[0]
        return AnyOf(tuple(parts)) if negated else AllOf(tuple(parts))

    def _of(self, found: ast.Call, negated: bool) -> Of:
        assert isinstance(found.func, ast.Name)
        name = found.func.id
        if self._is_inside:
            raise self._refused(found, f"{name}() inside of of() is not part of the language", "join them with and")
        texts, rest = (found.args, []) if name == "exists" else (found.args[:-1], found.args[-1:])
        if found.keywords or not texts:
            raise self._refused(found, f"{name} takes patterns of cgroups: {FUNCTIONS[name].call}")
        patterns = tuple(self._pattern(text) for text in texts)
        if not rest:
            return Of(patterns, None, self._index(), negated)
        self._is_inside = True
        part = self._node(rest[0])
        self._is_inside = False
        if not any(read.field.is_of_cgroup for read in numbers_in(part)):
            raise self._refused(rest[0], "nothing of this is of a cgroup", "write it outside of of(), or cgroup.…")
        return Of(patterns, part, self._index(), negated)

    def _pattern(self, found: ast.expr) -> str:
        if not isinstance(found, ast.Constant) or not isinstance(found.value, str):
            raise self._refused(found, f"{self._source(found)} is not a text", 'name a cgroup: "/system.slice"')
        pattern = found.value
        if pattern.startswith(("/sys/fs/cgroup", "sys/fs/cgroup")):
            raise self._refused(found, f"{pattern!r} is a path of the file system", "leave out /sys/fs/cgroup")
        if not pattern.startswith(("/", "*")):
            raise self._refused(found, f"{pattern!r} is not a path from the root of the cgroups", f'write "/{pattern}"')
        if pattern.strip("/") == "":
            raise self._refused(found, "the root is the machine", "use a field of the machine, without of()")
        return pattern.rstrip("/")

    # Numbers, each with its unit; None: a plain number, that goes with any.

    def _number(self, found: ast.expr) -> tuple[Number, Unit | None]:
        match found:
            case ast.Constant(value=bool() | None | str() | bytes() | complex()) | ast.JoinedStr():
                raise self._refused(found, f"{self._source(found)} is not a number")
            case ast.Constant(value=int() | float() as value):
                return Fixed(self._float(found, value), self._source(found)), None
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                number, unit = self._number(found.operand)
                if isinstance(found.op, ast.UAdd):
                    return number, unit
                if isinstance(number, Fixed):
                    return replace(number, value=-number.value, text=f"-{number.text}"), unit
                return Arithmetic("-", Fixed(0, "0"), number), unit
            case ast.BinOp():
                return self._arithmetic(found)
            case ast.Call(func=ast.Name(id="rate" | "growth" as name)):
                return self._over_time(found, name)
            case ast.IfExp() if self._kind == "number":
                return self._choose(found)
            case ast.Call(func=ast.Name(id="total" | "percentile")) if self._kind == "number":
                return self._of_peers(found)
            case ast.Name() | ast.Attribute():
                return self._name(found)
            case (
                ast.Call(func=ast.Name(id="lasts" | "of" | "exists"))
                | ast.Compare()
                | ast.BoolOp()
                | ast.UnaryOp(op=ast.Not())
            ):
                raise self._refused(found, f"{self._source(found)} is true or false, not a number")
            case ast.Call():
                raise self._no_such(found.func, "function", list(FUNCTIONS))
            case _:
                what = self._source(found)
                raise self._refused(found, f"{what} is not part of the language", "see docs/conditions.md for what is")

    def _choose(self, found: ast.IfExp) -> tuple[Number, Unit | None]:
        part = self._node(found.test)
        (then, then_unit), (otherwise, unit) = self._number(found.body), self._number(found.orelse)
        self._match_units(found.body, then_unit, found.orelse, unit)
        return Choose(part, then, otherwise), then_unit or unit

    def _of_peers(self, found: ast.Call) -> tuple[Number, Unit | None]:
        assert isinstance(found.func, ast.Name)
        name = found.func.id
        if len(found.args) != (1 if name == "total" else 2) or found.keywords or self._is_inside:
            raise self._refused(found, f"{name} is written as {RANKING[name].call}, and not inside of another")
        self._is_inside = True
        number, unit = self._number(found.args[0])
        self._is_inside = False
        if name == "total":
            return OfPeers(number), unit
        percent = constant(self._number(found.args[1])[0])
        if percent is None or not 0 < percent < 100:
            raise self._refused(found.args[1], f"{self._source(found.args[1])} is not a number between 0 and 100")
        return OfPeers(number, percent), unit

    def _arithmetic(self, found: ast.BinOp) -> tuple[Number, Unit | None]:
        op = _ARITHMETIC.get(type(found.op))
        if op is None:
            hint = "percent are plain numbers: 10, not 10%" if isinstance(found.op, ast.Mod) else "there are + - * /"
            raise self._refused(found, "this operation is not part of the language", hint)
        (left, left_unit), (right, right_unit) = self._number(found.left), self._number(found.right)
        if op in "+-":
            self._match_units(found.left, left_unit, found.right, right_unit)
        if op == "/" and constant(right) == 0:
            raise self._refused(found.right, "this divides by zero")
        number = Arithmetic(op, left, right)
        self._float(found, constant(number) or 0)
        if op in "+-":
            return number, left_unit or right_unit
        # What a product of two units, or the inverse of one, is of is not followed any further.
        has_one = (left_unit is None) is not (right_unit is None)
        return number, (left_unit or (right_unit if op == "*" else None)) if has_one else None

    def _over_time(self, found: ast.Call, name: str) -> tuple[Number, Unit | None]:
        if name == "rate":
            if len(found.args) != 1 or found.keywords:
                raise self._refused(found, f"rate takes one field: {FUNCTIONS[name].call}")
            field = self._field(found.args[0])
            if field.over_time:
                raise self._refused(
                    found.args[0], f"{field.name} is one already: it is told from two looks", "drop rate()"
                )
            return Rate(field), None if field.unit is Unit.COUNT else field.unit
        argument, span_ms = self._two_arguments(found)
        field = self._field(argument)
        return Growth(field, span_ms, self._index()), field.unit

    def _field(self, found: ast.expr) -> Field:
        if not isinstance(found, ast.Name | ast.Attribute):
            raise self._refused(found, f"{self._source(found)} is not a field", "name one field")
        number, _ = self._name(found)
        if not isinstance(number, Reads):
            raise self._refused(found, f"{self._source(found)} is not a field", "name one field")
        return number.field

    def _name(self, found: ast.Name | ast.Attribute) -> tuple[Number, Unit | None]:
        name = _dotted(found)
        if name in CONSTANTS:
            value, unit = CONSTANTS[name]
            return Fixed(value, name), unit
        if name not in BY_NAME:
            raise self._no_such(found, "field", [*BY_NAME, *CONSTANTS])
        field = BY_NAME[name]
        return Reads(field), field.unit

    def _two_arguments(self, found: ast.Call) -> tuple[ast.expr, int]:
        """The first, and the seconds as milliseconds."""
        assert isinstance(found.func, ast.Name)
        given = list(found.args)
        if len(found.keywords) == 1 and found.keywords[0].arg == "seconds":
            given.append(found.keywords[0].value)
        elif found.keywords:
            given = []
        if len(given) != 2:
            raise self._refused(found, f"{found.func.id} takes two: {FUNCTIONS[found.func.id].call}")
        number, unit = self._number(given[1])
        seconds = constant(number)
        if unit is not None or seconds is None or not 0.001 <= seconds <= LONGEST_S:
            raise self._refused(
                given[1], f"{self._source(given[1])} is not a number of seconds", f"0.001 to {LONGEST_S}"
            )
        return given[0], round(seconds * 1000)

    def _index(self) -> int:
        self._next_index += 1
        return self._next_index - 1

    def _float(self, found: ast.expr, value: float) -> float:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._refused(found, "this number is too large")
        return number

    def _match_units(self, left: ast.expr, left_unit: Unit | None, right: ast.expr, right_unit: Unit | None) -> None:
        if left_unit is None or right_unit is None or left_unit is right_unit:
            return
        sides = f"{self._source(left)} is in {left_unit.value}, {self._source(right)} in {right_unit.value}"
        raise self._refused(right, sides, "compare like with like")

    # What is wrong, and where.

    def _source(self, found: ast.expr) -> str:
        whole = ast.get_source_segment(self._line.strip(), found) or "this"
        return whole if len(whole) <= 40 else f"{whole[:37]}..."

    def _offset(self, found: ast.expr) -> int:
        """Characters before it; ast counts bytes."""
        return self._start + len(self._line.strip().encode()[: found.col_offset].decode(errors="replace"))

    def _no_such(self, found: ast.expr, kind: str, known: list[str]) -> ConfigError:
        name = _dotted(found) or self._source(found)
        if name in FUNCTIONS:
            return self._refused(found, f"{name} is a function", f"write {FUNCTIONS[name].call}")
        if name in RANKING:
            return self._refused(found, f"{name}() is for comparing cgroups", "it belongs in a rule's by")
        near = nearest(name, known, cutoff=0.5)
        last = [other for other in known if other.rpartition(".")[2] == name or other == f"cgroup.{name}"]
        meant = last[0] if last else near
        hint = f"did you mean {meant}?" if meant else f"see docs/conditions.md for every {kind}"
        return self._refused(found, f"there is no {kind} {name}", hint)

    def _not_python(self, error: SyntaxError) -> ConfigError:
        offset = self._start + max((error.offset or 1) - 1, 0)
        hint = next((slip for seen, slip in _SLIPS if seen.search(self._line)), None)
        where = min(offset, max(len(self._line) - 1, 0))
        return self._refused(where, f"this is not a {self._kind}: {error.msg}", hint)

    def _refused(self, where: ast.expr | int, reason: str, hint: str | None = None) -> ConfigError:
        offset = where if isinstance(where, int) else self._offset(where)
        before = self._text[:offset]
        line, column = before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
        return ConfigError(self._place_at(line, column), reason, hint)


def _dotted(found: ast.expr) -> str:
    """`a.b.c`; empty where it is anything else."""
    if isinstance(found, ast.Name):
        return found.id
    if isinstance(found, ast.Attribute) and (base := _dotted(found.value)):
        return f"{base}.{found.attr}"
    return ""


def _depth(tree: ast.AST) -> int:
    """How deep it nests, without recursion of our own."""
    deepest, level = 0, [tree]
    while level:
        deepest += 1
        level = [child for node in level for child in _children(node)]
    return deepest


def _children(node: ast.AST) -> Iterator[ast.AST]:
    return (child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))
