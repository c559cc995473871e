"""Blocks under construction, and what the local names stand for on each way to them.

Belongs here: steps, ways out of a block, ways that meet (block parameters). Must not know: syntax, which steps a
construct becomes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from oompolicy.compiler.frontend.symbols import (
    UNKNOWN,
    Number,
    Symbol,
    Unset,
    from_parts,
    merged_parts,
)
from oompolicy.compiler.ir import (
    FIRST_FREE,
    Block,
    Branch,
    CompareOp,
    End,
    Fault,
    Jump,
    Kind,
    Operand,
    Program,
    Return,
    Step,
    Target,
    Value,
    operands_of,
)
from oompolicy.compiler.place import Place

MOST_STEPS: Final = 16_384  # of a policy with all loops unrolled and all calls inlined
RESULT: Final = ""  # the name under which a way carries an expression's value
_LATER: Final = Target("")
_UNSET: Final = Unset()


class TooLargeError(Exception):
    """More steps than a policy may have."""


@dataclass(eq=False)
class Draft:
    """A block under construction."""

    name: str
    parameters: list[Value] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    end: End | None = None


@dataclass(eq=False)
class Way:
    """A way out of a block that leads nowhere yet, and what the names stand for on it."""

    source: Draft
    otherwise: bool  # the second of a branch
    names: dict[str, Symbol]

    def lead_to(self, target: Target) -> None:
        """Give it its end."""
        end = self.source.end
        if isinstance(end, Jump):
            self.source.end = replace(end, target=target)
        elif isinstance(end, Branch):
            self.source.end = replace(end, otherwise=target) if self.otherwise else replace(end, then=target)
        else:
            raise AssertionError(f"{self.source.name} has no way out")


Ways = list[Way]


class Builder:
    """Takes steps one after the other. Where no way leads, `is_dead` holds and steps are dropped."""

    def __init__(self) -> None:
        self.names: dict[str, Symbol] = {}  # of the function being translated
        self._blocks = [Draft("entry")]
        self._current: Draft | None = self._blocks[0]
        self._next_value = FIRST_FREE
        self._size = 0

    @property
    def is_dead(self) -> bool:
        """Does no way lead here?"""
        return self._current is None

    def value(self, kind: Kind = Kind.INT) -> Value:
        """A new name for a step's result."""
        self._next_value += 1
        return Value(self._next_value - 1, kind)

    def step(self, step: Step) -> None:
        """Take one step; raises TooLargeError when there are too many."""
        if self._current is not None:
            self._current.steps.append(step)
            self._grow()

    def _grow(self) -> None:
        self._size += 1
        if self._size > MOST_STEPS:
            raise TooLargeError

    def jump(self, place: Place, result: Symbol | None = None) -> Ways:
        """End the block with one way out, which may carry an expression's value."""
        if self._current is None:
            return []
        names = self.names if result is None else {**self.names, RESULT: result}
        self._current.end = Jump(_LATER, place)
        way = Way(self._current, False, dict(names))
        self._current = None
        return [way]

    def branch(self, op: CompareOp, left: Operand, right: Operand, place: Place) -> tuple[Ways, Ways]:
        """End the block with two ways out."""
        if self._current is None:
            return [], []
        self._current.end = Branch(op, left, right, _LATER, _LATER, place)
        source, self._current = self._current, None
        return [Way(source, False, dict(self.names))], [Way(source, True, dict(self.names))]

    def fault(self, why: str, place: Place) -> None:
        """End the block with a fault that is certain."""
        self._end(Fault(why, place))

    def answer(self, number: Number, place: Place) -> None:
        """End the block with the policy's answer."""
        self._end(Return(number.band, number.number, place))

    def _end(self, end: End) -> None:
        if self._current is not None:
            self._current.end = end
            self._current = None

    def enter(self, ways: Ways) -> Symbol:
        """Go on where these ways meet; the value they carry, UNKNOWN where none leads here or none is carried."""
        if not ways:
            self._current = None
            return UNKNOWN
        only = ways[0]
        if len(ways) == 1 and isinstance(only.source.end, Jump):
            only.source.end = None
            self._current = only.source
            self.names = only.names
        else:
            self._current = Draft(f"b{len(self._blocks)}")
            self._blocks.append(self._current)
            self._grow()
            self.names = self._meet(ways, self._current)
        return self.names.pop(RESULT, UNKNOWN)

    def _meet(self, ways: Ways, there: Draft) -> dict[str, Symbol]:
        names = list(dict.fromkeys(name for way in ways for name in way.names))
        passed: list[list[Operand]] = [[] for _ in ways]
        met: dict[str, Symbol] = {}
        for name in names:
            symbols = [way.names.get(name, _UNSET) for way in ways]
            merged = merged_parts(symbols)
            if not isinstance(merged, list):
                met[name] = merged
                continue
            parts = [self._met_part(choices, passed, there) for choices in zip(*merged, strict=True)]
            met[name] = from_parts(symbols, tuple(parts))
        for way, arguments in zip(ways, passed, strict=True):
            way.lead_to(Target(there.name, tuple(arguments)))
        return met

    def _met_part(self, choices: tuple[Operand, ...], passed: list[list[Operand]], there: Draft) -> Operand:
        if all(choice == choices[0] for choice in choices):
            return choices[0]
        kind = next((choice.kind for choice in choices if isinstance(choice, Value)), Kind.INT)
        parameter = self.value(kind)
        there.parameters.append(parameter)
        for arguments, choice in zip(passed, choices, strict=True):
            arguments.append(choice)
        return parameter

    def finish(self, name: str, paths: Iterable[str]) -> Program:
        """The program, without the parameters that nothing reads."""
        read = _read_values(self._blocks)
        kept = {draft.name: [value in read for value in draft.parameters] for draft in self._blocks}

        def pruned(target: Target) -> Target:
            return Target(
                target.block,
                tuple(each for each, keep in zip(target.arguments, kept[target.block], strict=True) if keep),
            )

        blocks = []
        for draft in self._blocks:
            assert draft.end is not None, draft.name
            end = draft.end
            if isinstance(end, Jump):
                end = replace(end, target=pruned(end.target))
            elif isinstance(end, Branch):
                end = replace(end, then=pruned(end.then), otherwise=pruned(end.otherwise))
            parameters = tuple(value for value in draft.parameters if value in read)
            blocks.append(Block(draft.name, parameters, tuple(draft.steps), end))
        return Program(name, tuple(blocks), tuple(paths))


def _read_values(blocks: list[Draft]) -> set[Value]:
    """What a step or an end reads, be it through parameters that are read themselves."""
    passed: dict[Value, set[Value]] = {}
    parameters = {draft.name: draft.parameters for draft in blocks}
    wanted: list[Value] = []
    for draft in blocks:
        for step in draft.steps:
            wanted += [operand for operand in operands_of(step) if isinstance(operand, Value)]
        end = draft.end
        assert end is not None
        targets = (
            (end.target,) if isinstance(end, Jump) else (end.then, end.otherwise) if isinstance(end, Branch) else ()
        )
        for target in targets:
            for parameter, argument in zip(parameters[target.block], target.arguments, strict=True):
                if isinstance(argument, Value):
                    passed.setdefault(parameter, set()).add(argument)
        if isinstance(end, Branch):
            wanted += [operand for operand in (end.left, end.right) if isinstance(operand, Value)]
        elif isinstance(end, Return):
            wanted += [operand for operand in operands_of(end) if isinstance(operand, Value)]
    read: set[Value] = set()
    while wanted:
        value = wanted.pop()
        if value not in read:
            read.add(value)
            wanted += passed.get(value, ())
    return read
