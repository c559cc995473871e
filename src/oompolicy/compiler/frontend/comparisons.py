"""Comparisons: what they test, and how a test becomes a branch or a number.

Belongs here: ==, <, in, is, truth, on symbols. Must not know: names, how a chain or `and` is evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from oompolicy.compiler.frontend.builder import Ways
from oompolicy.compiler.frontend.context import Context
from oompolicy.compiler.frontend.symbols import (
    ABSENT,
    FALSE,
    NOTHING,
    ONE,
    SCORE,
    TRUE,
    ZERO,
    Comm,
    Items,
    Mixed,
    Nothing,
    Number,
    Reference,
    Symbol,
    Text,
    Unknown,
    Unset,
    described,
)
from oompolicy.compiler.ir import NEGATED, NULL, CommOp, CommTest, Compare, CompareOp, Const, Null, Operand
from oompolicy.compiler.subset import COMM_BYTES

ORDER: Final[dict[type[ast.cmpop], CompareOp]] = {
    ast.Lt: CompareOp.LT,
    ast.LtE: CompareOp.LE,
    ast.Gt: CompareOp.GT,
    ast.GtE: CompareOp.GE,
}


@dataclass(frozen=True, slots=True)
class Settled:
    """A test whose outcome is known now."""

    holds: bool


@dataclass(frozen=True, slots=True)
class Single:
    """A test that is one comparison of the IR. is_flag: left is 1 or 0, and compared with 0."""

    op: CompareOp
    left: Operand
    right: Operand
    is_flag: bool = False


@dataclass(frozen=True, slots=True)
class Forked:
    """A test that has been made: the ways on which it holds, and the others."""

    then: Ways
    otherwise: Ways


Test = Settled | Single | Forked
LaterTest = Callable[[], Test]

_HOLDS: Final = {
    CompareOp.EQ: int.__eq__,
    CompareOp.NE: int.__ne__,
    CompareOp.LT: int.__lt__,
    CompareOp.LE: int.__le__,
    CompareOp.GT: int.__gt__,
    CompareOp.GE: int.__ge__,
}


def fork(cx: Context, node: ast.AST, test: Test) -> tuple[Ways, Ways]:
    """Branch on a test: the ways on which it holds, and the others."""
    match test:
        case Settled(True):
            return cx.builder.jump(cx.place(node)), []
        case Settled():
            return [], cx.builder.jump(cx.place(node))
        case Single(op, left, right):
            return cx.builder.branch(op, left, right, cx.place(node))
        case Forked(then, otherwise):
            return then, otherwise


def as_number(cx: Context, node: ast.AST, test: Test) -> Symbol:
    """A test as True or False."""
    match test:
        case Settled(holds):
            return TRUE if holds else FALSE
        case Single(CompareOp.NE, left, is_flag=True):
            return Number(left)
        case Single(op, left, right):
            value = cx.builder.value()
            cx.builder.step(Compare(value, op, left, right, cx.place(node)))
            return Number(value)
        case Forked(then, otherwise):
            ways = []
            for met, result in ((then, TRUE), (otherwise, FALSE)):
                cx.builder.enter(met)
                ways += cx.builder.jump(cx.place(node), result)
            return cx.builder.enter(ways)


def negated(test: Test) -> Test:
    """Not that."""
    match test:
        case Settled(holds):
            return Settled(not holds)
        case Single(op, left, right, is_flag):
            return Single(NEGATED[op], left, right, is_flag)
        case Forked(then, otherwise):
            return Forked(otherwise, then)


def single(op: CompareOp, left: Operand, right: Operand) -> Test:
    """One comparison, settled where both sides are known."""
    if isinstance(left, Const) and isinstance(right, Const):
        return Settled(bool(_HOLDS[op](left.number, right.number)))
    if left == right:
        return Settled(op in (CompareOp.EQ, CompareOp.LE, CompareOp.GE))
    return Single(op, left, right)


def all_hold(cx: Context, node: ast.AST, tests: Iterable[LaterTest]) -> Test:
    """All of several tests, each made only where those before it hold."""
    last: Test = Settled(True)
    failing: Ways = []
    for later in tests:
        if last != Settled(True):
            holding, others = fork(cx, node, last)
            failing += others
            cx.builder.enter(holding)
        last = later()
        if last == Settled(False):
            break
    if not failing:
        return last
    holding, others = fork(cx, node, last)
    return Forked(holding, failing + others)


def any_holds(cx: Context, node: ast.AST, tests: Iterable[LaterTest]) -> Test:
    """One at least of several tests, each made only where none before it holds."""
    return negated(all_hold(cx, node, [partial(_not, later) for later in tests]))


def _not(later: LaterTest) -> Test:
    return negated(later())


def equal(cx: Context, node: ast.expr, left: Symbol, right: Symbol) -> Test:
    """left == right."""
    for each in (left, right):
        if isinstance(each, Unset | Mixed):
            cx.refuse_use(node, each)
            return _unknown()
    match left, right:
        case (Unknown(), _) | (_, Unknown()):
            return _unknown()
        case (Number(), Number() | Nothing()) | (Nothing(), Number()):
            return _equal_numbers(cx, node, _as_number(left), _as_number(right))
        case (Nothing(), Nothing()):
            return Settled(True)
        case (Reference() as reference, Nothing()) | (Nothing(), Reference() as reference):
            return _is_null(reference)
        case (Reference() as reference, _) | (_, Reference() as reference):
            cx.refuse(node, "references compared", what=described(reference))
            return _unknown()
        case (Comm() as comm, Text(text)) | (Text(text), Comm() as comm):
            return comm_test(cx, node, comm, CommOp.EQUALS, text)
        case (Comm(), Comm()):
            cx.refuse(node, "comm")
            return _unknown()
        case _:
            return Settled(type(left) is type(right) and left == right)


def _as_number(symbol: Symbol) -> Number:
    return symbol if isinstance(symbol, Number) else ABSENT


def _equal_numbers(cx: Context, node: ast.expr, left: Number, right: Number) -> Test:
    for one, other in ((left, right), (right, left)):
        if isinstance(one.band, Const) and one.band != SCORE:  # a verdict: nothing else has its band
            return single(CompareOp.EQ, other.band, one.band)
        if one == ABSENT:
            return single(CompareOp.EQ, other.present, ZERO)
    pairs = ((left.band, right.band), (left.present, right.present), (left.number, right.number))
    return all_hold(cx, node, [partial(single, CompareOp.EQ, one, other) for one, other in pairs])


def _is_null(reference: Reference) -> Test:
    if reference.is_never_null:
        return Settled(False)
    return Settled(True) if isinstance(reference.operand, Null) else Single(CompareOp.EQ, reference.operand, NULL)


def ordered(cx: Context, op: CompareOp, left: tuple[ast.expr, Symbol], right: tuple[ast.expr, Symbol]) -> Test:
    """left < right and its like: of numbers alone. Each with the node to name in a message."""
    first, second = cx.number(*left), cx.number(*right)
    return _unknown() if first is None or second is None else single(op, first, second)


def identical(cx: Context, node: ast.expr, left: Symbol, right: Symbol) -> Test:
    """left is right: of None and of verdicts, where it means what == means."""
    if Unknown() in (left, right):
        return _unknown()
    if not any(_is_singleton(each) for each in (left, right)):
        cx.refuse(node, "is")
        return _unknown()
    return equal(cx, node, left, right)


def _is_singleton(symbol: Symbol) -> bool:
    verdict = isinstance(symbol, Number) and isinstance(symbol.band, Const) and symbol.band != SCORE
    return symbol == NOTHING or verdict


def contained(cx: Context, node: ast.expr, left: Symbol, right: Symbol) -> Test:
    """left in right: right is a tuple, or both are constant texts."""
    match left, right:
        case (Unknown(), _) | (_, Unknown()):
            return _unknown()
        case (_, Items(items)):
            return any_holds(cx, node, [partial(equal, cx, node, left, item) for item in items])
        case (Text(part), Text(whole)):
            return Settled(part in whole)
        case (_, Comm()) | (Comm(), _):
            cx.refuse(node, "comm")
        case _:
            cx.refuse(node, "in", what=described(right))
    return _unknown()


def comm_test(cx: Context, node: ast.expr, comm: Comm, op: CommOp, text: str) -> Test:
    """A comm compared with a constant text."""
    wanted = text.encode("utf-8", "surrogateescape")
    if not wanted:
        if op is CommOp.STARTSWITH:
            return Settled(True)
        cx.refuse(node, "empty comm")
        return _unknown()
    if len(wanted) >= COMM_BYTES or 0 in wanted:
        return Settled(False)
    value = cx.builder.value()
    cx.builder.step(CommTest(value, op, comm.base, wanted, cx.place(node)))
    return Single(CompareOp.NE, value, ZERO, is_flag=True)


def truth(cx: Context, node: ast.expr, symbol: Symbol) -> Test:
    """Is it true, as Python has it?"""
    match symbol:
        case Unknown():
            return _unknown()
        case Number(number, _, band):
            # None and verdicts have the number 0; every verdict is true.
            is_verdict = partial(single, CompareOp.NE, band, SCORE)
            return any_holds(cx, node, [is_verdict, partial(single, CompareOp.NE, number, ZERO)])
        case Nothing():
            return Settled(False)
        case Text(text):
            return Settled(bool(text))
        case Items(items):
            return Settled(bool(items))
        case Reference():
            cx.refuse(node, "truth", what=described(symbol), name=cx.spelled(node))
        case _:
            cx.refuse_use(node, symbol)
    return _unknown()


def _unknown() -> Test:
    """The outcome after an error: both ways are translated, for what else is wrong there."""
    return Single(CompareOp.NE, ZERO, ONE)
