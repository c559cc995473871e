"""From a list with labels to bytes, and to a listing that people read.

Belongs here: giving labels a place. Must not know: what the instructions do; whether the verifier will like them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from oompolicy.bpf.instructions import CallFunction, Goto, Instruction, Jump, LoadFunction


@dataclass(frozen=True, slots=True)
class Label:
    """The place of the next instruction, by a name that jumps give as their target."""

    name: str

    def __str__(self) -> str:
        return f"{self.name}:"


Line = Instruction | Label


def assemble(lines: Iterable[Line]) -> bytes:
    """The bytes of a program. Raises ValueError for a label that is missing or twice there, or too far a jump."""
    return b"".join(instruction.encode() for instruction in resolve(lines))


def resolve(lines: Iterable[Line]) -> list[Instruction]:
    """The instructions, each target now a distance in slots from the next instruction."""
    program = list(lines)
    places = label_places(program)
    resolved = []
    slot = 0
    for line in program:
        if isinstance(line, Label):
            continue
        slot += line.slots
        if isinstance(line, Jump | Goto | CallFunction | LoadFunction) and isinstance(line.target, str):
            if line.target not in places:
                raise ValueError(f"{line}: there is no label {line.target}")
            # LD_IMM64 counts from its first slot (kernel/bpf/verifier.c, check_ld_imm: insn_idx + imm + 1).
            next_slot = slot - (line.slots - 1)
            line = replace(line, target=places[line.target] - next_slot)
        resolved.append(line)
    return resolved


def label_places(lines: Sequence[Line]) -> dict[str, int]:
    """Label -> its slot, counted in units of 8 bytes. Raises ValueError for one that is there twice."""
    places: dict[str, int] = {}
    slot = 0
    for line in lines:
        if isinstance(line, Label):
            if line.name in places:
                raise ValueError(f"the label {line.name} is there twice")
            places[line.name] = slot
        else:
            slot += line.slots
    return places


def slots(lines: Iterable[Line]) -> int:
    """How many instructions the kernel counts."""
    return sum(line.slots for line in lines if isinstance(line, Instruction))


def listing(lines: Iterable[Line]) -> str:
    """One instruction a line with its slot, as the verifier counts them; labels stand out to the left."""
    shown = []
    slot = 0
    for line in lines:
        if isinstance(line, Label):
            shown.append(str(line))
        else:
            shown.append(f"{slot:6}: {line}")
            slot += line.slots
    return "\n".join(shown)
