"""Numbers: what an operator, min, max and abs become.

Belongs here: steps of arithmetic, and what is computed before the policy runs. Must not know: names, comparisons.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any, Final

from oompolicy.compiler.frontend.context import Context, fits
from oompolicy.compiler.frontend.symbols import (
    UNKNOWN,
    Items,
    Number,
    Symbol,
    constant,
    known,
)
from oompolicy.compiler.ir import FAULTING, Binary, BinaryOp, Const, Operand, Unary, UnaryOp

MOST_SHIFT: Final = 4096  # of constants: beyond, no result is of use, and Python would fill the memory with it

BINARY: Final[dict[type[ast.operator], tuple[BinaryOp, Callable[[Any, Any], Any]]]] = {
    ast.Add: (BinaryOp.ADD, operator.add),
    ast.Sub: (BinaryOp.SUB, operator.sub),
    ast.Mult: (BinaryOp.MUL, operator.mul),
    ast.FloorDiv: (BinaryOp.FLOORDIV, operator.floordiv),
    ast.Mod: (BinaryOp.MOD, operator.mod),
    ast.BitAnd: (BinaryOp.AND, operator.and_),
    ast.BitOr: (BinaryOp.OR, operator.or_),
    ast.BitXor: (BinaryOp.XOR, operator.xor),
    ast.LShift: (BinaryOp.SHL, operator.lshift),
    ast.RShift: (BinaryOp.SHR, operator.rshift),
}
UNARY: Final[dict[type[ast.unaryop], tuple[UnaryOp | None, Callable[[Any], Any]]]] = {
    ast.USub: (UnaryOp.NEG, operator.neg),
    ast.Invert: (UnaryOp.INVERT, operator.invert),
    ast.UAdd: (None, operator.pos),
}
EXTREMES: Final[dict[str, tuple[BinaryOp, Callable[[Any, Any], Any]]]] = {
    "min": (BinaryOp.MIN, min),
    "max": (BinaryOp.MAX, max),
}


def binary(
    cx: Context, node: ast.expr, op: BinaryOp, compute: Callable[[Any, Any], Any], left: Operand, right: Operand
) -> Number:
    """left op right: a number where both are known and the result fits, otherwise a step."""
    if isinstance(left, Const) and isinstance(right, Const):
        result = _computed(op, compute, left.number, right.number)
        if result is not None and fits(result):
            return known(result)
    value = cx.builder.value()
    cx.builder.step(Binary(value, op, left, right, op in FAULTING, cx.place(node)))
    return Number(value)


def unary(cx: Context, node: ast.expr, op: UnaryOp | None, compute: Callable[[Any], Any], operand: Operand) -> Number:
    """The same of one number; None as op leaves it as it is."""
    if op is None:
        return Number(operand)
    if isinstance(operand, Const) and fits(compute(operand.number)):
        return known(compute(operand.number))
    value = cx.builder.value()
    cx.builder.step(Unary(value, op, operand, op is not UnaryOp.INVERT, cx.place(node)))
    return Number(value)


def _computed(op: BinaryOp, compute: Callable[[Any, Any], Any], left: int, right: int) -> int | None:
    if op is BinaryOp.SHL and right > MOST_SHIFT and left:
        return None
    try:
        result: int = compute(left, right)
    except (ArithmeticError, ValueError):
        return None
    return result


class _NotConstantError(Exception):
    """Something in a constant expression is no constant; refused by the ordinary way."""


def constant_expression(cx: Context, node: ast.expr) -> Symbol | None:
    """The value of an expression of literals and module constants, exact; None where it must go the ordinary way."""
    try:
        value = _exact(cx, node)
    except _NotConstantError:
        return None
    except (ArithmeticError, ValueError, TypeError) as error:
        return cx.refuse(node, "constant fails", error=f"{type(error).__name__}: {error}")
    return checked_constant(cx, node, constant(value))


def checked_constant(cx: Context, node: ast.expr, symbol: Symbol) -> Symbol:
    """The symbol, unless it holds a number beyond 64 bits."""
    match symbol:
        case Number(number=Const(number)) if not fits(number):
            return cx.refuse(node, "too large", number=number)
        case Items(items):
            if any(checked_constant(cx, node, item) == UNKNOWN for item in items):
                return UNKNOWN
    return symbol


def _exact(cx: Context, node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int() | str()):
            return node.value
        case ast.Name() | ast.Attribute():
            try:
                value = cx.frame.source.static_meaning(node)
            except KeyError:
                raise _NotConstantError from None
            if not isinstance(value, int | str):
                raise _NotConstantError
            return value
        case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
            return UNARY[type(op)][1](_exact(cx, operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return _exact_binary(op, _exact(cx, left), _exact(cx, right))
        case ast.Call(func=ast.Name(id="abs"), args=[argument]):
            return abs(_exact(cx, argument))
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=[_, _, *_] as arguments):
            return (min if name == "min" else max)(_exact(cx, argument) for argument in arguments)
    raise _NotConstantError


def _exact_binary(op: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(left, str) or isinstance(right, str):
        if not isinstance(op, ast.Add):  # "%" would format, "*" repeat
            raise _NotConstantError
    elif isinstance(op, ast.LShift) and right > MOST_SHIFT and left:
        raise OverflowError(f"{left} << {right}")
    return BINARY[type(op)][1](left, right)
