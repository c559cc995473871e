"""What a scorer sees: everybody at one look, how they have changed, how short memory is, who was killed.

Belongs here: the scene. Must not know: files, when looks are, what a value means.
"""

from __future__ import annotations

from dataclasses import dataclass

from oompolicy.mistakes import nearest
from oompolicy.policy.view import Memcg, Task
from oompolicy.rules.fields import BY_NAME
from oompolicy.rules.look import MACHINE
from oompolicy.scoring.asked import Asked
from oompolicy.scoring.identity import TaskIdentity, task_identity
from oompolicy.scoring.memory import APART_MS, Sizes


@dataclass(frozen=True, slots=True)
class PastKill:
    """Somebody who was killed. at_ms is from boot, as Scene.at_ms; by: "kernel", or "rule NAME".

    scope: the cgroup that ran out, "/" for the machine, None where that is not known; why: in a sentence, if anybody
    tells.
    """

    at_ms: int
    pid: int
    comm: str
    cgroup: str | None
    by: str
    scope: str | None = None
    why: str = ""


@dataclass(slots=True)
class Given:
    """The values that a scorer has given, and when."""

    of_memcgs: dict[str, int]
    of_tasks: dict[TaskIdentity, int]
    at_ms: int = 0


class Scene:
    """One look: all processes and memcgs, as a policy sees them in an OOM of the whole machine, and what changes.

    Amounts in pages. at_ms: the time from boot, 0 where it is not known. kills: whom the daemon knows to have been
    killed since it began, the last one last.
    """

    __slots__ = ("_asked", "_before", "_given", "_now", "at_ms", "kills", "memcgs", "tasks")

    def __init__(
        self,
        who: tuple[tuple[Task, ...], tuple[Memcg, ...]],
        now: Sizes,
        before: tuple[Sizes, ...],
        asked: Asked,
        kills: tuple[PastKill, ...] = (),
    ) -> None:
        self.tasks, self.memcgs = who
        self.at_ms = now.at_ms
        self.kills = kills
        self._now = now
        self._before = tuple(each for each in before if now.at_ms - each.at_ms >= APART_MS)
        self._asked = asked
        self._given = Given({}, {})

    def seen_by(self, given: Given) -> Scene:
        """The same, with what this scorer gave before."""
        found = object.__new__(Scene)
        for name in self.__slots__:
            setattr(found, name, getattr(self, name))
        found._given = given
        return found

    @property
    def elapsed_ms(self) -> int | None:
        """Since the last look that is at least half a second ago; None where there is none."""
        return self.at_ms - self._before[0].at_ms if self._before else None

    def growth(self, item: Task | Memcg, over_ms: int = 0) -> int | None:
        """Pages a second since the last look, or over about so long; less than 0 where it shrank, None at first.

        The last minute is remembered, in steps of 5 s; who is younger than over_ms is measured since it was first seen.
        """
        now = _size(self._now, item)
        if now is None:
            return None
        found = None
        for sizes in self._before:
            then = _size(sizes, item)
            if then is None:
                break
            found = (now - then) * 1000 // (self.at_ms - sizes.at_ms)
            if self.at_ms - sizes.at_ms >= over_ms:
                break
        return found

    def allocation(self, item: Task | Memcg) -> int | None:
        """Pages a second that it has taken since the last look, those included that it has given back; None at first.

        A process's are its page faults; a memcg's the charges (v1) or page faults (v2) of all below it. A fault may
        bring a huge page, so growth counts where that is more. Who was not asked about at the last look, is at first.
        """
        if isinstance(item, Task):
            found = self._asked.faults_per_s(item._task)
        else:
            found = self._asked.charges_per_s(item._memcg.path)
        growth = self.growth(item)
        return growth if found is None else max(found, growth or 0)

    def over_protection(self, memcg: Memcg) -> int | None:
        """What it uses above the larger of memory.min and memory.low, less than 0 below; None for the root."""
        of = memcg._memcg
        return None if of.usage_pages is None else of.usage_pages - max(of.min_pages, of.low_pages)

    def path(self, memcg: Memcg) -> str:
        """Its path from the root, as PastKill.cgroup has it."""
        return memcg._memcg.path

    def read(self, name: str, memcg: Memcg | None = None) -> float | None:
        """A field of docs/conditions.md: of the machine ("psi.memory.some.avg10"), or of a memcg ("cgroup.…").

        None where it is not known. Raises KeyError for a name that is none.
        """
        if name not in BY_NAME:
            near = nearest(name, BY_NAME)
            raise KeyError(f"there is no field {name}" + (f": did you mean {near}?" if near else ""))
        return self._asked.field(BY_NAME[name], MACHINE if memcg is None else memcg._memcg.path)

    def earlier(self, item: Task | Memcg) -> int | None:
        """The value that this scorer gave it last; None where it gave none."""
        if isinstance(item, Task):
            return self._given.of_tasks.get(task_identity(item._task))
        return self._given.of_memcgs.get(item._memcg.path)


def _size(sizes: Sizes, item: Task | Memcg) -> int | None:
    if isinstance(item, Task):
        return sizes.of_tasks.get(task_identity(item._task))
    return sizes.of_memcgs.get(item._memcg.path)
