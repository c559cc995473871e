"""Readings and looks as one literal, and a condition's answers over a time series. Must not know: what is tested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from oompolicy.rules.condition import Answer, Memory
from oompolicy.rules.look import Look
from oompolicy.rules.readings import CgroupReading, MachineReading, Pressure, Readings, Stall
from oompolicy.rules.syntax import parse_condition

MIB = 1 << 20


def machine(
    available: int = 8000, total: int = 10_000, swap_free: int = 1000, swap_total: int = 1000, full10: float = 0.0
) -> MachineReading:
    """Amounts in MiB."""
    return MachineReading(
        mem_total_bytes=total * MIB,
        mem_available_bytes=available * MIB,
        mem_free_bytes=available * MIB // 2,
        swap_total_bytes=swap_total * MIB,
        swap_free_bytes=swap_free * MIB,
        memory=Pressure(some=Stall(), full=Stall(avg10=full10)),
    )


def cgroup(path: str, current: int = 100, full10: float = 0.0, **rest: Any) -> CgroupReading:
    return CgroupReading(
        path, current_bytes=current * MIB, memory=Pressure(some=Stall(), full=Stall(avg10=full10)), **rest
    )


def readings(at_ms: int, of_machine: MachineReading | None = None, *cgroups: CgroupReading) -> Readings:
    return Readings(at_ms, of_machine or machine(), {found.path: found for found in cgroups})


def answers(text: str, series: Iterable[Readings], scope: str = "/") -> Iterator[Answer]:
    """What a condition says at each look, from a blank memory on."""
    condition, memory, before = parse_condition(text), Memory(), None
    for now in series:
        answer, memory = condition.judge(Look(now, scope, before), memory)
        before = now
        yield answer
