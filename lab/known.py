"""The machine of an OOM report, with what the lab knows beside it: who is in which memcg, of which value.

Belongs here: filling in what no report prints, so that a policy can be asked. Must not know: what it answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from oompolicy.assign import Assignment, assigned
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import OomControl
from oompolicy.sources.oom_report import OomReport
from oompolicy.sources.oom_report.scene import to_scene

from lab.seen import Process
from lab.world import Cgroup, Limit, World, kib

PAGE_KIB = 4


def known_oom(report: OomReport, world: World, born: Sequence[Process], own_adj: bool) -> OomControl:
    """The OOM of a report in a world: tasks in their memcgs, and memcgs with what the report does not say of them.

    With own_adj, tasks have the oom_score_adj that they were started with; else what they had when it ran out.
    """
    scene = to_scene(report)
    kernel = scene.snapshot.kernel
    processes = {process.pid: process for process in born}
    scanned = [processes[task.process_id].cgroup for task in kernel.tasks if task.process_id in processes]
    memcgs = _memcgs(world, scanned, {memcg.path: memcg for memcg in kernel.memcgs})
    tasks = []
    for task in kernel.tasks:
        process = processes.get(task.process_id)
        if process is None:
            tasks.append(replace(task, memcg=memcgs["/"]))
        else:
            adj = process.oom_score_adj if own_adj else task.oom_score_adj
            tasks.append(replace(task, memcg=memcgs[process.cgroup], oom_score_adj=adj))
    kernel = replace(kernel, tasks=tuple(tasks), memcgs=tuple(memcgs.values()))
    snapshot = assigned(
        replace(scene.snapshot, kernel=kernel),
        [Assignment(row.value, row.cgroup, row.comm, row.uid) for row in world.assign],
    )
    oc = scene.oom_control(snapshot)
    oc.memcg = None if oc.memcg is None else snapshot.memcg(report.oom_memcg or "/")
    return oc


def _memcgs(world: World, scanned: Sequence[str], reported: dict[str, MemCgroup]) -> dict[str, MemCgroup]:
    """All memcgs by their paths, in the order in which the report's tasks show them; parents first."""
    memcgs: dict[str, MemCgroup] = {}
    in_order = [PurePosixPath(path) for path in ("/", *scanned, *sorted({*world.cgroup, *reported}))]
    for path in dict.fromkeys(str(each) for last in in_order for each in (*reversed(last.parents), last)):
        known = reported.get(path, MemCgroup(path))
        said = world.cgroup.get(path, Cgroup())
        memory = said.memory
        parent = None if path == "/" else memcgs[str(PurePosixPath(path).parent)]
        memcgs[path] = replace(
            known,
            parent=parent,
            value=said.value,
            min_pages=_pages(memory.min) or 0,
            low_pages=_pages(memory.low) or 0,
            high_pages=_pages(memory.high),
            max_pages=known.max_pages if known.max_pages is not None else _pages(memory.max),
            swap_max_pages=known.swap_max_pages or _pages(memory.swap.max),
            oom_group=bool(memory.oom.group),
        )
    return memcgs


def _pages(limit: Limit | None) -> int | None:
    return None if limit is None or limit == "max" else kib(limit) // PAGE_KIB
