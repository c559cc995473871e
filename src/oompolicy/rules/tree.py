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


@dataclass(frozen=True, slots=True)
class Choose:
    """then where the part is true, otherwise where it is not."""

    part: Node
    then: Number
    otherwise: Number


@dataclass(frozen=True, slots=True)
class OfPeers:
    """A number reckoned from that of all the cgroups that are compared with each other (ranking.py).

    percent: None for their sum, else the value that so many percent of them are below.
    """

    number: Number
    percent: float | None = None


Number: TypeAlias = Fixed | Reads | Rate | Growth | Arithmetic | Choose | OfPeers


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


@dataclass(frozen=True, slots=True)
class Of:
    """Is part true of any cgroup that one of the patterns names? negated: of none. index as in Growth.

    part is None where it is enough that there is one.
    """

    patterns: tuple[str, ...]
    part: Node | None
    index: int
    negated: bool = False


Node: TypeAlias = Compare | AllOf | AnyOf | Lasts | Of


def others_in(node: Node) -> Iterator[Of]:
    """The parts that are about other cgroups than the scope."""
    match node:
        case Of():
            yield node
        case AllOf() | AnyOf():
            for part in node.parts:
                yield from others_in(part)
        case Lasts():
            yield from others_in(node.part)
        case Compare():
            return


def numbers_in(node: Node | Number, in_others: bool = True) -> Iterator[Reads | Rate | Growth]:
    """All that is read, as often as it is written; without in_others only what is read of the scope."""
    match node:
        case Fixed():
            return
        case Choose():
            for inner in (node.part, node.then, node.otherwise):
                yield from numbers_in(inner, in_others)
        case OfPeers():
            yield from numbers_in(node.number, in_others)
        case Of():
            if in_others and node.part is not None:
                yield from numbers_in(node.part)
        case Reads() | Rate() | Growth():
            yield node
        case Arithmetic() | Compare():
            yield from numbers_in(node.left, in_others)
            yield from numbers_in(node.right, in_others)
        case AllOf() | AnyOf():
            for part in node.parts:
                yield from numbers_in(part, in_others)
        case Lasts():
            yield from numbers_in(node.part, in_others)


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
