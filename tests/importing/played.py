"""Imported rules over a series of readings, as the daemon judges them. Must not know: which tool they came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from oompolicy.importing.imported import Imported
from oompolicy.rules.judge import State, armed, ended, looked
from oompolicy.rules.ranking import worst_first
from oompolicy.rules.readings import CgroupReading, MachineReading, Pressure, Readings, Stall
from oompolicy.rules.rule import Outcome, Rule
from oompolicy.rules.scopes import in_scope

MIB = 1 << 20


@dataclass(frozen=True)
class Fired:
    """A rule has fired; victim: the cgroup that goes, "" of a rule that compares none."""

    at_s: int
    rule: str
    victim: str


def played(imported: Imported, looks: Iterable[Readings]) -> list[Fired]:
    """What is ordered at each look; whoever is to go is dead at once, and stays in the readings."""
    return list(_played([one.rule for one in imported.rules], looks))


def _played(rules: Sequence[Rule], looks: Iterable[Readings]) -> Iterable[Fired]:
    state, ready = State(), [armed(rule) for rule in rules]
    for now in looks:
        scopes = {rule.name: in_scope(rule, now.cgroups) for rule in rules}
        judgement = looked(state, ready, now, now.at_ms, scopes)
        state = judgement.state
        for order in judgement.orders:
            numbers = dict(order.compared)
            victims = worst_first(numbers, {}, order.rule.is_recursive, lambda path: False)
            yield Fired(now.at_ms // 1000, order.rule.name, victims[0] if victims else "")
            state = ended(state, Outcome(order, killed=1, freed_bytes=1, at_ms=now.at_ms), now.at_ms).state


def machine(available_percent: float = 50, swap_free_percent: float = 50, full10: float = 0) -> MachineReading:
    """Of 10,000 MiB, with 1000 MiB of swap."""
    return MachineReading(
        mem_total_bytes=10_000 * MIB,
        mem_available_bytes=int(available_percent * 100 * MIB),
        mem_free_bytes=int(available_percent * 50 * MIB),
        swap_total_bytes=1000 * MIB,
        swap_free_bytes=int(swap_free_percent * 10 * MIB),
        memory=Pressure(some=Stall(), full=Stall(avg10=full10)),
        scanned_pages=0,
    )


def cgroup(path: str, mib: float = 100, full10: float = 0, scanned: int = 0, swap_mib: float = 0) -> CgroupReading:
    """One that has no protection and no limit."""
    return CgroupReading(
        path,
        current_bytes=int(mib * MIB),
        swap_current_bytes=int(swap_mib * MIB),
        low_bytes=0,
        min_bytes=0,
        memory=Pressure(some=Stall(), full=Stall(avg10=full10)),
        scanned_pages=scanned,
    )


def at(at_s: int, of_machine: MachineReading | None = None, *cgroups: CgroupReading) -> Readings:
    return Readings(at_s * 1000, of_machine or machine(), {one.path: one for one in cgroups})
