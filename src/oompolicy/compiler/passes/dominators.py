"""Which block comes before another on every way: what is known at its end is known there.

Belongs here: the dominator tree of blocks that only go forward. Must not know: what is known.
"""

from __future__ import annotations

from collections.abc import Sequence

from oompolicy.compiler.ir import Block, targets_of


class Dominators:
    """Of blocks by their index; each is reached."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.index = {block.name: number for number, block in enumerate(blocks)}
        self.predecessors: list[list[int]] = [[] for _ in blocks]  # one for each edge
        self.parents: list[int] = []  # the nearest dominator; of the entry, itself
        self._depths: list[int] = []
        for number, block in enumerate(blocks):
            # All predecessors stand before, so that their dominators are known already.
            before = self.predecessors[number]
            parent = before[0] if before else number
            for other in before[1:]:
                parent = self._common(parent, other)
            self.parents.append(parent)
            self._depths.append(self._depths[parent] + 1 if before else 0)
            for target in targets_of(block.end):
                self.predecessors[self.index[target.block]].append(number)
        self._number_tree()

    def _common(self, one: int, other: int) -> int:
        while one != other:
            if self._depths[one] >= self._depths[other]:
                one = self.parents[one]
            else:
                other = self.parents[other]
        return one

    def _number_tree(self) -> None:
        children: list[list[int]] = [[] for _ in self.parents]
        for number, parent in enumerate(self.parents):
            if parent != number:
                children[parent].append(number)
        self._entered, self._left = [0] * len(children), [0] * len(children)
        clock, waiting = 0, [(0, False)]
        while waiting:
            number, is_over = waiting.pop()
            if is_over:
                self._left[number] = clock
                continue
            clock += 1
            self._entered[number] = clock
            waiting.append((number, True))
            waiting.extend((child, False) for child in children[number])

    def dominates(self, one: int, other: int) -> bool:
        """Is one on every way to the other? A block dominates itself."""
        return self._entered[one] <= self._entered[other] <= self._left[one]
