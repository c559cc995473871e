"""Moves that happen at once: what a jump passes to the parameters of a block.

Belongs here: an order for them, with a detour where they go in a circle. Must not know: blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from oompolicy.bpf.instructions import Load, Store, move
from oompolicy.bpf.opcodes import R0, R1, R10, Reg, Width
from oompolicy.compiler.emit.allocation import Home, Slot
from oompolicy.compiler.emit.code import Code, fits_immediate
from oompolicy.compiler.ir import Const

Source = Home | Const
Move = tuple[Home, Source]


def move_at_once(code: Code, moves: Sequence[Move]) -> None:
    """All targets get what their sources had before."""
    waiting: dict[Home, Home] = {to: source for to, source in moves if not isinstance(source, Const)}
    readers: dict[Home, int] = {}
    for source in waiting.values():
        readers[source] = readers.get(source, 0) + 1
    ready = [to for to in waiting if not readers.get(to)]
    while waiting:
        if not ready:
            # Only circles are left: one value steps aside into r0, and what waits for its place can go on.
            aside = next(iter(waiting))
            put_one(code, R0, aside)
            waiting = {to: R0 if source == aside else source for to, source in waiting.items()}
            readers[R0], readers[aside] = readers[aside], 0
            ready.append(aside)
        to = ready.pop()
        source = waiting.pop(to)
        put_one(code, to, source)
        readers[source] -= 1
        if not readers[source] and source in waiting:
            ready.append(source)
    for to, number in moves:
        if isinstance(number, Const):
            put_one(code, to, number)


def put_one(code: Code, to: Home, source: Source) -> None:
    """to = source."""
    if isinstance(to, Slot):
        if isinstance(source, Const) and fits_immediate(source.number):
            code.put(Store(Width.U64, R10, to.offset, source.number))
            return
        if not isinstance(source, Reg):
            put_one(code, R1, source)
            source = R1
        code.put(Store(Width.U64, R10, to.offset, source))
    elif isinstance(source, Slot):
        code.put(Load(Width.U64, to, R10, source.offset))
    else:
        code.put(move(to, source.number if isinstance(source, Const) else source))
