"""The instructions made so far, and how operands get into them.

Belongs here: homes of values as operands of instructions, labels, stubs for faults, which step each line is of.
Must not know: what steps mean.

r0 and r1 are for work inside one step; a value is in r0 only where the next step takes it from there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.instructions import Alu, Goto, Instruction, Jump, Load, Store, move
from oompolicy.bpf.opcodes import R0, R10, AluOp, JumpOp, Reg, Width
from oompolicy.compiler.emit.allocation import Home, Slot
from oompolicy.compiler.emit.limits import INSTRUCTIONS_MAX, too_many_instructions
from oompolicy.compiler.interp import Failure
from oompolicy.compiler.ir import CompareOp, Const, End, Operand, Step, Value
from oompolicy.compiler.place import Place

FAULT: Final = "fault"  # the caller's label: r0 = the number of the place
ANSWER: Final = "answer"  # the caller's label: r0 = band, r1 = score

JUMPS: Final = {
    CompareOp.EQ: JumpOp.EQ,
    CompareOp.NE: JumpOp.NE,
    CompareOp.LT: JumpOp.SLT,
    CompareOp.LE: JumpOp.SLE,
    CompareOp.GT: JumpOp.SGT,
    CompareOp.GE: JumpOp.SGE,
}


def fits_immediate(number: int) -> bool:
    """Is it a signed number of 32 bits?"""
    return -(1 << 31) <= number < 1 << 31


class Code:
    """A list of lines that grows, with the homes of the values it works on."""

    def __init__(self, homes: dict[Value, Home], prefix: str) -> None:
        self.lines: list[Line] = []
        self.origins: list[Step | End | None] = []
        self.failures: list[Failure] = []
        self._stubs: dict[Failure, str] = {}  # label of each fault that anything may go to
        self._homes = homes
        self._prefix = prefix
        self._fresh = 0
        self._slots = 0
        self.origin: Step | End | None = None

    def put(self, *lines: Line) -> None:
        """Append. Raises LimitError at the step that makes it too long."""
        for line in lines:
            self.lines.append(line)
            self.origins.append(self.origin)
            if isinstance(line, Instruction):
                self._slots += line.slots
        if self._slots > INSTRUCTIONS_MAX and self.origin is not None:
            raise too_many_instructions(self.origin.place)

    def put_all(self, lines: Iterable[Line]) -> None:
        """Append what somebody else makes."""
        self.put(*lines)

    def label(self) -> str:
        """A name that no other label has."""
        self._fresh += 1
        return f"{self._prefix}_{self._fresh}"

    def block_label(self, block: str) -> str:
        """The label of a block."""
        return f"{self._prefix}.{block}"

    def here(self, label: str) -> None:
        """The label is here."""
        self.put(Label(label))

    def fault(self, why: str, place: Place) -> str:
        """The label to go to for a fault."""
        failure = Failure(why, place)
        found = self._stubs.get(failure)
        if found is None:
            found = self._stubs[failure] = self.label()
        return found

    def stubs(self) -> None:
        """One for each fault that is gone to, out of the way: its number, and on to the caller.

        A read that cannot fail was given a label all the same; a stub for it would never be reached.
        """
        self.origin = None
        used = self.jumped_to()
        for failure, label in self._stubs.items():
            if label in used:
                self.here(label)
                self.put(move(R0, len(self.failures)), Goto(FAULT))
                self.failures.append(failure)

    def jumped_to(self) -> set[str]:
        """The labels that instructions name."""
        jumps = (line for line in self.lines if isinstance(line, Jump | Goto))
        return {jump.target for jump in jumps if isinstance(jump.target, str)}

    def home(self, value: Value) -> Home | None:
        """Where it lives; None where nothing reads it."""
        return self._homes.get(value)

    def register_of(self, operand: Operand) -> Reg | None:
        """The register an operand lives in; None for a number, null or what is in memory."""
        home = self._homes.get(operand) if isinstance(operand, Value) else None
        return home if isinstance(home, Reg) else None

    def into(self, register: Reg, operand: Operand) -> None:
        """register = operand."""
        if isinstance(operand, Value):
            home = self._homes[operand]
            if isinstance(home, Slot):
                self.put(Load(Width.U64, register, R10, home.offset))
            elif home is not register:
                self.put(move(register, home))
        else:
            self.put(move(register, operand.number if isinstance(operand, Const) else 0))

    def register(self, operand: Operand, scratch: Reg) -> Reg:
        """A register that has the operand now: its home, or scratch."""
        home = self.register_of(operand)
        if home is not None:
            return home
        self.into(scratch, operand)
        return scratch

    def source(self, operand: Operand, scratch: Reg) -> Reg | int:
        """The operand as the second of an instruction: a number where it fits."""
        if not isinstance(operand, Value) and self.is_source(operand):
            return operand.number if isinstance(operand, Const) else 0
        return self.register(operand, scratch)

    def is_source(self, operand: Operand) -> bool:
        """Can it be the second of an instruction as it is?"""
        if isinstance(operand, Const):
            return fits_immediate(operand.number)
        return not isinstance(operand, Value) or isinstance(self._homes[operand], Reg)

    def target(self, result: Value, *still_needed: Operand) -> Reg:
        """The register to compute a result in: its home, or r0 where that is in memory or still needed."""
        home = self._homes.get(result)
        if not isinstance(home, Reg) or any(self.register_of(operand) is home for operand in still_needed):
            return R0
        return home

    def store(self, result: Value, register: Reg) -> None:
        """The result is in register: bring it home."""
        home = self._homes.get(result)
        if isinstance(home, Slot):
            self.put(Store(Width.U64, R10, home.offset, register))
        elif home is not None and home is not register:
            self.put(move(home, register))

    def alu(self, op: AluOp, register: Reg, source: Reg | int) -> None:
        """register op= source."""
        self.put(Alu(op, register, source))

    def jump(self, op: JumpOp, register: Reg, source: Reg | int, label: str) -> None:
        """To the label if register op source."""
        self.put(Jump(op, register, source, label))
