"""What the lab says of a scenario on a kernel, as it is shown and as JSON.

Belongs here: the form of a result; its keys are documented in docs/lab.md. Must not know: how it was found out.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct


class Who(Struct, frozen=True):
    """A process, as a result names it."""

    pid: int
    comm: str
    cgroup: str


class Picked(Struct, frozen=True):
    """Whom a way of choosing picks; points is None where nobody was compared."""

    pid: int
    comm: str
    points: int | None


class Report(Struct, frozen=True):
    """One OOM report of the kernel's log: whom it names, whom the model picks, whom the round's policy picks.

    agrees and obeyed are None where they cannot be told, or nobody asked. has_table: are there tasks to choose from?
    """

    constraint: str | None
    oom_memcg: str | None
    has_table: bool
    killed: Picked | None
    model: Picked | None
    agrees: bool | None
    why_not: str | None
    policy: Picked | None = None
    obeyed: bool | None = None


class RoundVerdict(Struct, frozen=True):
    """One round: who died in the kernel's order, who lived, what was expected, and why it is not ok.

    took: the backend that auto took, and took_why in the daemon's words why not the hook; None without auto.
    """

    number: int
    about: str | None
    policy: str | None
    backend: str
    runs_out: str
    victims: list[Who]
    survivors: list[Who]
    expected: dict[str, object]
    ok: bool
    why: list[str]
    reports: list[Report]
    seconds: float | None
    timings_s: dict[str, float]
    skipped: str | None = None
    took: str | None = None
    took_why: str | None = None


class Result(Struct, frozen=True):
    """A scenario on one kernel. ok: every round was as expected, and the kernel was in no trouble.

    faults: why it was booted again, where the emulator had failed.
    """

    scenario: str
    about: str
    kernel: str
    ok: bool
    trouble: str | None
    rounds: list[RoundVerdict]
    log_problems: list[str]
    timings_s: dict[str, float]
    faults: list[str] = []


def to_json(result: Result) -> dict[str, object]:
    """A result as one object of JSON."""
    built = msgspec.to_builtins(result)
    assert isinstance(built, dict)
    return built
