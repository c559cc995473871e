"""Expressions: from syntax to symbols and tests.

Belongs here: what each kind of expression is made of, and the order in which its parts are evaluated. Must not know:
statements.
"""

from __future__ import annotations

import ast
from functools import partial

from oompolicy.compiler.frontend import fields
from oompolicy.compiler.frontend.arithmetic import (
    BINARY,
    UNARY,
    binary,
    checked_constant,
    constant_expression,
    unary,
)
from oompolicy.compiler.frontend.builder import Ways
from oompolicy.compiler.frontend.calls import call
from oompolicy.compiler.frontend.comparisons import (
    ORDER,
    Test,
    all_hold,
    any_holds,
    as_number,
    contained,
    equal,
    fork,
    identical,
    negated,
    ordered,
    truth,
)
from oompolicy.compiler.frontend.context import Context
from oompolicy.compiler.frontend.symbols import (
    UNKNOWN,
    Comm,
    Items,
    Mixed,
    Symbol,
    Text,
    Unknown,
    Unset,
    constant,
    described,
    known_int,
)


def expression(cx: Context, node: ast.expr) -> Symbol:
    """The value of an expression."""
    if isinstance(node, ast.BinOp | ast.UnaryOp | ast.Call) and cx.frame.source.is_constant(node):
        symbol = constant_expression(cx, node)
        if symbol is not None:
            return symbol
    match node:
        case ast.Constant(value=None | int() | str() as value):
            return checked_constant(cx, node, constant(value))
        case ast.Name():
            return _name(cx, node)
        case ast.Attribute():
            return _attribute(cx, node)
        case ast.Call():
            return call(cx, node, expression)
        case ast.BinOp(left=left, op=op, right=right):
            first = expression(cx, left)
            return operation(cx, node, op, (left, first), (right, expression(cx, right)))
        case ast.UnaryOp(op=ast.Not()) | ast.Compare():
            return as_number(cx, node, condition(cx, node))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
            number = cx.number(operand, expression(cx, operand))
            return UNKNOWN if number is None else unary(cx, node, *UNARY[type(op)], number)
        case ast.BoolOp():
            return _and_or(cx, node)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _either(cx, node, fork(cx, test, condition(cx, test)), body, orelse)
        case ast.Tuple(elts=elements):
            return Items(tuple(expression(cx, element) for element in elements))
        case ast.Subscript():
            return _subscript(cx, node)
        case ast.Constant():
            return cx.refuse(node, f"{type(node.value).__name__} constant")
        case _:
            return cx.refuse_syntax(node)


def condition(cx: Context, node: ast.expr) -> Test:
    """The truth of an expression."""
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return all_hold(cx, node, [partial(condition, cx, value) for value in values])
        case ast.BoolOp(values=values):
            return any_holds(cx, node, [partial(condition, cx, value) for value in values])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return negated(condition(cx, operand))
        case ast.Compare():
            return _comparison(cx, node)
        case _:
            return truth(cx, node, expression(cx, node))


def operation(
    cx: Context, node: ast.expr, op: ast.operator, left: tuple[ast.expr, Symbol], right: tuple[ast.expr, Symbol]
) -> Symbol:
    """left op right, each with the node to name in a message."""
    if isinstance(op, ast.Add) and isinstance(left[1], Text) and isinstance(right[1], Text):
        return Text(left[1].text + right[1].text)
    if type(op) not in BINARY:
        return cx.refuse(node, type(op).__name__)
    first, second = cx.number(*left), cx.number(*right)
    return UNKNOWN if first is None or second is None else binary(cx, node, *BINARY[type(op)], first, second)


def _name(cx: Context, node: ast.Name) -> Symbol:
    source = cx.frame.source
    if node.id in source.local_names:
        symbol = cx.builder.names.get(node.id, Unset())
        if isinstance(symbol, Unset | Mixed):
            return UNKNOWN if cx.builder.is_dead else cx.refuse_use(node, symbol)
        return symbol
    try:
        return checked_constant(cx, node, constant(source.meaning(node.id)))
    except KeyError:
        return cx.refuse(node, "unknown name", name=node.id)


def _attribute(cx: Context, node: ast.Attribute) -> Symbol:
    if cx.frame.source.is_constant(node):
        try:
            return checked_constant(cx, node, constant(cx.frame.source.static_meaning(node)))
        except KeyError:
            return cx.refuse(node, "unknown name", name=cx.spelled(node))
    return fields.attribute(cx, node, expression(cx, node.value))


def _comparison(cx: Context, node: ast.Compare) -> Test:
    """A comparison, or a chain of them, in which each middle part is evaluated once."""
    parts = [node.left, *node.comparators]
    values = [expression(cx, node.left)]

    def link(index: int) -> Test:
        values.append(expression(cx, parts[index + 1]))
        return _one_comparison(cx, node, node.ops[index], (parts[index], values[-2]), (parts[index + 1], values[-1]))

    return all_hold(cx, node, [partial(link, index) for index in range(len(node.ops))])


def _one_comparison(
    cx: Context, node: ast.Compare, op: ast.cmpop, left: tuple[ast.expr, Symbol], right: tuple[ast.expr, Symbol]
) -> Test:
    match op:
        case ast.Eq():
            return equal(cx, node, left[1], right[1])
        case ast.NotEq():
            return negated(equal(cx, node, left[1], right[1]))
        case ast.Is():
            return identical(cx, node, left[1], right[1])
        case ast.IsNot():
            return negated(identical(cx, node, left[1], right[1]))
        case ast.In():
            return contained(cx, node, left[1], right[1])
        case ast.NotIn():
            return negated(contained(cx, node, left[1], right[1]))
        case _:
            return ordered(cx, ORDER[type(op)], left, right)


def _and_or(cx: Context, node: ast.BoolOp) -> Symbol:
    """`and` and `or` as values: the last part that was looked at."""
    done: Ways = []
    for value in node.values[:-1]:
        symbol = expression(cx, value)
        holding, failing = fork(cx, value, truth(cx, value, symbol))
        going_on, stopping = (holding, failing) if isinstance(node.op, ast.And) else (failing, holding)
        cx.builder.enter(stopping)
        done += cx.builder.jump(cx.place(value), symbol)
        cx.builder.enter(going_on)
    last = expression(cx, node.values[-1])
    return cx.builder.enter(done + cx.builder.jump(cx.place(node.values[-1]), last))


def _either(cx: Context, node: ast.expr, ways: tuple[Ways, Ways], body: ast.expr, orelse: ast.expr) -> Symbol:
    done: Ways = []
    for met, part in zip(ways, (body, orelse), strict=True):
        cx.builder.enter(met)
        if not cx.builder.is_dead:
            symbol = expression(cx, part)
            done += cx.builder.jump(cx.place(part), symbol)
    return cx.builder.enter(done)


def _subscript(cx: Context, node: ast.Subscript) -> Symbol:
    base = expression(cx, node.value)
    index = _index(cx, node.slice)
    match base:
        case Unknown():
            return UNKNOWN
        case Text(text=whole) | Items(items=whole):
            if index is None:
                return cx.refuse(node, "index")
            try:
                found = whole[index]
            except (IndexError, ValueError) as error:
                return cx.fault(node, f"{type(error).__name__}: {error}")
            return (
                found if not isinstance(found, str | tuple) else Text(found) if isinstance(found, str) else Items(found)
            )
        case Comm():
            return cx.refuse(node, "comm")
        case _:
            return cx.refuse(node, "subscript", what=described(base))


def _index(cx: Context, node: ast.expr) -> int | slice | None:
    """An index or a slice of numbers that are known now."""
    if isinstance(node, ast.Tuple):
        return None
    if not isinstance(node, ast.Slice):
        return known_int(expression(cx, node))
    bounds: list[int | None] = []
    for part in (node.lower, node.upper, node.step):
        bound = None if part is None else known_int(expression(cx, part))
        if part is not None and bound is None:
            return None
        bounds.append(bound)
    return slice(*bounds)
