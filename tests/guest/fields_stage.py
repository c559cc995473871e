"""Processes of all kinds that stand still, and each field of them twice: as the kernel read it, as the model has it.

Belongs here: making them, values for them, putting the two sides beside each other. Must not know: how the kernel read.
Runs in a guest, as root.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from typing import Any

from guest.fields_program import FAILED, NULL, Got
from guest.hook_stage import Tree
from guest.oom_stage import wait
from oompolicy.backends.hook.abi import TICK_NS, Entries, Entry, EntryFlag, memcg_key, task_key
from oompolicy.mm.oom import OomConstraint
from oompolicy.mm.oom import OomControl as KernelOomControl
from oompolicy.mm.sched import Task as KernelTask
from oompolicy.policy import OomControl, Task
from oompolicy.policy.verdict import Band
from oompolicy.policy.view import FailedReadError
from oompolicy.snapshot import Snapshot

# Faults a few pages on each CPU, fewer than a batch: the counter itself does not know of them.
SPREAD = """
import mmap, os, sys, time
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text("0")
Path("/proc/self/comm").write_text("spread")
Path("/proc/self/oom_score_adj").write_text("-500")
pieces = []
for cpu in sorted(os.sched_getaffinity(0)):
    os.sched_setaffinity(0, {cpu})
    for _ in range(3):
        pieces.append(mmap.mmap(-1, 13 * 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        for at in range(0, 13 * 4096, 4096):
            pieces[-1][at] = 1
with open(Path(sys.argv[2], "ready"), "a") as ready:
    ready.write(f"{os.getpid()}\\n")
time.sleep(100000)
"""


def tell(proof: str, **seen: object) -> None:
    print(json.dumps({"proof": proof, **seen}), flush=True)


def furnish(tree: Tree) -> None:
    """A tree of memcgs with and without limits, and a process of each kind."""
    tree.ledger.chmod(0o777)
    for file in tree.ledger.iterdir():
        file.chmod(0o666)
    tree.leaf("a/b", value=7, limit_mib=200)
    tree.leaf("a/c/d")
    (tree.path / "a/b/memory.min").write_text("3M")
    (tree.path / "a/memory.low").write_text("5M")
    tree.put("a/b", "anon", 12)
    tree.put("a/b", "shared", 6, "shmem")
    tree.put("a/b", "swapped", 5, "pageout", adj=-100)
    tree.put("a/c/d", "leaderless", 9, "thread")
    tree.put("a/c/d", "user", 3, "uid=1234", adj=-300)
    tree.put("a/c/d", "fifteen_letters", 2, "threads=3", adj=200)
    before = len(tree.lines("ready"))
    subprocess.Popen([sys.executable, "-c", SPREAD, str(tree.path / "a/b"), str(tree.ledger)])
    wait(lambda: len(tree.lines("ready")) > before)


def let_everything_settle() -> None:
    """What is freed or charged later comes to rest."""
    os.sync()
    time.sleep(0.5)


def values_of(snapshot: Snapshot, but: str | None = None, less: int = 0) -> Entries:
    """As the daemon publishes them: of each memcg the nearest value, but for one, which it has not seen yet."""
    found = {}
    for memcg in snapshot.kernel.memcgs:
        value = memcg.nearest_value
        if memcg.id is not None and memcg.path != but:
            flags = EntryFlag.NONE if value is None else EntryFlag.HAS_VALUE
            found[memcg_key(memcg.id)] = Entry(Band.DEFER, 0 if value is None else value - less, flags)
    return found


def task_values(snapshot: Snapshot, comm: str, value: int) -> Entries:
    found = {}
    for task in snapshot.kernel.tasks:
        if task.comm == comm and task.start_time_ns is not None:
            key = task_key(task.start_time_ns // TICK_NS, task.process_id)
            found[key] = Entry(Band.DEFER, value, EntryFlag.HAS_VALUE)
    return found


def compare(candidates: list[dict[str, Got]], snapshot: Snapshot, oc: KernelOomControl) -> dict[str, Any]:
    """comm -> field -> both sides; what is of the OOM alone the model takes over from the kernel."""
    found = {}
    now_ns = snapshot.taken_boottime_ns
    assert now_ns is not None
    for got in candidates:
        task = snapshot.task(got["task.tgid"].number)
        if "oc.order" in got:
            oc.totalpages = got["oc.totalpages"].number
            oc.order, oc.gfp_mask = got["oc.order"].number, got["oc.gfp_mask"].number
            oc.constraint = list(OomConstraint)[got["oc.constraint"].number]
            if got["oc.trigger.pid"].present != NULL:
                oc.trigger = snapshot.task(got["oc.trigger.tgid"].number)
        found[task.comm] = sides(got, task, oc, now_ns)
    return found


def sides(got: dict[str, Got], task: KernelTask, oc: KernelOomControl, now_ns: int) -> dict[str, list[Any]]:
    views = (Task(task, oc, now_ns, "task", {}), OomControl(oc, now_ns, {}))
    return {name: [of_kernel(each, name), of_model(name, *views)] for name, each in got.items()}


def of_kernel(got: Got, name: str) -> int | str | bool | None:
    if got.present == FAILED:
        return "fault"
    if got.present in (0, NULL):
        return None
    return bool(got.number) if "is_under" in name or "is_memcg_oom" in name else got.number


def of_model(name: str, task: Task, oc: OomControl) -> Any:
    """The same by the views that a policy in Python gets."""
    if name.endswith(("comm_0", "comm_1")):
        comm = of_model(name[:-2], task, oc)
        return None if comm is None else struct.unpack("=2q", comm.encode().ljust(16, b"\0"))[int(name[-1])]
    path, _, argument = name.partition(".is_under(")
    here: Any = {"task": task, "oc": oc}[path.split(".")[0]]
    try:
        for step in path.split(".")[1:]:
            if here is None:
                return None
            here = getattr(here, step)
        if not argument or here is None:
            return here
        argument = argument.removesuffix(")")
        other = argument if argument.startswith("/") else of_model(argument, task, oc)
        return None if other is None else here.is_under(other)
    except FailedReadError:
        return "fault"
