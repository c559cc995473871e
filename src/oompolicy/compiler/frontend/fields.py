"""Fields and methods of tasks, memcgs and the OOM, of comms and of constant texts.

Belongs here: what an attribute or a method becomes. Must not know: names, how arguments are evaluated.
"""

from __future__ import annotations

import ast
from functools import partial
from typing import Final

from oompolicy.compiler.frontend.comparisons import any_holds, as_number, comm_test
from oompolicy.compiler.frontend.context import Context
from oompolicy.compiler.frontend.symbols import (
    CANDIDATE,
    UNKNOWN,
    Comm,
    Items,
    Nothing,
    Number,
    Reference,
    Symbol,
    Text,
    Unknown,
    constant,
    described,
)
from oompolicy.compiler.ir import CommOp, Kind, Read, Value
from oompolicy.compiler.subset import BY_NAME, FIELDS, Field, FieldKind
from oompolicy.mistakes import nearest

_REFERENCES: Final = {FieldKind.MEMCG: Kind.MEMCG, FieldKind.TASK: Kind.TASK}
_TEXT_METHODS: Final = ("startswith", "endswith")


def attribute(cx: Context, node: ast.Attribute, base: Symbol) -> Symbol:
    """base.name, not called."""
    match base:
        case Unknown():
            return UNKNOWN
        case Reference():
            field = _field(cx, node, base)
            if field is None:
                return UNKNOWN
            if field.kind is FieldKind.IS_UNDER:
                return cx.refuse(node, "method", name=node.attr)
            return _read(cx, node, base, field)
        case Nothing():
            return cx.fault(node, f"{cx.spelled(node.value)} is None")
        case Comm():
            return cx.refuse(node, "comm")
        case Text() | Items() | Number():
            return cx.refuse(node, "attribute", name=node.attr, what=described(base))
        case _:
            return cx.refuse_use(node.value, base)


def _field(cx: Context, node: ast.Attribute, base: Reference) -> Field | None:
    field = BY_NAME.get(f"{base.kind.value}.{node.attr}")
    if field is None:
        names = [row.name.partition(".")[2] for row in FIELDS if row.name.startswith(f"{base.kind.value}.")]
        near = nearest(node.attr, names)
        hint = f"did you mean {near}?" if near else f"it has {', '.join(names)}"
        cx.refuse(node, "no such field", what=described(base), name=node.attr, hint=hint)
    elif field.candidate_only and base != CANDIDATE:
        cx.refuse(node, "candidate only", name=node.attr)
        return None
    return field


def _read(cx: Context, node: ast.Attribute, base: Reference, field: Field) -> Symbol:
    there = cx.not_null(node.value, base)
    if there is None:
        return UNKNOWN
    if field.kind is FieldKind.COMM:
        return Comm(there)
    if field.kind in _REFERENCES:
        kind = _REFERENCES[field.kind]
        reference = cx.builder.value(kind)
        cx.builder.step(Read(reference, None, field.name, there, None, cx.place(node)))
        return Reference(kind, reference)
    number = cx.builder.value()
    if field.kind is FieldKind.OPTIONAL_INT:
        present = cx.builder.value()
        cx.builder.step(Read(number, present, field.name, there, None, cx.place(node)))
        return Number(number, present)
    cx.builder.step(Read(number, None, field.name, there, None, cx.place(node)))
    return Number(number)


def method(cx: Context, node: ast.Call, base: Symbol, name: str, arguments: list[Symbol]) -> Symbol:
    """base.name(arguments)."""
    assert isinstance(node.func, ast.Attribute)
    match base:
        case Unknown():
            return UNKNOWN
        case Reference():
            field = _field(cx, node.func, base)
            if field is None:
                return UNKNOWN
            if field.kind is not FieldKind.IS_UNDER:
                return cx.refuse(node, "field called", name=name)
            return _is_under(cx, node, base, arguments)
        case Nothing():
            return cx.fault(node, f"{cx.spelled(node.func.value)} is None")
        case Comm() if name == "startswith":
            return _starts_with(cx, node, base, arguments)
        case Comm():
            return cx.refuse(node, "comm")
        case Text(text) if name in _TEXT_METHODS and all(isinstance(each, Text) for each in arguments):
            texts = [each.text for each in arguments if isinstance(each, Text)]
            if len(texts) == 1:
                return constant(getattr(text, name)(texts[0]))
    return cx.refuse(node, "call", name=cx.spelled(node.func))


def _is_under(cx: Context, node: ast.Call, base: Reference, arguments: list[Symbol]) -> Symbol:
    assert isinstance(node.func, ast.Attribute)
    there = cx.not_null(node.func.value, base)
    if len(arguments) != 1:
        return cx.refuse(node, "arguments", name="is_under", wanted="1", found=len(arguments))
    argument: str | Value
    match arguments[0]:
        case Text(text):
            argument = "/" + text.strip("/")
            if argument == "/":
                return constant(True)
            cx.paths.setdefault(argument)
        case Reference(Kind.MEMCG) as other:
            memcg = cx.not_null(node.args[0], other)
            if memcg is None:
                return UNKNOWN
            argument = memcg
        case Nothing():
            return cx.fault(node, f"{cx.spelled(node.args[0])} is None")
        case Unknown():
            return UNKNOWN
        case _:
            return cx.refuse(node.args[0], "is_under argument", what=described(arguments[0]))
    if there is None:
        return UNKNOWN
    value = cx.builder.value()
    cx.builder.step(Read(value, None, "memcg.is_under", there, argument, cx.place(node)))
    return Number(value)


def _starts_with(cx: Context, node: ast.Call, comm: Comm, arguments: list[Symbol]) -> Symbol:
    texts = arguments[0].items if len(arguments) == 1 and isinstance(arguments[0], Items) else tuple(arguments)
    if len(arguments) != 1 or not all(isinstance(each, Text) for each in texts):
        return UNKNOWN if UNKNOWN in texts else cx.refuse(node, "comm")
    tests = [
        partial(comm_test, cx, node, comm, CommOp.STARTSWITH, each.text) for each in texts if isinstance(each, Text)
    ]
    return as_number(cx, node, any_holds(cx, node, tests))
