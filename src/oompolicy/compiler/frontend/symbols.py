"""What an expression stands for while a policy is translated.

Belongs here: numbers, references and constants as the front end holds them. Must not know: syntax, blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from oompolicy.compiler.ir import NULL, OC, TASK, BandNumber, Const, Kind, Null, Operand, Value
from oompolicy.policy.verdict import Verdict

ONE: Final = Const(1)
ZERO: Final = Const(0)
SCORE: Final = Const(int(BandNumber.SCORE))


@dataclass(frozen=True, slots=True)
class Number:
    """An int, a verdict, or None, known or not.

    band: SCORE, or the verdict's. present: 0 for None. number: the int; 0 for a verdict and for None, so that two are
    equal where all three are.
    """

    number: Operand
    present: Operand = ONE
    band: Operand = SCORE


@dataclass(frozen=True, slots=True)
class Reference:
    """A task, a memcg, the OOM; a task or memcg may be null."""

    kind: Kind
    operand: Value | Null

    @property
    def is_never_null(self) -> bool:
        """Is it known not to be None, whatever the task?"""
        return self.operand in (TASK, OC)


@dataclass(frozen=True, slots=True)
class Comm:
    """The comm of a task that is not null."""

    base: Value


@dataclass(frozen=True, slots=True)
class Text:
    """A constant text."""

    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A tuple."""

    items: tuple[Symbol, ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    """None."""


@dataclass(frozen=True)
class Static:
    """Something of Python's that is no value of the language: a module, a function, a class."""

    item: object


@dataclass(frozen=True, slots=True)
class Mixed:
    """A name that stands for one kind of thing on one way and for another on another way: no use of it is possible."""

    names: str


@dataclass(frozen=True, slots=True)
class Unset:
    """A name that has no value on some way here."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """What follows from an error, or from a fault that is certain: everything is accepted of it."""


Symbol = Number | Reference | Comm | Text | Items | Nothing | Static | Mixed | Unset | Unknown

UNKNOWN: Final = Unknown()
NOTHING: Final = Nothing()
CANDIDATE: Final = Reference(Kind.TASK, TASK)
THE_OOM: Final = Reference(Kind.OC, OC)
ABSENT: Final = Number(ZERO, ZERO)
TRUE: Final = Number(ONE)
FALSE: Final = Number(ZERO)


def known(number: int) -> Number:
    """A number that is known now; it may be beyond 64 bits as long as no step needs it."""
    return Number(Const(int(number)))


def verdict(name: Verdict) -> Number:
    """KILL, DEFER or SPARE."""
    return Number(ZERO, ONE, Const(int(BandNumber[name.name])))


def constant(item: object) -> Symbol:
    """What an object of Python's stands for."""
    match item:
        case None:
            return NOTHING
        case Verdict():
            return verdict(item)
        case int():
            return known(item)
        case str():
            return Text(str(item))
        case tuple():
            return Items(tuple(map(constant, item)))
        case _:
            return Static(item)


def known_int(symbol: Symbol) -> int | None:
    """The number, where it is an int that is known now."""
    if (
        isinstance(symbol, Number)
        and symbol.band == SCORE
        and symbol.present == ONE
        and isinstance(symbol.number, Const)
    ):
        return symbol.number.number
    return None


def described(symbol: Symbol) -> str:
    """What kind of thing it is, in a message's words."""
    match symbol:
        case Number(band=Const() as band) if band != SCORE:
            return "a verdict"
        case Number():
            return "a number"
        case Reference(kind):
            return {Kind.TASK: "a task", Kind.MEMCG: "a memcg", Kind.OC: "the OomControl"}[kind]
        case Comm():
            return "a comm"
        case Text():
            return "a text"
        case Items():
            return "a tuple"
        case Nothing():
            return "None"
        case Static(item):
            return f"a {type(item).__name__}"
        case _:
            return "this"


def merged_parts(symbols: list[Symbol]) -> Symbol | list[tuple[Operand, ...]]:
    """Several ways' symbols of one name: one symbol where it is the same on all, or what each way passes on.

    Each way's tuple is one reference's operand, or a Number's number, present and band.
    """
    first = symbols[0]
    if all(symbol == first for symbol in symbols):
        return first
    for special in (UNKNOWN, Unset()):
        if special in symbols:
            return special
    numbers = [ABSENT if symbol == NOTHING else symbol for symbol in symbols]
    if all(isinstance(symbol, Number) for symbol in numbers):
        return [(each.number, each.present, each.band) for each in numbers if isinstance(each, Number)]
    kinds = {symbol.kind for symbol in symbols if isinstance(symbol, Reference)}
    if len(kinds) == 1 and all(isinstance(symbol, Reference | Nothing) for symbol in symbols):
        return [(each.operand if isinstance(each, Reference) else NULL,) for each in symbols]
    return Mixed(" or ".join(dict.fromkeys(map(described, symbols))))


def from_parts(like: list[Symbol], parts: tuple[Operand, ...]) -> Symbol:
    """The symbol after the ways of merged_parts() have met."""
    if len(parts) == 3:
        return Number(*parts)
    kind = next(symbol.kind for symbol in like if isinstance(symbol, Reference))
    operand = parts[0]
    assert not isinstance(operand, Const)
    return Reference(kind, operand)
