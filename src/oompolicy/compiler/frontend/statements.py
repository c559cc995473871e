"""Statements, and the bodies of functions: from syntax to blocks.

Belongs here: what each kind of statement becomes, loops unrolled, calls inlined. Must not know: how an expression is
evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from oompolicy.compiler.frontend.comparisons import fork
from oompolicy.compiler.frontend.context import MOST_ITERATIONS, Context, Frame, Loop
from oompolicy.compiler.frontend.expressions import condition, expression, operation
from oompolicy.compiler.frontend.symbols import (
    CANDIDATE,
    NOTHING,
    ONE,
    THE_OOM,
    UNKNOWN,
    ZERO,
    Items,
    Nothing,
    Number,
    Symbol,
    Unknown,
    constant,
    described,
    known,
    known_int,
)
from oompolicy.compiler.ir import CompareOp
from oompolicy.compiler.source import FunctionSource, NoSourceError, source_of
from oompolicy.policy.api import Policy


def policy_body(cx: Context, source: FunctionSource) -> None:
    """The policy's own function: each return is an answer, and its end is a fault."""
    names = [each.arg for each in (*source.node.args.posonlyargs, *source.node.args.args)]
    cx.frames.append(Frame(source, is_policy_itself=True))
    if len(names) != 2 or source.node.args.kwonlyargs or source.node.args.vararg or source.node.args.kwarg:
        cx.refuse(source.node, "parameters", name=source.node.name)
        names = [*names, "", ""][:2]
    cx.sources[source.function.__code__] = source
    cx.builder.names = {names[0]: CANDIDATE, names[1]: THE_OOM}
    block(cx, source.node.body)
    cx.fault(source.node, "it returned None")
    cx.frames.pop()


def block(cx: Context, statements: Sequence[ast.stmt]) -> None:
    """Statements one after the other, as far as a way leads."""
    for statement in statements:
        if cx.builder.is_dead:
            return
        cx.reached.add(statement)
        _statement(cx, statement)


def _statement(cx: Context, node: ast.stmt) -> None:
    match node:
        case ast.Pass():
            pass
        case ast.Global() | ast.Nonlocal():
            cx.refuse(node, "Global")
        case ast.Expr(value=value):
            if not isinstance(value, ast.Constant):
                expression(cx, value)
        case ast.Return(value=value):
            _return(cx, node, value)
        case ast.If():
            _if(cx, node)
        case ast.For():
            _for(cx, node)
        case ast.Break() | ast.Continue():
            loop = cx.frame.loops[-1]
            (loop.breaks if isinstance(node, ast.Break) else loop.continues).extend(cx.builder.jump(cx.place(node)))
        case ast.Assign(targets=targets, value=value):
            symbol = expression(cx, value)
            for target in targets:
                _assign(cx, target, symbol)
        case ast.AnnAssign(target=target, value=value):
            if value is not None:
                _assign(cx, target, expression(cx, value))
        case ast.AugAssign(target=ast.Name() as target, op=op, value=value):
            now = ast.copy_location(ast.Name(target.id, ast.Load()), target)
            before = expression(cx, now)
            _assign(cx, target, operation(cx, target, op, (now, before), (value, expression(cx, value))))
        case ast.AugAssign(target=target):
            _assign(cx, target, UNKNOWN)
        case _:
            cx.refuse_syntax(node)


def _assign(cx: Context, target: ast.expr, symbol: Symbol) -> None:
    if isinstance(target, ast.Name) and target.id in cx.frame.source.local_names:
        cx.builder.names[target.id] = symbol
    elif isinstance(target, ast.Tuple | ast.List):
        cx.refuse(target, "unpacking")
        for name in ast.walk(target):
            if isinstance(name, ast.Name):
                cx.builder.names[name.id] = UNKNOWN
    elif not isinstance(target, ast.Name):
        cx.refuse(target, "assignment")


def _return(cx: Context, node: ast.Return, value: ast.expr | None) -> None:
    symbol = NOTHING if value is None else expression(cx, value)
    if not cx.frame.is_policy_itself:
        cx.builder.names = {}
        cx.frame.returns += cx.builder.jump(cx.place(node), symbol)
        return
    match symbol:
        case Number(present=present):
            if present != ONE:
                cx.guard(node, CompareOp.NE, present, ZERO, "it returned None")
            cx.builder.answer(symbol, cx.place(node))
        case Nothing():
            cx.fault(node, "it returned None")
        case Unknown():
            cx.fault(node, "an error")
        case _:
            cx.refuse(node, "answer", what=described(symbol))
            cx.fault(node, "an error")


def _if(cx: Context, node: ast.If) -> None:
    holding, failing = fork(cx, node.test, condition(cx, node.test))
    if not (holding and failing) and cx.frame.source.names_a_constant(node.test):
        cx.excused.update(node.body, node.orelse)  # a parameter decides: what it rules out now is no mistake
    cx.builder.enter(holding)
    block(cx, node.body)
    done = cx.builder.jump(cx.place(node))
    cx.builder.enter(failing)
    block(cx, node.orelse)
    cx.builder.enter(done + cx.builder.jump(cx.place(node)))


def _for(cx: Context, node: ast.For) -> None:
    symbols = _iterated(cx, node.iter)
    if not isinstance(node.target, ast.Name):
        cx.refuse(node.target, "unpacking")
        return
    cx.excused.update(node.body)
    loop = Loop()
    cx.frame.loops.append(loop)
    for symbol in symbols:
        if cx.builder.is_dead:
            break
        cx.iterations += 1
        if cx.iterations > MOST_ITERATIONS:
            cx.refuse(node, "too many iterations", most=MOST_ITERATIONS)
            break
        cx.builder.names[node.target.id] = symbol
        block(cx, node.body)
        cx.builder.enter(cx.builder.jump(cx.place(node)) + loop.continues)
        loop.continues = []
    cx.frame.loops.pop()
    block(cx, node.orelse)
    cx.builder.enter(cx.builder.jump(cx.place(node)) + loop.breaks)


def _iterated(cx: Context, node: ast.expr) -> Sequence[Symbol]:
    """What a loop's name stands for, one after the other; once unknown after an error."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and cx.frame.source.is_constant(node.func):
        try:
            is_range = cx.frame.source.meaning(node.func.id) is range
        except KeyError:
            is_range = False
        if is_range:
            return _range(cx, node)
    symbol = expression(cx, node)
    match symbol:
        case Items(items):
            return items
        case Unknown():
            return [UNKNOWN]
    return [cx.refuse(node, "iterated", what=described(symbol))]


def _range(cx: Context, node: ast.Call) -> Sequence[Symbol]:
    if node.keywords or not 1 <= len(node.args) <= 3:
        return [cx.refuse(node, "arguments", name="range", wanted="1 to 3", found=len(node.args))]
    bounds: list[int] = []
    for argument in node.args:
        symbol = expression(cx, argument)
        bound = known_int(symbol)
        if bound is None:
            return [UNKNOWN if symbol == UNKNOWN else cx.refuse(argument, "range bounds", name=cx.spelled(argument))]
        bounds.append(bound)
    if len(bounds) == 3 and bounds[2] == 0:
        cx.fault(node, "ValueError: range() arg 3 must not be zero")
        return []
    counted = range(*bounds)
    return [known(number) for number in counted[: MOST_ITERATIONS + 1]]


def inline(cx: Context, node: ast.Call, called: object, arguments: list[Symbol], keywords: dict[str, Symbol]) -> Symbol:
    """A call of a policy or of a marked function: its body, with the arguments as its names."""
    function = called.function if isinstance(called, Policy) else called
    name = cx.spelled(node.func)
    try:
        assert callable(function)
        source = source_of(function)
    except NoSourceError as error:
        return cx.refuse(node, "no source", name=name, why=error)
    if any(frame.source.function.__code__ is source.function.__code__ for frame in cx.frames):
        return cx.refuse(node, "recursion", name=name)
    names = _bound(cx, node, source, arguments, keywords)
    if names is None:
        return UNKNOWN
    cx.sources[source.function.__code__] = source
    callers = cx.builder.names
    frame = Frame(source, is_policy_itself=False)
    cx.frames.append(frame)
    cx.builder.names = names
    block(cx, source.node.body)
    cx.builder.names = {}
    ways = frame.returns + cx.builder.jump(cx.place(source.node), NOTHING)
    cx.frames.pop()
    result = cx.builder.enter(ways)
    cx.builder.names = callers
    return result


def _bound(
    cx: Context, node: ast.Call, source: FunctionSource, arguments: list[Symbol], keywords: dict[str, Symbol]
) -> dict[str, Symbol] | None:
    """The called function's parameters with their values; None where the call does not fit them."""
    wanted = source.node.args
    if wanted.vararg or wanted.kwarg:
        cx.refuse(node, "variadic", name=source.node.name)
        return None
    function = source.function
    positional = [each.arg for each in (*wanted.posonlyargs, *wanted.args)]
    only_named = [each.arg for each in wanted.kwonlyargs]
    names: dict[str, Symbol] = {}
    defaults = function.__defaults__ or ()
    names.update(zip(positional[len(positional) - len(defaults) :], map(constant, defaults), strict=True))
    names.update((name, constant(item)) for name, item in (function.__kwdefaults__ or {}).items())
    given = dict(zip(positional, arguments, strict=False))
    by_name = {*positional[len(wanted.posonlyargs) :], *only_named}
    fitting = len(arguments) <= len(positional) and keywords.keys() <= by_name - given.keys()
    names |= given | keywords
    if not fitting or names.keys() != {*positional, *only_named}:
        expected = f"({', '.join([*positional, *only_named])})"
        cx.refuse(node, "arguments", name=source.node.name, wanted=expected, found=len(arguments) + len(keywords))
        return None
    return names
