"""Where each value lives: a register for as long as it is needed, or a slot of the frame.

Belongs here: linear scan over intervals. Must not know: what steps do. r0 and r1 are left to the emitter, which works
in them; only what the very next step takes from r0 may stay there.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from oompolicy.bpf.opcodes import R0, R2, R3, R4, R5, R6, R7, R8, R9, Reg
from oompolicy.compiler.emit.limits import STACK_BYTES_MAX, too_much_stack
from oompolicy.compiler.emit.liveness import Interval
from oompolicy.compiler.ir import OC, TASK, Value

SLOT_BYTES: Final = 8
ENTERED_WITH: Final = {TASK: R6, OC: R7}
_LOST_BY_CALLS: Final = (R2, R3, R4, R5)
_KEPT: Final = (R8, R9, R6, R7)
_ANY: Final = (*_LOST_BY_CALLS, *_KEPT)


@dataclass(frozen=True, slots=True)
class Slot:
    """8 bytes at r10 + offset."""

    offset: int

    def __str__(self) -> str:
        return f"[r10 {self.offset:+}]"


Home = Reg | Slot


@dataclass(frozen=True, slots=True)
class Allocation:
    """The home of every value that is read somewhere; stack_bytes: how much of the frame the slots take."""

    homes: Mapping[Value, Home]
    stack_bytes: int


def allocate(found: Iterable[Interval], frame_top: int) -> Allocation:
    """Registers first; the least used, for its length, goes to memory. Raises LimitError for too small a frame."""
    scan = _Scan()
    for interval in sorted(found, key=lambda interval: interval.start):
        if interval.goes_at_once:
            scan.registers[interval.value] = R0
        else:
            scan.place(interval)
    homes: dict[Value, Home] = dict(scan.registers)
    slots, stack_bytes = _slots(scan.spilled, frame_top)
    homes.update(slots)
    return Allocation(homes, stack_bytes)


class _Scan:
    def __init__(self) -> None:
        self.registers: dict[Value, Reg] = {}
        self.spilled: list[Interval] = []
        self._active: dict[Reg, Interval] = {}

    def place(self, interval: Interval) -> None:
        for over in [reg for reg, active in self._active.items() if active.end < interval.start]:
            del self._active[over]
        register = self._register_for(interval)
        if register is None:
            self.spilled.append(interval)
        else:
            self._active[register] = interval
            self.registers[interval.value] = register

    def _register_for(self, interval: Interval) -> Reg | None:
        if interval.value in ENTERED_WITH:
            return ENTERED_WITH[interval.value]
        allowed = _KEPT if interval.crosses_call else _ANY
        free = [register for register in allowed if register not in self._active]
        if free:
            return self._preferred(interval, free)
        register = min(allowed, key=lambda register: self._active[register].weight)
        victim = self._active[register]
        if victim.weight >= interval.weight:
            return None
        del self.registers[victim.value]
        self.spilled.append(victim)
        return register

    def _preferred(self, interval: Interval, free: list[Reg]) -> Reg:
        """The one that most of what becomes this value lies in: those moves are then none."""
        wanted = [self.registers[value] for value in interval.neighbours if value in self.registers]
        return max(free, key=lambda register: wanted.count(register)) if wanted else free[0]


def _slots(spilled: list[Interval], frame_top: int) -> tuple[dict[Value, Slot], int]:
    """Slots from frame_top down; one is used again as soon as its value is not needed any more."""
    slots: dict[Value, Slot] = {}
    busy: list[tuple[int, int]] = []  # (end, number)
    idle: list[int] = []
    count = 0
    for interval in sorted(spilled, key=lambda interval: interval.start):
        while busy and busy[0][0] < interval.start:
            heapq.heappush(idle, heapq.heappop(busy)[1])
        if idle:
            number = heapq.heappop(idle)
        else:
            number, count = count, count + 1
        if count * SLOT_BYTES > STACK_BYTES_MAX + frame_top:
            raise too_much_stack(interval.place, count * SLOT_BYTES, STACK_BYTES_MAX + frame_top)
        heapq.heappush(busy, (interval.end, number))
        slots[interval.value] = Slot(frame_top - SLOT_BYTES * (number + 1))
    return slots, count * SLOT_BYTES
