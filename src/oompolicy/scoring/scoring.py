"""Scorers asked at a look, and what becomes of their values: how long they count, and what a failure leaves.

Belongs here: calling them under a limit, their values put on a snapshot. Must not know: when the machine is looked at,
how values get into a kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from oompolicy.mm.limits import LONG_MAX, LONG_MIN
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import OomControl as KernelOomControl
from oompolicy.mm.oom_kill import constrained_alloc
from oompolicy.mm.sched import Task as KernelTask
from oompolicy.policy.decision import CallLimit, Fault, PolicyTimeoutError, line_of, why_of
from oompolicy.policy.view import Memcg, Reads, Task
from oompolicy.scoring.asked import Asked, Senses
from oompolicy.scoring.identity import task_identity
from oompolicy.scoring.memory import Memory, Sizes
from oompolicy.scoring.scene import Given, PastKill, Scene
from oompolicy.scoring.scorer import Scorer
from oompolicy.snapshot import Snapshot

# One that took too long is asked again after so long: the daemon has other work.
RESTS_AFTER_TIMEOUT_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class ScorerFault:
    """A scorer that failed; its earlier values stay."""

    scorer: Scorer
    why: str
    line: int | None = None

    @property
    def in_words(self) -> str:
        """One line for the log."""
        place = "" if self.scorer.source_path is None else f" ({self.scorer.source_path}:{self.line})"
        return f"scorer {self.scorer.name}{place}: {self.why}: its earlier values stay"

    @property
    def of_policy(self) -> Fault:
        """The same as a fault of the policy that it is a part of."""
        return Fault(None, self.why, self.line, f"scorer {self.scorer.name}")


class Scored(NamedTuple):
    """The snapshot with the scorers' values in it, what went wrong, and lines for the log, each worth saying once."""

    snapshot: Snapshot
    faults: tuple[ScorerFault, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Case:
    """One scorer from look to look."""

    scorer: Scorer
    given: Given = field(default_factory=lambda: Given({}, {}))
    rests_until_ms: int = 0
    fault: ScorerFault | None = None


class Scoring:
    """Scorers from look to look; where several give a value to one, the last of them counts.

    senses: what they may ask the machine; ttl_ms: how long the values of one that fails count, None: for ever.
    """

    def __init__(
        self,
        scorers: Sequence[Scorer],
        limit: CallLimit = nullcontext,
        senses: Senses | None = None,
        ttl_ms: int | None = None,
    ) -> None:
        self._cases = tuple(_Case(scorer) for scorer in scorers)
        self._limit = limit
        self._senses = senses
        self._ttl_ms = ttl_ms
        self._memory = Memory()

    @property
    def has_any(self) -> bool:
        """Is there anybody to ask?"""
        return bool(self._cases)

    def obey(self, scorers: Sequence[Scorer], limit: CallLimit, ttl_ms: int | None) -> None:
        """Other scorers from now on; what is known of everybody's sizes stays."""
        self._cases = tuple(_Case(scorer) for scorer in scorers)
        self._limit, self._ttl_ms = limit, ttl_ms

    def scored(self, snapshot: Snapshot, kills: tuple[PastKill, ...] = ()) -> Scored:
        """Ask all of them about all that is there. Where one fails, its values of before stay until they expire."""
        if not self._cases:
            return Scored(snapshot)
        at_ms = (snapshot.taken_boottime_ns or 0) // 1_000_000
        sizes = Sizes.of(snapshot.kernel, at_ms)
        asked = Asked(at_ms, self._senses, self._memory.answers)
        scene = Scene(_who(snapshot), sizes, tuple(self._memory.before()), asked, kills)
        notes: list[str] = []
        for case in self._cases:
            if case.rests_until_ms <= at_ms:
                self._ask(case, scene)
            notes += self._expired(case, at_ms)
        if at_ms:
            self._memory.looked(sizes, asked.answers)
        faults = tuple(case.fault for case in self._cases if case.fault is not None)
        return Scored(self.as_before(snapshot), faults, (*(fault.in_words for fault in faults), *notes))

    def as_before(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with the values of the last time; nobody is asked."""
        for case in self._cases:
            snapshot = _valued(snapshot, case.given)
        return snapshot

    def _ask(self, case: _Case, scene: Scene) -> None:
        case.fault = None
        try:
            with self._limit():
                case.given = _checked(case.scorer(scene.seen_by(case.given)), scene.at_ms)
        except PolicyTimeoutError as timeout:
            case.rests_until_ms = scene.at_ms + RESTS_AFTER_TIMEOUT_MS
            why = f"{timeout} It is asked again in {RESTS_AFTER_TIMEOUT_MS // 1000} s"
            case.fault = ScorerFault(case.scorer, why, line_of(timeout, case.scorer))
        except (Exception, SystemExit) as error:  # who calls sys.exit() ends its own part, not the daemon
            case.fault = ScorerFault(case.scorer, why_of(error), line_of(error, case.scorer))

    def _expired(self, case: _Case, at_ms: int) -> tuple[str, ...]:
        """Where nothing has come of it for so long, it has no values any more."""
        given = case.given
        if self._ttl_ms is None or at_ms - given.at_ms <= self._ttl_ms or not (given.of_memcgs or given.of_tasks):
            return ()
        case.given = Given({}, {})
        return (f"scorer {case.scorer.name}: its values are older than {self._ttl_ms / 1000:g} s: they do not count",)


def _checked(said: object, at_ms: int) -> Given:
    """Its values, if they are what a scorer may give. Raises TypeError, OverflowError."""
    given = Given({}, {}, at_ms)
    for item, value in _pairs(said):
        if not isinstance(value, int):
            raise TypeError(f"it gave {item} {value!r}, a {type(value).__name__}; a value is a whole number")
        if not LONG_MIN <= value <= LONG_MAX:
            raise OverflowError(f"a value of {value} does not fit in 64 bits")
        if isinstance(item, Memcg):
            given.of_memcgs[item._memcg.path] = int(value)
        elif isinstance(item, Task):
            given.of_tasks[task_identity(item._task)] = int(value)
        else:
            raise TypeError(f"it gave a value to {item!r}; values are for tasks and memcgs")
    return given


def _pairs(said: object) -> Iterable[tuple[object, object]]:
    if isinstance(said, Mapping):
        return said.items()
    if isinstance(said, Iterable):
        return ((pair[0], pair[1]) for pair in said)
    raise TypeError(f"it returned {said!r}; a scorer returns pairs of a task or memcg and its value")


def _valued(snapshot: Snapshot, given: Given) -> Snapshot:
    if not (given.of_memcgs or given.of_tasks):
        return snapshot
    memcgs: dict[MemCgroup, int | None] = {
        memcg: given.of_memcgs[memcg.path] for memcg in snapshot.kernel.memcgs if memcg.path in given.of_memcgs
    }
    tasks: dict[KernelTask, int | None] = {
        task: given.of_tasks[task_identity(task)]
        for task in snapshot.kernel.tasks
        if task_identity(task) in given.of_tasks
    }
    return snapshot.with_values(memcgs, tasks)


def _who(snapshot: Snapshot) -> tuple[tuple[Task, ...], tuple[Memcg, ...]]:
    """In an OOM of the whole machine, since there is none yet."""
    oc = KernelOomControl(snapshot.kernel)
    oc.constraint = constrained_alloc(oc)
    reads: Reads = {}
    now_ns = snapshot.taken_boottime_ns
    tasks = tuple(Task(task, oc, now_ns, "task", reads) for task in snapshot.kernel.tasks)
    return tasks, tuple(Memcg(memcg, "memcg", reads) for memcg in snapshot.kernel.memcgs)
