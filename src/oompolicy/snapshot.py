"""One frozen instant of a machine.

Belongs here: the kernel's state with what is known of its taking, and picking a scope in it.
Must not know: how it was read or written, policies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from oompolicy.errors import GoneError
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import Kernel, OomControl
from oompolicy.mm.sched import Task


class Details(Protocol):
    """What is read of a process only when it is asked for; None, or nothing, where it has gone or may not be read."""

    def exe(self, task: Task) -> str | None:
        """The path of the program's file."""

    def cmdline(self, task: Task) -> str | None:
        """Its arguments, joined by spaces."""

    def environment(self, task: Task) -> tuple[str, ...]:
        """NAME=TEXT, each, as it was given to the program."""


@dataclass(frozen=True)
class Snapshot:
    """The kernel's state at one instant.

    taken_boottime_ns is CLOCK_BOOTTIME, for ages; taken_unix_ns the wall clock, for people. missing says in words
    what could not be read. hierarchy is "v1", "v2" or None where there is no memory controller. details asks the
    machine for more, where it is at hand: not in a recording.
    """

    kernel: Kernel
    page_size_bytes: int = 4096
    taken_boottime_ns: int | None = None
    taken_unix_ns: int | None = None
    kernel_release: str | None = None
    hostname: str | None = None
    hierarchy: str | None = None
    missing: tuple[str, ...] = ()
    details: Details | None = field(default=None, compare=False, repr=False)

    def oom_control(self, scope: str | None = None) -> OomControl:
        """An OOM of the whole machine, or of the memcg at a path ("/system.slice/db.service").

        Raises GoneError where no such memcg is in the snapshot.
        """
        if scope is None or scope.strip("/") == "":
            return OomControl(self.kernel)
        return OomControl(self.kernel, memcg=self.memcg(scope))

    def memcg(self, path: str) -> MemCgroup:
        """The memcg at a path from the hierarchy's root. Raises GoneError where there is none."""
        found = self.kernel.memcg("/" + path.strip("/"))
        if found is None:
            raise GoneError(f"cgroup {path}", "does not exist here", "name it from the root, like /system.slice")
        return found

    def with_values(self, of_memcgs: Mapping[MemCgroup, int | None], of_tasks: Mapping[Task, int | None]) -> Snapshot:
        """The same instant with other opaque values; who is not named keeps its own."""
        if not of_memcgs and not of_tasks:
            return self
        changed: dict[MemCgroup, MemCgroup] = {}
        for memcg in self.kernel.memcgs:  # parents come before their children
            parent = None if memcg.parent is None else changed.get(memcg.parent, memcg.parent)
            changed[memcg] = replace(memcg, value=of_memcgs.get(memcg, memcg.value), parent=parent)
        tasks = tuple(
            replace(
                task,
                value=of_tasks.get(task, task.value),
                memcg=None if task.memcg is None else changed.get(task.memcg, task.memcg),
            )
            for task in self.kernel.tasks
        )
        return replace(self, kernel=replace(self.kernel, tasks=tasks, memcgs=tuple(changed.values())))

    def task(self, pid: int) -> Task:
        """The process of that pid. Raises GoneError where there is none."""
        for task in self.kernel.tasks:
            if task.same_process(pid):
                return task
        raise GoneError(f"pid {pid}", "no such process", "it has ended, or never was; `oompolicy rank` lists them")
