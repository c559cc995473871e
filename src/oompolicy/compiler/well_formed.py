"""Is a program of the IR what the grammar says?

Belongs here: the check that every part of the compiler is held to. Must not know: who made a program, what it means.
"""

from __future__ import annotations

from collections.abc import Iterator

from oompolicy.compiler.ir import OC, TASK, Block, End, Program, Target, Value, operands_of, results_of, targets_of


class MalformedError(Exception):
    """A program against the grammar: a fault of the compiler, never of a policy."""


def check(program: Program) -> None:
    """Raise MalformedError unless every value is defined once, before its use on every way, and jumps go forward."""
    places = {block.name: index for index, block in enumerate(program.blocks)}
    if len(places) != len(program.blocks):
        raise MalformedError("two blocks have one name")
    known_at: dict[str, set[Value] | None] = dict.fromkeys(places)
    known_at[program.blocks[0].name] = {TASK, OC}
    defined: set[Value] = {TASK, OC}
    for index, block in enumerate(program.blocks):
        known = known_at[block.name]
        if known is None:
            raise MalformedError(f"{block.name} is never reached")
        for value in _defined_in(block):
            if value in defined:
                raise MalformedError(f"{value} is defined twice, again in {block.name}")
            defined.add(value)
        known |= set(block.parameters)
        for item in (*block.steps, block.end):
            for operand in operands_of(item):
                if isinstance(operand, Value) and operand not in known:
                    raise MalformedError(f"{block.name}: {item}: {operand} is not defined on every way here")
            if not isinstance(item, End):
                known |= set(results_of(item))
        for target in targets_of(block.end):
            _check_target(program, target, places, index)
            there = known_at[target.block]
            known_at[target.block] = set(known) if there is None else there & known


def _defined_in(block: Block) -> Iterator[Value]:
    yield from block.parameters
    for step in block.steps:
        yield from results_of(step)


def _check_target(program: Program, target: Target, places: dict[str, int], index: int) -> None:
    if places.get(target.block, -1) <= index:
        raise MalformedError(f"{program.blocks[index].name} goes to {target.block}, which is not a later block")
    wanted = program.blocks[places[target.block]].parameters
    if len(wanted) != len(target.arguments):
        raise MalformedError(f"{target.block} takes {len(wanted)} arguments, not {len(target.arguments)}")
