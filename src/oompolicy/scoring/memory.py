"""What is remembered from look to look, so that growth and rates can be told: sizes of the last minute, and answers.

Belongs here: which looks are kept. Must not know: who asks, how a number was read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from oompolicy.mm.oom import Kernel
from oompolicy.scoring.asked import Answers
from oompolicy.scoring.identity import TaskIdentity, task_identity

# Looks that events have brought on may follow each other closely: a rate over less than this says little.
APART_MS: Final = 500
# Of the looks before the last, one in so long is kept, for a minute.
KEPT_EVERY_MS: Final = 5_000
KEPT_FOR_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes at one look, in pages: resident and swapped ones of processes, memory.current of memcgs."""

    at_ms: int
    of_tasks: dict[TaskIdentity, int]
    of_memcgs: dict[str, int]

    @classmethod
    def of(cls, kernel: Kernel, at_ms: int) -> Sizes:
        """At this look."""
        return cls(
            at_ms,
            {
                task_identity(task): (task.mm.rss_pages or 0) + (task.mm.swap_pages or 0)
                for task in kernel.tasks
                if task.mm is not None
            },
            {memcg.path: memcg.usage_pages for memcg in kernel.memcgs if memcg.usage_pages is not None},
        )


class Memory:
    """Of the looks before this one."""

    def __init__(self) -> None:
        self._kept: list[Sizes] = []
        self._last: Sizes | None = None
        self.answers: Answers | None = None

    def before(self) -> Iterator[Sizes]:
        """The looks that are remembered, the last one first."""
        if self._last is not None:
            yield self._last
        yield from reversed(self._kept)

    def looked(self, sizes: Sizes, answers: Answers) -> None:
        """This look is over."""
        last = self._last
        if last is None:
            self._last = sizes
        elif sizes.at_ms - last.at_ms >= APART_MS:
            if not self._kept or last.at_ms - self._kept[-1].at_ms >= KEPT_EVERY_MS:
                self._kept.append(last)
            self._last = sizes
        self._kept = [each for each in self._kept if sizes.at_ms - each.at_ms <= KEPT_FOR_MS]
        if self.answers is None or answers.at_ms - self.answers.at_ms >= APART_MS:
            self.answers = answers
