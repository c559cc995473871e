"""The scopes in which the kernel may run out of memory, each with the part of the machine it can choose from.

Belongs here: which scopes there are, and who can be moved in them. Must not know: policies, how they become force.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from oompolicy.mm.memcontrol import MemCgroup, ancestors, mem_cgroup_is_descendant, mem_cgroup_is_root
from oompolicy.mm.oom import Kernel
from oompolicy.mm.sched import Task


def choosable(kernel: Kernel, root: MemCgroup | None) -> Kernel:
    """The machine with the tasks that a backend can move, all of them or those below a cgroup.

    sysctls that keep the kernel from choosing are off.
    """
    tasks = tuple(
        task
        for task in kernel.tasks
        if not task.is_oom_victim
        and not task.oom_task_origin
        and (root is None or (task.memcg is not None and mem_cgroup_is_descendant(task.memcg, root)))
    )
    return replace(kernel, tasks=tasks, sysctl_panic_on_oom=0, sysctl_oom_kill_allocating_task=False)


def scopes_of(kernel: Kernel, notes: list[str]) -> Iterator[tuple[MemCgroup | None, Kernel]]:
    """Each scope with the part of the machine that it can choose from; notes gets sentences about those left out."""
    yield None, kernel
    limited = [memcg for memcg in kernel.memcgs if memcg.max_pages is not None and not mem_cgroup_is_root(memcg)]
    parts: dict[str, tuple[list[MemCgroup], list[Task]]] = {}
    for memcg in limited:
        if memcg.oom_kill_disable:
            notes.append(f"{memcg.path}: memory.oom_control disables kills there: its tasks wait instead")
        else:
            parts[memcg.path] = ([], [])
    for memcg in kernel.memcgs:
        for above in ancestors(memcg):
            if above.path in parts:
                parts[above.path][0].append(memcg)
    for task in kernel.tasks:
        for above in () if task.memcg is None else ancestors(task.memcg):
            if above.path in parts:
                parts[above.path][1].append(task)
    for memcg in limited:
        if memcg.path in parts and parts[memcg.path][1]:
            memcgs, tasks = parts[memcg.path]
            yield memcg, replace(kernel, memcgs=tuple(memcgs), tasks=tuple(tasks))
