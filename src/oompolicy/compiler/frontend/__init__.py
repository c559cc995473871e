"""The front end: a policy's Python becomes IR, or every construct that the language does not have is refused.

    symbols.py      what an expression stands for      builder.py      blocks, and ways that meet
    context.py      what all parts share: refusals     arithmetic.py   numbers
    comparisons.py  tests, branches                    fields.py       fields, methods
    calls.py        what is called                     expressions.py, statements.py   the syntax

Belongs here: the language's meaning in steps, loops unrolled, calls inlined. Must not know: passes, instructions, how
a kernel keeps a field.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from oompolicy.compiler import ir
from oompolicy.compiler.frontend.builder import MOST_STEPS, TooLargeError
from oompolicy.compiler.frontend.context import Context
from oompolicy.compiler.frontend.statements import inline, policy_body
from oompolicy.compiler.source import NoSourceError, source_of
from oompolicy.compiler.subset import REFUSED
from oompolicy.compiler.well_formed import check
from oompolicy.errors import CompileError, Place, Refusal
from oompolicy.policy.api import Policy


@dataclass(frozen=True, slots=True)
class Translation:
    """A policy's program, and the statements that no way leads to (the first of each run of them)."""

    program: ir.Program
    unreachable: tuple[Place, ...]


def compile_to_ir(policy: Policy) -> ir.Program:
    """The program of a policy; raises CompileError with all that the language does not have."""
    return translate(policy).program


def translate(policy: Policy) -> Translation:
    """The same, with what is remarkable about the source."""
    try:
        source = source_of(policy.function)
    except NoSourceError as error:
        said = REFUSED["no source"]
        why = said.reason.format(name=policy.name, why=error)
        raise CompileError([Refusal(Place(f"policy {policy.name}"), why, said.hint)]) from None
    cx = Context(inline)
    try:
        policy_body(cx, source)
    except TooLargeError:
        cx.refuse(cx.frames[0].source.node, "too many steps", most=MOST_STEPS)
    except RecursionError:
        cx.refuse(cx.frames[0].source.node, "nested too deep")
    if cx.refusals:
        raise CompileError([cx.refusals[key] for key in sorted(cx.refusals)])
    program = cx.builder.finish(policy.name, cx.paths)
    check(program)
    return Translation(program, _unreachable(cx))


def _unreachable(cx: Context) -> tuple[Place, ...]:
    found = []
    for source in cx.sources.values():
        for parent in ast.walk(source.node):
            if parent is not source.node and parent not in cx.reached:
                continue
            for name in ("body", "orelse"):
                run = getattr(parent, name, None)
                missed = [each for each in run if each not in cx.reached] if isinstance(run, list) else []
                if missed and missed[0] not in cx.excused:
                    found.append(source.shown_place(source.place(missed[0])))
    return tuple(sorted(found, key=lambda place: (place.path, place.line or 0)))
