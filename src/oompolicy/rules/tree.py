"""A condition as a tree: the kinds of node.

Belongs here: what there is. Must not know: how it is written (syntax.py), judged (condition.py), said (words.py).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from oompolicy.rules.fields import Field

COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
OPPOSITE: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}

ARITHMETIC: Final[dict[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


@dataclass(frozen=True, slots=True)
class Fixed:
    """A number, and how it was written."""

    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Reads:
    """A field."""

    field: Field


@dataclass(frozen=True, slots=True)
class Rate:
    """How much a field grows in a second, since the look before."""

    field: Field


@dataclass(frozen=True, slots=True)
class Growth:
    """How much a field has grown in the last span_ms. index tells it from the others of its condition."""

    field: Field
    span_ms: int
    index: int


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """left op right."""

    op: str
    left: Number
    right: Number


Number: TypeAlias = Fixed | Reads | Rate | Growth | Arithmetic


@dataclass(frozen=True, slots=True)
class Compare:
    """left op right."""

    left: Number
    op: str
    right: Number


@dataclass(frozen=True, slots=True)
class AllOf:
    """True if each part is."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True if a part is."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Lasts:
    """Has part been true at every look for span_ms? negated: true where it has not. index as in Growth."""

    part: Node
    span_ms: int
    index: int
    negated: bool = False


Node: TypeAlias = Compare | AllOf | AnyOf | Lasts


def numbers_in(node: Node | Number) -> Iterator[Reads | Rate | Growth]:
    """All that is read, as often as it is written."""
    match node:
        case Fixed():
            return
        case Reads() | Rate() | Growth():
            yield node
        case Arithmetic() | Compare():
            yield from numbers_in(node.left)
            yield from numbers_in(node.right)
        case AllOf() | AnyOf():
            for part in node.parts:
                yield from numbers_in(part)
        case Lasts():
            yield from numbers_in(node.part)


def constant(number: Number) -> float | None:
    """Its value where nothing is read for it; None where something is, or where it divides by zero."""
    match number:
        case Fixed():
            return number.value
        case Arithmetic():
            left, right = constant(number.left), constant(number.right)
            if left is None or right is None or (number.op == "/" and right == 0):
                return None
            return ARITHMETIC[number.op](left, right)
        case _:
            return None
