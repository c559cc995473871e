"""What every part of the front end shares: the function being translated, the program so far, what was refused.

Belongs here: refusing with a place, operands out of symbols (with the guards that they need). Must not know: syntax
beyond a node's place.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field

from oompolicy.compiler.frontend.builder import Builder, Ways
from oompolicy.compiler.frontend.symbols import (
    NOTHING,
    ONE,
    SCORE,
    UNKNOWN,
    ZERO,
    Comm,
    Items,
    Mixed,
    Number,
    Reference,
    Symbol,
    Unknown,
    Unset,
    described,
)
from oompolicy.compiler.ir import NULL, CompareOp, Const, Guard, Operand, Value
from oompolicy.compiler.place import Place
from oompolicy.compiler.source import FunctionSource
from oompolicy.compiler.subset import REFUSED
from oompolicy.errors import Refusal
from oompolicy.mm.limits import LONG_MAX, LONG_MIN

MOST_ITERATIONS = 4096  # of all loops together, as often as they are entered


def fits(number: int) -> bool:
    """Is it a signed 64-bit number?"""
    return LONG_MIN <= number <= LONG_MAX


@dataclass
class Loop:
    """The ways out of a loop's body."""

    breaks: Ways = field(default_factory=list)
    continues: Ways = field(default_factory=list)


@dataclass
class Frame:
    """A function being translated: the policy itself, or one that it calls."""

    source: FunctionSource
    is_policy_itself: bool
    returns: Ways = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)


@dataclass
class Context:
    """The state of a translation. inline: translates a call, given by the room of statements."""

    inline: Callable[[Context, ast.Call, object, list[Symbol], dict[str, Symbol]], Symbol]
    builder: Builder = field(default_factory=Builder)
    frames: list[Frame] = field(default_factory=list)
    refusals: dict[tuple[Place, str], Refusal] = field(default_factory=dict)
    paths: dict[str, None] = field(default_factory=dict)
    iterations: int = 0
    spellings: dict[ast.AST, str] = field(default_factory=dict)
    sources: dict[object, FunctionSource] = field(default_factory=dict)  # by code, of the functions seen
    reached: set[ast.stmt] = field(default_factory=set)
    excused: set[ast.stmt] = field(default_factory=set)  # not reached, and no wonder: a parameter's doing

    @property
    def frame(self) -> Frame:
        """The innermost function."""
        return self.frames[-1]

    def place(self, node: ast.AST) -> Place:
        """Where a node of the innermost function is."""
        return self.frame.source.place(node)

    def refuse(self, node: ast.AST, row: str, **words: object) -> Unknown:
        """Note that the language does not have this, in the words of a row of subset.REFUSED; goes on after it."""
        place = self.place(node)
        said = REFUSED[row]
        why = said.reason.format(**words)
        refusal = Refusal(self.frame.source.shown_place(place), why, said.hint.format(**words))
        self.refusals.setdefault((place, why), refusal)
        return UNKNOWN

    def refuse_syntax(self, node: ast.AST) -> Unknown:
        """Refuse a kind of syntax, under its own name; the names that it would assign are unknown from here."""
        for part in ast.walk(node):
            name = _assigned_name(part)
            if name is not None:
                self.builder.names[name] = UNKNOWN
        row = type(node).__name__
        return self.refuse(node, row if row in REFUSED else "syntax", name=row)

    def guard(self, node: ast.AST, op: CompareOp, left: Operand, right: Operand, why: str) -> None:
        """A fault unless the comparison holds."""
        self.builder.step(Guard(op, left, right, why, self.place(node)))

    def fault(self, node: ast.AST, why: str) -> Unknown:
        """A fault that is certain here."""
        self.builder.fault(why, self.place(node))
        return UNKNOWN

    def number(self, node: ast.expr, symbol: Symbol) -> Operand | None:
        """The int that a symbol must be here, guarded; None where it cannot be one."""
        match symbol:
            case Number(number, present, band):
                if isinstance(band, Const) and band != SCORE:
                    self.refuse(node, "verdict as number")
                    return None
                if isinstance(present, Const) and present != ONE:
                    self.fault(node, f"{self.spelled(node)} is None")
                    return None
                if band != SCORE:
                    self.guard(node, CompareOp.EQ, band, SCORE, f"{self.spelled(node)} is a verdict")
                if present != ONE:
                    self.guard(node, CompareOp.NE, present, ZERO, f"{self.spelled(node)} is None")
                return number
            case _ if symbol == NOTHING:
                self.fault(node, f"{self.spelled(node)} is None")
            case _:
                self.refuse_use(node, symbol)
        return None

    def refuse_use(self, node: ast.expr, symbol: Symbol) -> Unknown:
        """Refuse a symbol where a number or a verdict is needed."""
        match symbol:
            case Unknown():
                return UNKNOWN
            case Unset():
                return self.refuse(node, "unset", name=self.spelled(node))
            case Mixed(names):
                return self.refuse(node, "mixed", name=self.spelled(node), kinds=names)
            case Comm():
                return self.refuse(node, "comm")
            case Reference():
                return self.refuse(node, "reference", what=described(symbol))
            case Items():
                return self.refuse(node, "tuple")
            case _:
                return self.refuse(node, "not a number", what=described(symbol), name=self.spelled(node))

    def not_null(self, node: ast.expr, reference: Reference) -> Value | None:
        """What a reference refers to, guarded; None where it certainly refers to nothing."""
        if reference.operand == NULL:
            self.fault(node, f"{self.spelled(node)} is None")
            return None
        assert isinstance(reference.operand, Value)
        if not reference.is_never_null:
            self.guard(node, CompareOp.NE, reference.operand, NULL, f"{self.spelled(node)} is None")
        return reference.operand

    def spelled(self, node: ast.AST) -> str:
        """A node as its source spells it, for a message."""
        if node not in self.spellings:
            text = ast.unparse(node)
            self.spellings[node] = text if len(text) <= 60 else f"{text[:57]}..."
        return self.spellings[node]


def _assigned_name(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            return name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.alias(name=name, asname=other):
            return other or name.partition(".")[0]
        case ast.ExceptHandler(name=str() as name):
            return name
    return None
