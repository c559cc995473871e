"""When each value is needed: from the step that defines it to the last that reads it.

Belongs here: positions of steps, intervals of values, where calls lie. Must not know: registers.

Blocks only go to later ones, so a value is needed nowhere but between its definition and its last use in the order
of the blocks: one interval without holes for each value is right, though sometimes longer than need be.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from oompolicy.compiler.ir import (
    OC,
    TASK,
    Block,
    Branch,
    Const,
    End,
    Guard,
    Operand,
    Read,
    Return,
    Step,
    Target,
    Value,
    operands_of,
    results_of,
    targets_of,
)
from oompolicy.compiler.place import Place


@dataclass(slots=True)
class Interval:
    """A value is in its place from start on, and for the last time at end; positions count by two."""

    value: Value
    start: int
    end: int
    place: Place
    uses: int = 0
    goes_at_once: bool = False  # its only reader comes next, and takes it from r0
    crosses_call: bool = False
    neighbours: list[Value] = field(default_factory=list)  # whose place would save a move

    @property
    def weight(self) -> float:
        """How much it costs to keep it in memory."""
        return self.uses / (self.end - self.start + 1)


def intervals(blocks: Sequence[Block], is_call: Callable[[Step], bool]) -> dict[Value, Interval]:
    """The interval of every value that is read somewhere, by start. is_call: does a step lose r2 to r5?

    A step at position p reads at p and defines at p + 1; a block's parameters are defined at its own position.
    """
    walk = _Walk(blocks, is_call)
    for block in blocks:
        walk.block(block)
    for found in walk.found.values():
        after = bisect_right(walk.calls, found.start)
        found.crosses_call = after < len(walk.calls) and walk.calls[after] < found.end
        found.goes_at_once = found.goes_at_once and found.uses == 1
    return {value: found for value, found in walk.found.items() if found.uses}


class _Walk:
    def __init__(self, blocks: Sequence[Block], is_call: Callable[[Step], bool]) -> None:
        self._is_call = is_call
        self._parameters = {block.name: block.parameters for block in blocks}
        self._position = 0
        self.calls: list[int] = []
        place = blocks[0].end.place
        self.found = {value: Interval(value, -1, -1, place) for value in (TASK, OC)}

    def block(self, block: Block) -> None:
        for parameter in block.parameters:
            # What its predecessors pass is known by now: they come first, and noted it as a neighbour.
            self._define(parameter, self._position, block.end.place)
        items = (*block.steps, block.end)
        for step, following in zip(block.steps, items[1:], strict=True):
            self._position += 2
            self._step(step, following)
        self._position += 2
        for operand in operands_of(block.end):
            if isinstance(operand, Value):
                self._use(operand)
        for target in targets_of(block.end):
            self._pass_on(target)
        self._position += 2

    def _step(self, step: Step, following: Step | End) -> None:
        if self._is_call(step):
            self.calls.append(self._position)
        operands = [operand for operand in operands_of(step) if isinstance(operand, Value)]
        for operand in operands:
            self._use(operand)
        for result in results_of(step):
            defined = self._define(result, self._position + 1, step.place)
            if not isinstance(step, Read):
                defined.neighbours.extend(operands)
            defined.goes_at_once = result == _taken_from_r0(following)

    def _define(self, value: Value, position: int, place: Place) -> Interval:
        # A parameter has an entry already, made when its first predecessor passed something to it.
        found = self.found.setdefault(value, Interval(value, position, position, place))
        found.start = found.end = position
        found.place = place
        return found

    def _use(self, value: Value) -> None:
        found = self.found[value]
        found.end = self._position
        found.uses += 1

    def _pass_on(self, target: Target) -> None:
        for parameter, argument in zip(self._parameters[target.block], target.arguments, strict=True):
            if isinstance(argument, Value):
                entry = self.found.setdefault(parameter, Interval(parameter, 0, 0, self.found[argument].place))
                entry.neighbours.append(argument)


def _taken_from_r0(item: Step | End) -> Operand | None:
    """What a comparison that jumps, or a return, may find in r0, where the other side is no reason to use r0."""
    match item:
        case Guard(left=left, right=right) | Branch(left=left, right=right):
            return left if isinstance(left, Value) else right
        case Return(band=Const(), score=score):
            return score
    return None
