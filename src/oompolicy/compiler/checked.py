"""A policy in Python with the kernel's faults: the same source, its arithmetic held to signed 64 bits.

Belongs here: which operations can leave 64 bits, and a function made anew from its source with these checked. Must not
know: the IR, who asks the policy.
"""

from __future__ import annotations

import ast
import copy
import operator
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from oompolicy.compiler.source import FunctionSource, NoSourceError, source_of
from oompolicy.mm.limits import LONG_MAX, LONG_MIN
from oompolicy.policy.api import Policy, PolicyFunction, is_policy_function

_PREFIX: Final = "__oompolicy_"


def checked(policy: Policy) -> Policy:
    """The same policy, which faults where the compiled one would: OverflowError beyond 64 bits.

    Policies and marked functions that it calls are checked too. A policy without source is returned as it is.
    """
    try:
        return _Checker().policy(policy)
    except NoSourceError:
        return policy


def _fitting(result: Any) -> Any:
    if isinstance(result, int) and not LONG_MIN <= result <= LONG_MAX:
        raise OverflowError("the result does not fit into 64 bits")
    return result


def _checked_binary(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda left, right: _fitting(compute(left, right))


def _checked_unary(compute: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda operand: _fitting(compute(operand))


def _shift(left: Any, count: Any) -> Any:
    # Python would fill the memory with the result first.
    if isinstance(left, int) and isinstance(count, int) and left and count > 63:
        raise OverflowError("the result does not fit into 64 bits")
    return _fitting(left << count)


# The others have a result within 64 bits where the operands are.
_BINARY: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: _checked_binary(operator.add),
    ast.Sub: _checked_binary(operator.sub),
    ast.Mult: _checked_binary(operator.mul),
    ast.Pow: _checked_binary(operator.pow),
    ast.FloorDiv: _checked_binary(operator.floordiv),
    ast.LShift: _shift,
}
_HELPERS: Final = {
    **{f"{_PREFIX}{kind.__name__}": compute for kind, compute in _BINARY.items()},
    f"{_PREFIX}USub": _checked_unary(operator.neg),
    f"{_PREFIX}abs": _checked_unary(abs),
    f"{_PREFIX}fitting": _fitting,
}


class _CheckedPolicy(Policy):
    """The policy made anew; other parameters make it anew once more."""

    def __init__(self, original: Policy, function: PolicyFunction) -> None:
        super().__init__(function)
        self.name = original.name
        self.preselection = original.preselection
        self.scoring = original.scoring
        self.lowest_first = original.lowest_first
        self._original = original

    def with_parameters(self, values: Mapping[str, object]) -> Policy:
        return checked(self._original.with_parameters(values)) if values else self


class _Checker:
    """Makes each function once. What it puts into one comes as a closed-over name, so modules keep theirs."""

    def __init__(self) -> None:
        self._called: list[tuple[object, str]] = []  # what is called, the name of its checked version
        self._cells = {name: types.CellType(helper) for name, helper in _HELPERS.items()}

    def policy(self, policy: Policy) -> Policy:
        """The policy with its arithmetic checked, and that of all it calls; raises NoSourceError."""
        made = _CheckedPolicy(policy, self._function(source_of(policy.function)))
        for called, name in self._called:  # grows while it is walked
            self._cells[name].cell_contents = self._version_of(called)
        return made

    def _version_of(self, called: object) -> object:
        try:
            if isinstance(called, Policy):
                return called.with_function(self._function(source_of(called.function)))
            assert isinstance(called, types.FunctionType)
            return self._function(source_of(called))
        except NoSourceError:
            return called

    def _function(self, source: FunctionSource) -> types.FunctionType:
        original = source.function
        tree = copy.deepcopy(source.node)
        rewriting = _Rewriting(source, self._name_of)
        tree.body = [rewriting.visit(statement) for statement in tree.body]
        cells = self._cells | dict(zip(original.__code__.co_freevars, original.__closure__ or (), strict=True))
        code = _compiled(tree, original.__code__, source.path, cells)
        closure = tuple(cells[name] for name in code.co_freevars)
        made = types.FunctionType(code, original.__globals__, original.__name__, original.__defaults__, closure)
        made.__kwdefaults__ = original.__kwdefaults__
        made.__doc__ = original.__doc__
        made.__dict__.update(original.__dict__)
        return made

    def _name_of(self, called: object) -> str:
        for known, name in self._called:
            if known is called:
                return name
        name = f"{_PREFIX}called_{len(self._called)}"
        self._called.append((called, name))
        self._cells[name] = types.CellType()
        return name


class _Rewriting(ast.NodeTransformer):
    """Puts checked operations in the place of Python's."""

    def __init__(self, source: FunctionSource, name_of: Callable[[object], str]) -> None:
        self._source = source
        self._name_of = name_of

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        if self._source.is_constant(node):
            return _called("fitting", [node], node)
        self.generic_visit(node)
        return _called(type(node.op).__name__, [node.left, node.right], node) if type(node.op) in _BINARY else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if self._source.is_constant(node):
            return _called("fitting", [node], node)
        self.generic_visit(node)
        return _called("USub", [node.operand], node) if isinstance(node.op, ast.USub) else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        self.generic_visit(node)
        if not isinstance(node.target, ast.Name) or type(node.op) not in _BINARY:
            return node
        now = ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target)
        value = _called(type(node.op).__name__, [now, node.value], node)
        return ast.copy_location(ast.Assign([node.target], value), node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if self._source.is_constant(node):
            return _called("fitting", [node], node)
        self.generic_visit(node)
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._renamed(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        self.generic_visit(node)
        return self._renamed(node)

    def _renamed(self, node: ast.Name | ast.Attribute) -> ast.expr:
        """The checked version of a function that a name stands for, or the name as it is."""
        if not isinstance(node.ctx, ast.Load) or not self._source.is_constant(node):
            return node
        try:
            meaning = self._source.static_meaning(node)
        except KeyError:
            return node
        if meaning is abs:
            return ast.copy_location(ast.Name(f"{_PREFIX}abs", ast.Load()), node)
        if isinstance(meaning, Policy) or is_policy_function(meaning):
            return ast.copy_location(ast.Name(self._name_of(meaning), ast.Load()), node)
        return node


def _called(helper: str, arguments: Sequence[ast.expr], node: ast.AST) -> ast.expr:
    name = ast.copy_location(ast.Name(f"{_PREFIX}{helper}", ast.Load()), node)
    return ast.copy_location(ast.Call(name, list(arguments), []), node)


def _compiled(node: ast.FunctionDef, original: types.CodeType, path: str, closed_over: Iterable[str]) -> types.CodeType:
    """The code of a function of a changed tree. Its decorators stay, for its first line, and are never run."""
    shell = ast.parse(f"def {_PREFIX}shell({', '.join(closed_over)}): pass")
    body = shell.body[0]
    assert isinstance(body, ast.FunctionDef)
    body.body = [node]
    code = compile(ast.fix_missing_locations(shell), path, "exec", dont_inherit=True)
    found = next(_functions_in(code, original.co_name))
    return found.replace(co_qualname=original.co_qualname)


def _functions_in(code: types.CodeType, name: str) -> Iterator[types.CodeType]:
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            if item.co_name == name:
                yield item
            yield from _functions_in(item, name)
