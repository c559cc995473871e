"""One OOM decided: the kernel's selection with a policy in the hook, and why it went as it did.

Belongs here: calling a policy under the safety contract, ranking, reasons. Must not know: sources, tables, actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from oompolicy.mistakes import line_in
from oompolicy.mm.limits import LONG_MAX, LONG_MIN
from oompolicy.mm.memcontrol import MemCgroup, mem_cgroup_is_descendant
from oompolicy.mm.oom import Exclusion, OomConstraint
from oompolicy.mm.oom import OomControl as KernelOomControl
from oompolicy.mm.oom_kill import OomOutcome, constrained_alloc, oom_badness, out_of_memory
from oompolicy.mm.sched import Task as KernelTask
from oompolicy.policy.api import Policy
from oompolicy.policy.verdict import DEFER, Band, Verdict, band_of, points_of
from oompolicy.policy.view import FailedReadError, Memcg, OomControl, Reads, Task

# Gives each call of a policy a limit on its time; raises PolicyTimeoutError inside it.
CallLimit = Callable[[], AbstractContextManager[object]]


class PolicyTimeoutError(BaseException):
    """A policy ran too long. Not an Exception, so that a policy's own `except Exception` cannot hold it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One call of a policy that failed; the task was ranked as if the policy had said DEFER (contract, line 3)."""

    task: KernelTask | None  # None: a part that is asked about all at once
    why: str
    line: int | None = None
    part: str = "preselection"

    @property
    def who(self) -> str:
        """Whom it was asked about, or which part of it was."""
        return f"its {self.part}" if self.task is None else f"{self.task.comm} ({self.task.process_id})"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A task that can be chosen, with what was compared and why."""

    rank: int  # 1 is chosen
    task: KernelTask
    points: int
    badness: int
    band: Band
    reads: Reads
    fault: Fault | None = None
    verdict: int | Verdict = DEFER  # what the policy said; a fault counts as DEFER

    @property
    def reason(self) -> str:
        """Why it has these points, in words."""
        if self.fault is not None:
            return f"policy faulted ({self.fault.why}): the kernel's badness"
        read = ", ".join(f"{name}={'None' if value is None else value}" for name, value in self.reads.items())
        if self.band is Band.DEFER:
            return f"the kernel's badness{f'; {read}' if read else ''}"
        said = {Band.KILL: "KILL", Band.SPARE: "SPARE", Band.PRESELECTED: "preselected"}.get(self.band, "scored")
        return f"{said} on {read}" if read else said


@dataclass(frozen=True, slots=True)
class Excluded:
    """A task that cannot be chosen, and why."""

    task: KernelTask
    why: Exclusion


@dataclass(frozen=True, slots=True)
class Decision:
    """The choice in one OOM. candidates are worst first: the first is chosen, the others are the runners-up."""

    outcome: OomOutcome
    candidates: tuple[Candidate, ...]
    excluded: tuple[Excluded, ...]
    faults: tuple[Fault, ...]
    policy_name: str

    @property
    def chosen(self) -> KernelTask | None:
        """The victim; None where nobody is killed."""
        return self.outcome.victim

    @property
    def chosen_points(self) -> int | None:
        """The points of the one chosen."""
        return self.outcome.oc.chosen_points

    @property
    def totalpages(self) -> int:
        """What the scope has, in pages."""
        return self.outcome.oc.totalpages

    @property
    def constraint(self) -> OomConstraint:
        """Which limit ran out."""
        return self.outcome.oc.constraint

    @property
    def is_tie(self) -> bool:
        """Has the runner-up the same points? Then the order of the scan decided."""
        return len(self.candidates) > 1 and self.candidates[0].points == self.candidates[1].points


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the policy has said of a task, and from what."""

    verdict: int | Verdict
    preselected: bool
    reads: Reads
    fault: Fault | None


class _Hook:
    """bpf_oom_score() with a policy attached: faults become DEFER, answers are kept for the reasons."""

    def __init__(self, policy: Policy, oc: KernelOomControl, now_ns: int | None, limit: CallLimit) -> None:
        self.policy = policy
        self.now_ns = now_ns
        self.limit = limit
        self.faults: list[Fault] = []
        self.answers: dict[KernelTask, _Answer] = {}
        self.timed_out = False
        self.preselected: _Preselected = self._preselect(oc)

    def __call__(self, task: KernelTask, oc: KernelOomControl, points: int) -> int:
        reads: Reads = {}
        preselected = self.preselected.holds(task)
        fault: Fault | None = None
        verdict: int | Verdict = DEFER
        if self.timed_out:
            fault = Fault(task, "not asked: it took too long for an earlier task")
        else:
            try:
                with self.limit():
                    view = Task(task, oc, self.now_ns, "task", reads)
                    verdict = checked_answer(self.policy(view, OomControl(oc, self.now_ns, reads)))
            except PolicyTimeoutError as timeout:
                self.timed_out = True
                fault = Fault(task, str(timeout))
            except Exception as error:
                fault = Fault(task, why_of(error), line_of(error, self.policy))
        if fault is not None:
            self.faults.append(fault)
            verdict = DEFER
        self.answers[task] = _Answer(verdict, preselected, reads, fault)
        return points_of(verdict, points, preselected)

    def _preselect(self, oc: KernelOomControl) -> _Preselected:
        preselection = self.policy.preselection
        if preselection is None:
            return _Preselected((), ())
        reads: Reads = {}
        scan: Sequence[KernelTask] = (
            oc.kernel.tasks if oc.memcg is None else tuple(oc.kernel.mem_cgroup_tasks(oc.memcg))
        )
        views = [Task(task, oc, self.now_ns, "task", reads) for task in scan]
        try:
            with self.limit():
                picked = list(preselection(views, OomControl(oc, self.now_ns, reads)))
            tasks = tuple(item._task for item in picked if isinstance(item, Task))
            memcgs = tuple(item._memcg for item in picked if isinstance(item, Memcg))
            if len(tasks) + len(memcgs) != len(picked):
                raise TypeError("a preselection names tasks and memcgs only")
        except (Exception, PolicyTimeoutError) as error:
            self.faults.append(Fault(None, why_of(error), line_of(error, self.policy)))
            return _Preselected((), ())
        return _Preselected(tasks, memcgs)


@dataclass(frozen=True, slots=True)
class _Preselected:
    """Whom the policy puts before all others."""

    tasks: tuple[KernelTask, ...]
    memcgs: tuple[MemCgroup, ...]

    def holds(self, task: KernelTask) -> bool:
        if task in self.tasks:
            return True
        memcg = task.memcg
        return memcg is not None and any(mem_cgroup_is_descendant(memcg, root) for root in self.memcgs)


def checked_answer(answer: object) -> int | Verdict:
    """The answer, if it is one a policy may give."""
    if isinstance(answer, Verdict):
        return answer
    if not isinstance(answer, int):
        raise TypeError(f"it returned {answer!r}, a {type(answer).__name__}; a policy returns an int or a verdict")
    if not LONG_MIN <= answer <= LONG_MAX:
        raise OverflowError("its score does not fit in 64 bits")
    return int(answer)


def why_of(error: BaseException) -> str:
    """What went wrong in a policy, in a few words."""
    if isinstance(error, FailedReadError | PolicyTimeoutError):
        return str(error)
    if isinstance(error, TypeError) and str(error).startswith(("it returned", "it gave")):
        return str(error)
    return f"{type(error).__name__}: {error}"


class OfAFile(Protocol):
    """A policy, or a scorer."""

    @property
    def function(self) -> Callable[..., object]: ...  # noqa: D102
    @property
    def source_path(self) -> str | None: ...  # noqa: D102


def line_of(error: BaseException, policy: OfAFile) -> int | None:
    """The last line of the policy's own file in the traceback; its first line where it only returned something bad."""
    line = line_in(error, policy.source_path)
    if line is not None:
        return line
    code = getattr(policy.function, "__code__", None)
    return None if code is None else int(code.co_firstlineno)


def decide(
    oc: KernelOomControl, policy: Policy | None, now_ns: int | None = None, limit: CallLimit = nullcontext
) -> Decision:
    """Run out of memory in the model, with a policy (None: the kernel alone), and keep who was weighed and why.

    now_ns is the snapshot's time from boot. The safety contract's lines 1 to 3 hold here: the kernel's exclusions
    come first, somebody is chosen whatever the policy says, and a fault counts as DEFER.
    """
    oc.constraint = constrained_alloc(oc)  # a preselection may read oc.totalpages
    hook = None if policy is None else _Hook(policy, oc, now_ns, limit)
    outcome = out_of_memory(oc) if hook is None else out_of_memory(oc, hook)
    answers = {} if hook is None else hook.answers
    weighed = [(index, item) for index, item in enumerate(oc.evaluated) if item.points is not None]
    last_wins = oc.kernel.rules.ties.last_wins(memcg_oom=oc.memcg is not None)
    weighed.sort(key=lambda pair: (pair[1].points, pair[0] if last_wins else -pair[0]), reverse=True)
    candidates = []
    for rank, (_, item) in enumerate(weighed, start=1):
        assert item.points is not None
        assert item.badness is not None
        candidates.append(_candidate(rank, item.task, item.points, item.badness, answers.get(item.task)))
    return Decision(
        outcome,
        tuple(candidates),
        tuple(Excluded(item.task, item.excluded) for item in oc.evaluated if item.excluded is not None),
        () if hook is None else tuple(hook.faults),
        "kernel_default" if policy is None else policy.name,
    )


def ask_about(
    tasks: Sequence[KernelTask],
    oc: KernelOomControl,
    policy: Policy,
    now_ns: int | None = None,
    limit: CallLimit = nullcontext,
) -> tuple[Candidate, ...]:
    """What the policy would say of tasks that need not exist, in an OOM of the tasks that do; in the order given.

    Those that could not be chosen are left out. Nobody is ranked: every rank is 0.
    """
    oc.constraint = constrained_alloc(oc)
    hook = _Hook(policy, oc, now_ns, limit)
    candidates = []
    for task in tasks:
        badness = oom_badness(task, oc.totalpages, oc.kernel.rules)
        if badness is not None:
            points = hook(task, oc, badness)
            candidates.append(_candidate(0, task, points, badness, hook.answers[task]))
    return tuple(candidates)


def _candidate(rank: int, task: KernelTask, points: int, badness: int, answer: _Answer | None) -> Candidate:
    if answer is None:
        return Candidate(rank, task, points, badness, Band.DEFER, {})
    band = band_of(answer.verdict, answer.preselected)
    return Candidate(rank, task, points, badness, band, answer.reads, answer.fault, answer.verdict)
