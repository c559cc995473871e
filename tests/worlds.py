"""A machine as one literal, for tests.

Belongs here: building snapshots by hand. Must not know: what is tested with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import Kernel
from oompolicy.mm.rules import NEWEST, Rules
from oompolicy.mm.sched import Mm, Task
from oompolicy.snapshot import Snapshot

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def pages(size: int | str) -> int:
    """Pages of 4 kB: a number of pages, or a size like "3G", "200M"."""
    if isinstance(size, int):
        return size
    return int(float(size[:-1]) * UNITS[size[-1]]) // 4096


@dataclass(frozen=True)
class TaskSpec:
    comm: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class MemcgSpec:
    name: str
    fields: dict[str, Any]
    tasks: tuple[TaskSpec, ...]
    children: tuple[MemcgSpec, ...]


def task(comm: str, rss: int | str = 0, swap: int | str = 0, pgtables: int | str = 0, **fields: Any) -> TaskSpec:
    """A process; further fields are those of mm.sched.Task. mm=None makes one without memory."""
    anon = pages(rss)
    fields.setdefault("mm", Mm(anon, pages(swap), pages(pgtables), anon, 0, 0))
    return TaskSpec(comm, fields)


def memcg(
    name: str, *children: MemcgSpec, tasks: list[TaskSpec] | None = None, limit: int | str | None = None, **fields: Any
) -> MemcgSpec:
    """A memory cgroup; further fields are those of mm.memcontrol.MemCgroup, sizes like "3G" allowed."""
    for key, value in fields.items():
        if key.endswith("_pages") and isinstance(value, str):
            fields[key] = pages(value)
    fields["max_pages"] = None if limit is None else pages(limit)
    return MemcgSpec(name, fields, tuple(tasks or ()), children)


def machine(
    *specs: MemcgSpec | TaskSpec,
    totalpages: int | str = "4G",
    swap: int | str = 0,
    rules: Rules = NEWEST,
    now_ns: int = 10**12,
    **kernel_fields: Any,
) -> Snapshot:
    """A snapshot of memcgs under the root, and of tasks in the root."""
    root = MemCgroup("/", id=1)
    memcgs = [root]
    tasks: list[Task] = []
    pids = count(100)
    ids = count(2)

    def add_task(spec: TaskSpec, where: MemCgroup) -> None:
        fields = {"pid": next(pids), "start_time_ns": len(tasks) * 10**9, "memcg": where, **spec.fields}
        tasks.append(Task(comm=spec.comm, **fields))

    def add_memcg(spec: MemcgSpec, parent: MemCgroup) -> None:
        path = f"{parent.path.rstrip('/')}/{spec.name}"
        here = MemCgroup(path, parent, next(ids), **{"usage_pages": 0, "swap_pages": 0, **spec.fields})
        memcgs.append(here)
        for child_task in spec.tasks:
            add_task(child_task, here)
        for child in spec.children:
            add_memcg(child, here)

    for spec in specs:
        if isinstance(spec, TaskSpec):
            add_task(spec, root)
        else:
            add_memcg(spec, root)
    kernel = Kernel(tuple(tasks), pages(totalpages), pages(swap), tuple(memcgs), rules=rules, **kernel_fields)
    return Snapshot(kernel, taken_boottime_ns=now_ns, hierarchy="v2")


def with_rules(snapshot: Snapshot, rules: Rules) -> Snapshot:
    return replace(snapshot, kernel=replace(snapshot.kernel, rules=rules))
