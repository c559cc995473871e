"""What passes share: new steps with other operands, values that have no name yet.

Belongs here: mechanical rewriting of the IR. Must not know: why a pass rewrites.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from oompolicy.compiler.ir import (
    FIRST_FREE,
    Binary,
    Block,
    Branch,
    CommTest,
    Compare,
    End,
    Guard,
    Jump,
    Kind,
    Operand,
    Program,
    Read,
    Return,
    Step,
    Target,
    Unary,
    Value,
    operands_of,
    results_of,
    targets_of,
)

Substitution = dict[Value, Operand]


def substituted_step(step: Step, known: Substitution) -> Step:
    """The step with its operands replaced; the same object where there is nothing to replace."""
    match step:
        case Binary() | Compare() | Guard():
            left, right = _of(step.left, known), _of(step.right, known)
            return step if left is step.left and right is step.right else replace(step, left=left, right=right)
        case Unary():
            operand = _of(step.operand, known)
            return step if operand is step.operand else replace(step, operand=operand)
        case Read():
            base = _value(step.base, known)
            argument = _value(step.argument, known) if isinstance(step.argument, Value) else step.argument
            if base is step.base and argument is step.argument:
                return step
            return replace(step, base=base, argument=argument)
        case CommTest():
            base = _value(step.base, known)
            return step if base is step.base else replace(step, base=base)


def substituted_end(end: End, known: Substitution) -> End:
    """The same for an end."""
    if not known or known.keys().isdisjoint(operands_of(end)):
        return end
    match end:
        case Jump(target):
            return replace(end, target=substituted_target(target, known))
        case Branch():
            return replace(
                end,
                left=_of(end.left, known),
                right=_of(end.right, known),
                then=substituted_target(end.then, known),
                otherwise=substituted_target(end.otherwise, known),
            )
        case Return():
            return replace(end, band=_of(end.band, known), score=_of(end.score, known))
        case _:
            return end


def substituted_target(target: Target, known: Substitution) -> Target:
    """The same for what a target passes on."""
    if not any(isinstance(argument, Value) and argument in known for argument in target.arguments):
        return target
    return Target(target.block, tuple(_of(argument, known) for argument in target.arguments))


def _of(operand: Operand, known: Substitution) -> Operand:
    return known.get(operand, operand) if isinstance(operand, Value) else operand


def _value(value: Value, known: Substitution) -> Value:
    """A base stays a value: where it is known to be null, the pass sees to it that nothing reads through it."""
    found = known.get(value, value)
    return found if isinstance(found, Value) else value


def new_values(program: Program) -> Iterator[Value]:
    """Numbers that no value of the program has."""
    used = [FIRST_FREE - 1]
    for block in program.blocks:
        used.extend(parameter.number for parameter in block.parameters)
        used.extend(result.number for step in block.steps for result in results_of(step))
    number = max(used)
    while True:
        number += 1
        yield Value(number, Kind.INT)


def reached(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Without the blocks that nothing goes to any more."""
    known = {blocks[0].name}
    kept = []
    for block in blocks:
        if block.name in known:
            kept.append(block)
            known.update(target.block for target in targets_of(block.end))
    return tuple(kept)
