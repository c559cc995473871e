"""What a scorer sees: everybody at one look, and how much they have grown since the last.

Belongs here: the scene and its memory of sizes. Must not know: when looks are, what a value means.
"""

from __future__ import annotations

from dataclasses import dataclass

from oompolicy.mm.oom import Kernel
from oompolicy.mm.sched import Task as KernelTask
from oompolicy.policy.view import Memcg, Task

TaskIdentity = tuple[int, int]  # the process's id and its start: a pid that is used again is another


def task_identity(task: KernelTask) -> TaskIdentity:
    """The same as long as the process lives, and never another's."""
    return task.process_id, task.start_time_ns or 0


@dataclass(frozen=True, slots=True)
class Totals:
    """Sizes at one look, in pages. at_ns is from boot, None where that is not known."""

    at_ns: int | None
    of_tasks: dict[TaskIdentity, int]
    of_memcgs: dict[str, int]

    @classmethod
    def of(cls, kernel: Kernel, at_ns: int | None) -> Totals:
        """Resident and swapped pages of processes, memory.current of memcgs."""
        return cls(
            at_ns,
            {
                task_identity(task): (task.mm.rss_pages or 0) + (task.mm.swap_pages or 0)
                for task in kernel.tasks
                if task.mm is not None
            },
            {memcg.path: memcg.usage_pages for memcg in kernel.memcgs if memcg.usage_pages is not None},
        )


class Scene:
    """One look: all processes and memcgs, as a policy sees them (an OOM of the whole machine), and their growth."""

    __slots__ = ("_before", "_now", "memcgs", "tasks")

    def __init__(self, tasks: tuple[Task, ...], memcgs: tuple[Memcg, ...], now: Totals, before: Totals | None) -> None:
        self.tasks = tasks
        self.memcgs = memcgs
        self._now = now
        self._before = before

    @property
    def elapsed_ms(self) -> int | None:
        """Since the last look; None at the first, and where it is not known when this one was."""
        if self._before is None or self._before.at_ns is None or self._now.at_ns is None:
            return None
        return max(self._now.at_ns - self._before.at_ns, 0) // 1_000_000

    def growth(self, item: Task | Memcg) -> int | None:
        """Pages a second since the last look, less than 0 where it shrank; None where that is not known."""
        elapsed_ms = self.elapsed_ms
        if not elapsed_ms or self._before is None:
            return None
        if isinstance(item, Task):
            identity = task_identity(item._task)
            then, now = self._before.of_tasks.get(identity), self._now.of_tasks.get(identity)
        else:
            then, now = self._before.of_memcgs.get(item._memcg.path), self._now.of_memcgs.get(item._memcg.path)
        return None if then is None or now is None else (now - then) * 1000 // elapsed_ms

    @property
    def totals(self) -> Totals:
        """The sizes now, for the next look."""
        return self._now
