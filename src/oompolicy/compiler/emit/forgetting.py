"""Making the verifier forget what it knows of numbers, where several ways through a program meet.

Belongs here: which numbers, and how it is made to. Must not know: what they are for.

The verifier follows every way through a program, and stops where it has been before with no more known than now. Where
two ways meet with another constant each, or another range, it goes on twice; after twenty such places a million times,
and a million instructions are all that it follows (BPF_COMPLEXITY_LIMIT_INSNS, include/linux/bpf.h). A number plus a
word that is 0, which the verifier cannot know, is the same number of which nothing is known. References stay as they
are: their kind is what makes them readable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from oompolicy.bpf.instructions import Alu, Call, Load, LoadConstant, Store, add
from oompolicy.bpf.opcodes import R0, R1, R10, AluOp, Reg, Width
from oompolicy.bpf.uapi import Helper
from oompolicy.compiler.emit.allocation import Slot
from oompolicy.compiler.emit.code import Code
from oompolicy.compiler.emit.liveness import Interval
from oompolicy.compiler.ir import Block, Kind, Value, targets_of
from oompolicy.mm.limits import LONG_MIN

_STEP: Final = 2  # as intervals() counts positions


class Forgetting:
    """slot: 8 bytes of the frame of its own, as an offset from r10."""

    def __init__(self, blocks: Sequence[Block], found: Iterable[Interval], slot: int) -> None:
        self._slot = slot
        reached = Counter(target.block for block in blocks for target in targets_of(block.end))
        numbers = [each for each in found if each.value.kind is Kind.INT and not each.goes_at_once]
        self._known: dict[object, list[Value]] = {}
        position = 0
        for block in blocks:
            if reached[block.name] > 1:
                self._known[block.name] = [each.value for each in numbers if each.start <= position < each.end]
            position += _STEP * (len(block.steps) + 2)

    def begin(self, code: Code) -> None:
        """At the start, with r6 and r7 alone in use: the word that is 0, for the sign of the time since boot."""
        code.put(Call(Helper.KTIME_GET_BOOT_NS))
        code.put(LoadConstant(R1, LONG_MIN))
        code.put(Alu(AluOp.AND, R0, R1))
        code.put(Store(Width.U64, R10, self._slot, R0))

    def at(self, code: Code, block: Block) -> None:
        """At the start of a block."""
        known = self._known.get(block.name)
        if not known:
            return
        code.put(Load(Width.U64, R1, R10, self._slot))
        for value in known:
            home = code.home(value)
            if isinstance(home, Reg):
                code.put(add(home, R1))
            elif isinstance(home, Slot):
                code.put(Load(Width.U64, R0, R10, home.offset))
                code.put(add(R0, R1))
                code.put(Store(Width.U64, R10, home.offset, R0))
