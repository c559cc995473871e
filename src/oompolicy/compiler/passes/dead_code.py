"""What nobody reads is not computed.

Belongs here: steps without a fault whose results are not read, parameters that are not. Must not know: why they are
there.
"""

from __future__ import annotations

from dataclasses import replace

from oompolicy.compiler.ir import (
    Binary,
    Block,
    Branch,
    End,
    Guard,
    Jump,
    Operand,
    Program,
    Read,
    Step,
    Target,
    Unary,
    Value,
    operands_of,
    results_of,
    targets_of,
)
from oompolicy.compiler.subset import BY_NAME


def remove_dead_code(program: Program) -> Program:
    """From the last block to the first: what reads a value stands after it. What may fault stays."""
    used: set[Operand] = set()
    kept_parameters: dict[str, tuple[bool, ...]] = {}
    blocks: list[Block] = []
    for block in reversed(program.blocks):
        end = _with_kept(block.end, kept_parameters)
        used.update(operands_of(end))
        steps: list[Step] = []
        for step in reversed(block.steps):
            if may_fault(step) or not used.isdisjoint(results_of(step)):
                used.update(operands_of(step))
                steps.append(step)
        kept = tuple(parameter in used for parameter in block.parameters)
        kept_parameters[block.name] = kept
        parameters = block.parameters if all(kept) else _selected(block.parameters, kept)
        blocks.append(Block(block.name, parameters, tuple(reversed(steps)), end))
    return replace(program, blocks=tuple(reversed(blocks)))


def may_fault(step: Step) -> bool:
    """Is it there for more than its result?"""
    match step:
        case Binary(checked=checked) | Unary(checked=checked):
            return checked
        case Read(field=field):
            return field in BY_NAME and BY_NAME[field].can_fail
        case Guard():
            return True
    return False


def _with_kept(end: End, kept: dict[str, tuple[bool, ...]]) -> End:
    if all(all(kept[target.block]) for target in targets_of(end)):
        return end
    match end:
        case Jump(target):
            return replace(end, target=_target(target, kept))
        case Branch(then=then, otherwise=otherwise):
            return replace(end, then=_target(then, kept), otherwise=_target(otherwise, kept))
    return end


def _target(target: Target, kept: dict[str, tuple[bool, ...]]) -> Target:
    flags = kept[target.block]
    return target if all(flags) else Target(target.block, _chosen(target.arguments, flags))


def _chosen(arguments: tuple[Operand, ...], kept: tuple[bool, ...]) -> tuple[Operand, ...]:
    return tuple(argument for argument, is_kept in zip(arguments, kept, strict=True) if is_kept)


def _selected(parameters: tuple[Value, ...], kept: tuple[bool, ...]) -> tuple[Value, ...]:
    return tuple(parameter for parameter, is_kept in zip(parameters, kept, strict=True) if is_kept)
