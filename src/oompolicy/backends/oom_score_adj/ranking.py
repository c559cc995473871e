"""The order that a policy wants, in every scope in which the kernel may run out of memory.

Belongs here: which scopes there are, and their candidates in classes of equal points, worst first.
Must not know: adjustments.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import groupby

from oompolicy.backends.scopes import choosable, scopes_of
from oompolicy.errors import BackendError
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import OomControl
from oompolicy.mm.oom_kill import oom_badness
from oompolicy.mm.rules import Rules
from oompolicy.mm.sched import Task
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit, Candidate, Decision, Fault, decide
from oompolicy.policy.verdict import POINTS, Band
from oompolicy.snapshot import Snapshot

# What a task's policy points are less its badness. Tasks that share it differ by badness alone: as they grow, the
# policy's order of them changes exactly as the kernel's does.
Offset = int


@dataclass(frozen=True, slots=True)
class Member:
    """A candidate in one scope.

    number counts in Ranking.tasks. base_pages is what the kernel counts without oom_score_adj. offset is None
    where the policy's points do not move with the badness.
    """

    number: int
    base_pages: int
    points: int
    offset: Offset | None
    band: Band


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope of OOMs: the machine (path None), or a memcg with a limit of its own.

    unit_pages is what one step of oom_score_adj weighs in it. least_points is what the kernel raises points to, None
    where it does not. classes are worst first, each of equal points: no order is wanted inside one.
    """

    path: str | None
    totalpages: int
    unit_pages: int
    least_points: int | None
    classes: tuple[tuple[Member, ...], ...]

    @property
    def name(self) -> str:
        """The scope in words."""
        return "the machine" if self.path is None else self.path

    def kernel_points(self, member: Member, adj: int) -> int:
        """oom_badness() of a member with that adjustment."""
        points = member.base_pages + adj * self.unit_pages
        return points if self.least_points is None else max(points, self.least_points)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The order wanted, scope by scope; the machine first, then memcgs from the smallest limit to the largest.

    tasks carry the oom_score_adj that the policy saw. bands has the answers for each task over all its scopes.
    notes are sentences about scopes that were left out.
    """

    tasks: tuple[Task, ...]
    scopes: tuple[Scope, ...]
    bands: tuple[frozenset[Band], ...]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    page_size_bytes: int = 4096


def rank(
    snapshot: Snapshot, policy: Policy | None, within: str | None = None, limit: CallLimit = nullcontext
) -> Ranking:
    """Ask the policy in every scope; within a cgroup, only its tasks and the scopes at and below it count.

    Earlier victims on their way out are left out: the kernel waits for them, and then chooses among the others.
    Raises BackendError on kernels whose points are per mille (before 3.6), GoneError where there is no such cgroup.
    """
    if snapshot.kernel.rules.per_mille:
        raise BackendError("oom_score_adj", "this kernel counts points per mille", "it takes Linux 3.6 or later")
    root = None if within is None else snapshot.memcg(within)
    notes: list[str] = []
    machine = choosable(snapshot.kernel, root)
    numbers: dict[Task, int] = {}
    bands: list[set[Band]] = []
    faults: list[Fault] = []
    scopes = []
    for memcg, kernel in scopes_of(machine, notes):
        decision = decide(OomControl(kernel, memcg=memcg), policy, snapshot.taken_boottime_ns, limit)
        faults += decision.faults
        for candidate in decision.candidates:
            if candidate.task not in numbers:
                numbers[candidate.task] = len(numbers)
                bands.append(set())
            bands[numbers[candidate.task]].add(candidate.band)
        scopes.append(_scope(memcg, decision, numbers, kernel.rules))
    scopes.sort(key=lambda scope: (scope.path is not None, scope.totalpages, scope.path or ""))
    return Ranking(
        tuple(numbers),
        tuple(scopes),
        tuple(map(frozenset, bands)),
        tuple(faults),
        tuple(notes),
        snapshot.page_size_bytes,
    )


def _scope(memcg: MemCgroup | None, decision: Decision, numbers: dict[Task, int], rules: Rules) -> Scope:
    totalpages = decision.totalpages
    # ADJ_30 lowers a root task's adjustment by 30 steps: a constant, which _base_pages() has seen to.
    unit = totalpages // 1000
    members = (
        Member(
            numbers[candidate.task],
            _base_pages(candidate, totalpages, rules),
            candidate.points,
            _offset(candidate),
            candidate.band,
        )
        for candidate in decision.candidates
    )
    return Scope(
        None if memcg is None else memcg.path,
        totalpages,
        unit,
        1 if rules.clamp_to_one else None,
        tuple(tuple(equal) for _, equal in groupby(members, key=lambda member: member.points)),
    )


def _base_pages(candidate: Candidate, totalpages: int, rules: Rules) -> int:
    """oom_badness() at an oom_score_adj of 0, before it is raised to 1."""
    if not rules.clamp_to_one:
        return candidate.badness - candidate.task.oom_score_adj * (totalpages // 1000)
    base = oom_badness(replace(candidate.task, oom_score_adj=0), totalpages, replace(rules, clamp_to_one=False))
    assert base is not None  # it was a candidate
    return base


def _offset(candidate: Candidate) -> Offset | None:
    """See Offset. A score moves with the badness if the policy has looked at it."""
    offset = candidate.points - candidate.badness
    if candidate.band in (Band.KILL, Band.SPARE, Band.DEFER) or offset == POINTS[Band.PRESELECTED].base:
        return offset
    return offset if "task.badness" in candidate.reads else None
