"""Calls: what a function of the language, of the policy API or of the module becomes.

Belongs here: what is called, its arguments. Must not know: how a function's body is translated.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from oompolicy.compiler.frontend import fields
from oompolicy.compiler.frontend.arithmetic import EXTREMES, binary, unary
from oompolicy.compiler.frontend.context import Context
from oompolicy.compiler.frontend.symbols import UNKNOWN, Items, Number, Symbol, Text, known
from oompolicy.compiler.ir import UnaryOp
from oompolicy.compiler.subset import REFUSED
from oompolicy.policy.api import Policy, is_policy_function

Expression = Callable[[Context, ast.expr], Symbol]


def call(cx: Context, node: ast.Call, expression: Expression) -> Symbol:
    """A call."""
    for part in node.args:
        if isinstance(part, ast.Starred):
            return cx.refuse(part, "Starred")
    if any(keyword.arg is None for keyword in node.keywords):
        return cx.refuse(node, "Starred")
    if isinstance(node.func, ast.Attribute) and not _is_of_module(cx, node.func):
        base = expression(cx, node.func.value)
        arguments = [expression(cx, part) for part in node.args]
        if node.keywords:
            return cx.refuse(node, "keywords", name=node.func.attr)
        return fields.method(cx, node, base, node.func.attr, arguments)
    called = _called(cx, node.func)
    arguments = [expression(cx, part) for part in node.args]
    keywords = {part.arg: expression(cx, part.value) for part in node.keywords if part.arg is not None}
    if called is None:
        return UNKNOWN
    if isinstance(called, Policy) or is_policy_function(called):
        return cx.inline(cx, node, called, arguments, keywords)
    if UNKNOWN in arguments:
        return UNKNOWN
    return _built_in(cx, node, called, arguments)


def _is_of_module(cx: Context, node: ast.Attribute) -> bool:
    """Is it a name of an imported module, and not a method of a value?"""
    if not cx.frame.source.is_constant(node):
        return False
    try:
        return not isinstance(cx.frame.source.static_meaning(node.value), str | tuple | int)
    except KeyError:
        return not isinstance(node.value, ast.Constant)


def _called(cx: Context, node: ast.expr) -> object | None:
    if isinstance(node, ast.Name) and cx.builder.names.get(node.id) == UNKNOWN:
        return None
    if not isinstance(node, ast.Name | ast.Attribute) or not cx.frame.source.is_constant(node):
        cx.refuse(node, "call", name=cx.spelled(node))
        return None
    try:
        return cx.frame.source.static_meaning(node)
    except KeyError:
        cx.refuse(node, "unknown name", name=cx.spelled(node))
        return None


def _built_in(cx: Context, node: ast.Call, called: object, symbols: list[Symbol]) -> Symbol:
    name = cx.spelled(node.func)
    if called in (min, max, abs, len):
        if node.keywords:
            return cx.refuse(node, "keywords", name=name)
        arguments = list(zip(node.args, symbols, strict=True))
        if called is len:
            return _length(cx, node, arguments)
        return _absolute(cx, node, arguments) if called is abs else _extreme(cx, node, name, arguments)
    row = f"{name}()"
    if row in REFUSED:
        return cx.refuse(node, row)
    if getattr(called, "__code__", None) is not None:
        return cx.refuse(node, "not marked", name=name)
    return cx.refuse(node, "call", name=name)


def _extreme(cx: Context, node: ast.Call, name: str, arguments: list[tuple[ast.expr, Symbol]]) -> Symbol:
    if len(arguments) < 2:
        return cx.refuse(node, "arguments", name=name, wanted="2 or more", found=len(arguments))
    numbers = [cx.number(*argument) for argument in arguments]
    result = numbers[0]
    for number in numbers[1:]:
        if result is None or number is None:
            return UNKNOWN
        result = binary(cx, node, *EXTREMES[name], result, number).number
    return UNKNOWN if result is None else Number(result)


def _absolute(cx: Context, node: ast.Call, arguments: list[tuple[ast.expr, Symbol]]) -> Symbol:
    if len(arguments) != 1:
        return cx.refuse(node, "arguments", name="abs", wanted="1", found=len(arguments))
    number = cx.number(*arguments[0])
    return UNKNOWN if number is None else unary(cx, node, UnaryOp.ABS, abs, number)


def _length(cx: Context, node: ast.Call, arguments: list[tuple[ast.expr, Symbol]]) -> Symbol:
    match arguments:
        case [(_, Text(text=whole) | Items(items=whole))]:
            return known(len(whole))
        case [(_, symbol)] if symbol == UNKNOWN:
            return UNKNOWN
    return cx.refuse(node, "len")
