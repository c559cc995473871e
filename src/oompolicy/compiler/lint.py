"""What is suspicious about a policy, seen from its program alone: on every machine, whatever the numbers are.

Belongs here: one function a suspicion, on the IR. Must not know: this machine's tasks and cgroups, how it is printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from oompolicy.compiler.frontend import Translation
from oompolicy.compiler.ir import BandNumber, Block, Const, Fault, Program, Read, Return
from oompolicy.compiler.passes import PASSES
from oompolicy.compiler.place import Place

# What decides conditions, block by block: these keep the blocks' names.
_DECIDING: Final = ("comm", "constants", "ranges")


class Suspicion(NamedTuple):
    """Where, or None for the policy as a whole; and what, in a sentence."""

    place: str | None
    what: str

    def __str__(self) -> str:
        return self.what if self.place is None else f"{self.place}: {self.what}"


def lint(translation: Translation, optimized: Program) -> list[Suspicion]:
    """What is suspicious, in the source's order; `optimized` is what all passes made of the translation."""
    return [
        *_whole(optimized),
        *_certain_faults(translation.program, optimized),
        *(Suspicion(str(place), "is never reached") for place in translation.unreachable),
        *_decided(translation.program),
    ]


def _whole(program: Program) -> Iterator[Suspicion]:
    ends = [block.end for block in program.blocks]
    bands = {
        BandNumber(end.band.number) if isinstance(end.band, Const) else None for end in ends if isinstance(end, Return)
    }
    if bands == {BandNumber.SPARE} and not any(isinstance(end, Fault) for end in ends):
        yield Suspicion(None, "it spares everyone, so the kernel's badness decides: it does nothing")
        return
    reads = any(isinstance(step, Read) for block in program.blocks for step in block.steps)
    if not reads and bands and bands != {BandNumber.DEFER}:
        yield Suspicion(None, "it reads nothing of the task or the OOM, so it says the same for everyone")


def _certain_faults(program: Program, optimized: Program) -> Iterator[Suspicion]:
    """Ends that became faults: an operation on what is known already, with no result."""
    written = {(end.place, end.why) for end in (block.end for block in program.blocks) if isinstance(end, Fault)}
    seen = set()
    for block in optimized.blocks:
        end = block.end
        if isinstance(end, Fault) and (end.place, end.why) not in written and end.place not in seen:
            seen.add(end.place)
            yield Suspicion(str(end.place), f"always faults where it is reached: {end.why}")


def _decided(program: Program) -> Iterator[Suspicion]:
    """Lines of which no copy can be reached, whatever the fields are; the first of each run of them.

    A loop's body is there once a round and a function's once a call: a line counts where all its copies do.
    """
    decided = program
    for name in _DECIDING:
        decided = PASSES[name](decided)
    left = {block.name for block in decided.blocks}
    reached = set(_lines(block for block in program.blocks if block.name in left))
    missed = sorted(set(_lines(block for block in program.blocks if block.name not in left)) - reached)
    for path, line in missed:
        if (path, line - 1) not in missed:
            yield Suspicion(f"{path}:{line}", "is never reached: a condition before it is the same for every task")


def _lines(blocks: Iterable[Block]) -> Iterator[tuple[str, int]]:
    for block in blocks:
        places: list[Place] = [step.place for step in block.steps]
        # A Jump belongs to what it joins; a fault is the compiler's own unless it was written.
        if isinstance(block.end, Return):
            places.append(block.end.place)
        for place in places:
            yield place.path, place.line
