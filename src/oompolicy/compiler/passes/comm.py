"""Comparisons of a comm become comparisons of its two words, so that the comm is read once.

Belongs here: the lowering of CommTest. Must not know: how a kernel keeps a comm (a FieldReader reads the words).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from oompolicy.compiler.arithmetic import COMM_WORDS, comm_word
from oompolicy.compiler.ir import (
    Binary,
    BinaryOp,
    Block,
    CommOp,
    CommTest,
    Compare,
    CompareOp,
    Const,
    Program,
    Read,
    Step,
    Value,
)
from oompolicy.compiler.passes.rewrite import new_values
from oompolicy.compiler.subset import COMM_BYTES

_WORD_BYTES = 8


def lower_comm(program: Program) -> Program:
    """Every CommTest as reads of task.comm_0 and task.comm_1, masked to the bytes that count."""
    if not any(isinstance(step, CommTest) for block in program.blocks for step in block.steps):
        return program
    names = new_values(program)
    return replace(program, blocks=tuple(_lowered(block, names) for block in program.blocks))


def _lowered(block: Block, names: Iterator[Value]) -> Block:
    steps: list[Step] = []
    for step in block.steps:
        if isinstance(step, CommTest):
            steps.extend(_words(step, names))
        else:
            steps.append(step)
    return replace(block, steps=tuple(steps))


def _words(test: CommTest, names: Iterator[Value]) -> Iterator[Step]:
    """result = 1 where no byte that counts differs.

    Up to and including the NUL for EQUALS: what stands after it may be anything. A prefix of more than 15 bytes is
    compared with the NUL that ends every comm, and so never found.
    """
    wanted = (test.text + b"\0" if test.op is CommOp.EQUALS else test.text)[:COMM_BYTES]
    words: list[tuple[Value, Const]] = []
    for index, field in enumerate(COMM_WORDS):
        count = min(len(wanted) - _WORD_BYTES * index, _WORD_BYTES)
        if count <= 0:
            break
        word = next(names)
        yield Read(word, None, field, test.base, None, test.place)
        if count < _WORD_BYTES:
            mask = Const((1 << 8 * count) - 1)
            yield Binary(masked := next(names), BinaryOp.AND, word, mask, checked=False, place=test.place)
            word = masked
        words.append((word, Const(comm_word(wanted, index))))
    if len(words) == 1:
        yield Compare(test.result, CompareOp.EQ, *words[0], test.place)
        return
    first, second = next(names), next(names)
    for result, (word, expected) in zip((first, second), words, strict=True):
        yield Binary(result, BinaryOp.XOR, word, expected, checked=False, place=test.place)
    yield Binary(either := next(names), BinaryOp.OR, first, second, checked=False, place=test.place)
    yield Compare(test.result, CompareOp.EQ, either, Const(0), test.place)
