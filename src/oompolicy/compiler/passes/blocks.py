"""Fewer blocks, and shorter ways through them.

Belongs here: joining a block to its only predecessor, passing by blocks that do nothing, and by those that only ask
what is known where one comes from; one block for the same answer. Must not know: what steps compute.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from oompolicy.compiler.arithmetic import compare
from oompolicy.compiler.ir import (
    NULL,
    Block,
    Branch,
    Const,
    End,
    Fault,
    Jump,
    Operand,
    Program,
    Return,
    Step,
    Target,
    Value,
    operands_of,
    targets_of,
)
from oompolicy.compiler.passes.rewrite import (
    Substitution,
    reached,
    substituted_end,
    substituted_step,
)


def simplify_blocks(program: Program) -> Program:
    """Passing by first, since it makes blocks that have one predecessor."""
    return _joined(_passed_by(program))


def _passed_by(program: Program) -> Program:
    """From the last block to the first, so that a way of several empty blocks becomes one step."""
    uses = _uses(program)
    empty: dict[str, Block] = {}
    answers: dict[tuple[Operand, Operand], str] = {}
    blocks = []
    for block in reversed(program.blocks):
        end = block.end
        match end:
            case Jump(target) if target.block in empty:
                end = _in_place(end, _beyond(target, empty), empty)
            case Branch(then=then, otherwise=otherwise) if then.block in empty or otherwise.block in empty:
                end = replace(end, then=_beyond(then, empty), otherwise=_beyond(otherwise, empty))
                if end.then == end.otherwise:
                    end = Jump(end.then, end.place)
        changed = block if end is block.end else replace(block, end=end)
        blocks.append(changed)
        own = Counter(operand for operand in operands_of(block.end) if isinstance(operand, Value))
        if not block.steps and all(uses[parameter] == own[parameter] for parameter in block.parameters):
            empty[block.name] = _same_answer(changed, answers)
    return replace(program, blocks=reached(blocks[::-1]))


def _uses(program: Program) -> Counter[Value]:
    return Counter(
        operand
        for block in program.blocks
        for item in (*block.steps, block.end)
        for operand in operands_of(item)
        if isinstance(operand, Value)
    )


def _beyond(target: Target, empty: dict[str, Block]) -> Target:
    """Where one comes in the end through blocks without steps, whose parameters nobody else reads."""
    block = empty.get(target.block)
    if block is None:
        return target
    end = substituted_end(block.end, dict(zip(block.parameters, target.arguments, strict=True)))
    match end:
        case Jump(further):
            return further
        case Return() if not block.parameters:
            return Target(block.name)
        case Branch(op, Const(left), Const(right), then, otherwise):
            return then if compare(op, left, right) else otherwise
    return target


def _in_place(end: Jump, target: Target, empty: dict[str, Block]) -> End:
    """The answer itself instead of a way to it."""
    block = empty.get(target.block)
    if block is not None and isinstance(block.end, Return | Fault):
        return substituted_end(block.end, dict(zip(block.parameters, target.arguments, strict=True)))
    return replace(end, target=target)


def _same_answer(block: Block, answers: dict[tuple[Operand, Operand], str]) -> Block:
    """Of the blocks with one answer the last, to which all others may go; else the block itself."""
    if not isinstance(block.end, Return) or block.parameters:
        return block
    name = answers.setdefault((block.end.band, block.end.score), block.name)
    return block if name == block.name else replace(block, name=name)


def _joined(program: Program) -> Program:
    edges = Counter(target.block for block in program.blocks for target in targets_of(block.end))
    by_name = {block.name: block for block in program.blocks}
    known: Substitution = {}
    gone: set[str] = set()
    blocks = []
    for block in program.blocks:
        if block.name in gone:
            continue
        steps: list[Step] = [substituted_step(step, known) for step in block.steps]
        end: End = substituted_end(block.end, known)
        # Null is left to constants.py, since nothing may read through it.
        while isinstance(end, Jump) and edges[end.target.block] == 1 and NULL not in end.target.arguments:
            following = by_name[end.target.block]
            known.update(zip(following.parameters, end.target.arguments, strict=True))
            steps.extend(substituted_step(step, known) for step in following.steps)
            end = substituted_end(following.end, known)
            gone.add(following.name)
        blocks.append(Block(block.name, block.parameters, tuple(steps), end))
    return replace(program, blocks=tuple(blocks))
