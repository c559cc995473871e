"""A policy's part in user space: at each look its scorer gives tasks and memcgs the values that the policy reads.

Belongs here: what a scorer sees, calling it, what becomes of its values. Must not know: when the machine is looked at,
how values get into a kernel.

What a program in the kernel cannot do (sort, remember, compare with the last look) is done here, and its result is a
number that the policy looks up: the division of labour of the BPF_OOM_POLICY discussion (linux-mm, 2023).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import NamedTuple

from oompolicy.mm.limits import LONG_MAX, LONG_MIN
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import OomControl as KernelOomControl
from oompolicy.mm.oom_kill import constrained_alloc
from oompolicy.mm.sched import Task as KernelTask
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit, Fault, PolicyTimeoutError, line_of, why_of
from oompolicy.policy.scene import Scene, TaskIdentity, Totals, task_identity
from oompolicy.policy.view import Memcg, Reads, Task
from oompolicy.snapshot import Snapshot


class Scored(NamedTuple):
    """The snapshot with the scorer's values in it, and what went wrong."""

    snapshot: Snapshot
    fault: Fault | None = None


class Scoring:
    """A policy's scorer from look to look: it remembers the last one, so that growth can be told."""

    def __init__(self, policy: Policy, limit: CallLimit = nullcontext) -> None:
        self._policy = policy
        self._limit = limit
        self._totals: Totals | None = None
        self._of_memcgs: dict[str, int] = {}
        self._of_tasks: dict[TaskIdentity, int] = {}

    def scored(self, snapshot: Snapshot) -> Scored:
        """Ask the scorer about all that is there. Where it fails, its values of the last look stay."""
        scorer = self._policy.scoring
        if scorer is None:
            return Scored(snapshot)
        fault = None
        scene = _scene(snapshot, self._totals)
        try:
            with self._limit():
                self._take(list(_pairs(scorer(scene))))
        except (Exception, PolicyTimeoutError) as error:
            fault = Fault(None, why_of(error), line_of(error, self._policy), "scorer")
        self._totals = scene.totals
        return Scored(self._valued(snapshot), fault)

    def _take(self, pairs: list[tuple[object, object]]) -> None:
        of_memcgs: dict[str, int] = {}
        of_tasks: dict[TaskIdentity, int] = {}
        for item, value in pairs:
            if not isinstance(value, int):
                raise TypeError(f"it gave {item} {value!r}, a {type(value).__name__}; a value is a whole number")
            if not LONG_MIN <= value <= LONG_MAX:
                raise OverflowError(f"a value of {value} does not fit in 64 bits")
            if isinstance(item, Memcg):
                of_memcgs[item._memcg.path] = int(value)
            elif isinstance(item, Task):
                of_tasks[task_identity(item._task)] = int(value)
            else:
                raise TypeError(f"it gave a value to {item!r}; values are for tasks and memcgs")
        self._of_memcgs, self._of_tasks = of_memcgs, of_tasks

    def _valued(self, snapshot: Snapshot) -> Snapshot:
        memcgs: dict[MemCgroup, int | None] = {
            memcg: self._of_memcgs[memcg.path] for memcg in snapshot.kernel.memcgs if memcg.path in self._of_memcgs
        }
        tasks: dict[KernelTask, int | None] = {
            task: self._of_tasks[task_identity(task)]
            for task in snapshot.kernel.tasks
            if task_identity(task) in self._of_tasks
        }
        return snapshot.with_values(memcgs, tasks)


def _pairs(said: object) -> Iterable[tuple[object, object]]:
    if isinstance(said, Mapping):
        return said.items()
    if isinstance(said, Iterable):
        return ((pair[0], pair[1]) for pair in said)
    raise TypeError(f"it returned {said!r}; a scorer returns pairs of a task or memcg and its value")


def _scene(snapshot: Snapshot, before: Totals | None) -> Scene:
    """In the OOM of the whole machine, since there is none yet."""
    oc = KernelOomControl(snapshot.kernel)
    oc.constraint = constrained_alloc(oc)
    reads: Reads = {}
    now_ns = snapshot.taken_boottime_ns
    tasks = tuple(Task(task, oc, now_ns, "task", reads) for task in snapshot.kernel.tasks)
    memcgs = tuple(Memcg(memcg, "memcg", reads) for memcg in snapshot.kernel.memcgs)
    return Scene(tasks, memcgs, Totals.of(snapshot.kernel, now_ns), before)
