"""A policy's source: the syntax tree of its function, and what the names in it stand for.

Belongs here: finding and parsing the text (the compiler's only reading), places as an editor counts them, the
constants and functions that a name means. Must not know: which syntax is accepted, what becomes of it.
"""

from __future__ import annotations

import ast
import builtins
import functools
import linecache
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from oompolicy import errors
from oompolicy.compiler.place import Place

# Their value is one number, whatever the task: an operation on constants alone is computed exactly, as one number.
CONSTANT_CALLS: Final = frozenset({"min", "max", "abs"})


_CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x80, 0x200  # Include/cpython/code.h, as inspect has them


class NoSourceError(Exception):
    """The text of a function is not to be had; the message says why."""


@dataclass(frozen=True)
class FunctionSource:
    """A function with its syntax tree. lines are those of its whole file."""

    function: types.FunctionType
    node: ast.FunctionDef
    path: str
    lines: tuple[str, ...]

    @functools.cached_property
    def local_names(self) -> frozenset[str]:
        """The names that the function itself assigns, its parameters included."""
        code = self.function.__code__
        return frozenset(code.co_varnames) | frozenset(code.co_cellvars)

    @functools.cached_property
    def _closed_over(self) -> dict[str, object]:
        cells = self.function.__closure__ or ()
        found: dict[str, object] = {}
        for name, cell in zip(self.function.__code__.co_freevars, cells, strict=True):
            try:
                found[name] = cell.cell_contents
            except ValueError:  # not assigned yet where the function was made
                continue
        return found

    def place(self, node: ast.AST) -> Place:
        """Where a node begins, columns counted in characters from 1."""
        line = getattr(node, "lineno", self.node.lineno)
        offset = getattr(node, "col_offset", 0)
        text = self._line(line)
        column = offset if text.isascii() else len(text.encode()[:offset].decode(errors="replace"))
        return Place(self.path, line, column + 1)

    def shown_place(self, place: Place) -> errors.Place:
        """The same with the line's text, for an error."""
        return errors.Place(place.path, place.line, place.column, self._line(place.line))

    def _line(self, number: int) -> str:
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def meaning(self, name: str) -> object:
        """What a name that is not local stands for; raises KeyError where it stands for nothing."""
        if name in self._closed_over:
            return self._closed_over[name]
        found = self.function.__globals__
        return found[name] if name in found else vars(builtins)[name]

    def static_meaning(self, node: ast.expr) -> object:
        """What a name of the module, or an attribute of such, stands for; raises KeyError where it is nothing."""
        if isinstance(node, ast.Name):
            return self.meaning(node.id)
        if not isinstance(node, ast.Attribute):
            raise KeyError
        base = self.static_meaning(node.value)
        try:
            return getattr(base, node.attr)
        except AttributeError:
            raise KeyError(node.attr) from None

    def is_constant(self, node: ast.expr) -> bool:
        """Is it made of literals and modules' constants alone? Then it is computed exactly, before the policy runs."""
        match node:
            case ast.Constant():
                return True
            case ast.Name(id=name):
                return name not in self.local_names
            case ast.Attribute(value=base):
                return self.is_constant(base)
            case ast.UnaryOp(operand=operand):
                return self.is_constant(operand)
            case ast.BinOp(left=left, right=right):
                return self.is_constant(left) and self.is_constant(right)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return name in CONSTANT_CALLS and self.is_constant(node.func) and all(map(self.is_constant, arguments))
        return False

    def names_a_constant(self, node: ast.expr) -> bool:
        """Does it depend on a name of the module?"""
        return any(isinstance(part, ast.Name) and part.id not in self.local_names for part in ast.walk(node))


def source_of(function: Callable[..., object]) -> FunctionSource:
    """The source of a function; raises NoSourceError where there is none, or another by now."""
    if not isinstance(function, types.FunctionType):
        raise NoSourceError("it is not a Python function")
    code = function.__code__
    if code.co_name == "<lambda>":
        raise NoSourceError("it is a lambda")
    if code.co_flags & (_CO_COROUTINE | _CO_ASYNC_GENERATOR):
        raise NoSourceError("it is async")
    lines = linecache.getlines(code.co_filename, function.__globals__)
    if not lines:
        raise NoSourceError("its source is not to be had")
    try:
        functions = _functions("".join(lines))
    except SyntaxError:
        functions = {}
    node = functions.get((code.co_name, code.co_firstlineno))
    if node is None:
        raise NoSourceError("its source has changed since it was loaded")
    return FunctionSource(function, node, code.co_filename, tuple(line.rstrip("\n") for line in lines))


@functools.lru_cache(maxsize=64)
def _functions(text: str) -> dict[tuple[str, int], ast.FunctionDef]:
    """The functions of a file by name and first line, which is the first decorator's."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            found[node.name, first] = node
    return found
