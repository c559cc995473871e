"""How long it takes to read all processes and memcgs of a machine, against plainer ways of reading the same fields.

Belongs here: making processes and cgroups to read, and the comparison. Must not know: what is done with a snapshot.

Run it: `python bench/snapshot.py [PROCESSES [CGROUPS]]`. psutil is compared where it is installed; cgroups are made,
and read, by root only.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from oompolicy.bpf.errors import BpfError
from oompolicy.sources.cgroup_mount import Hierarchy, find_memory_hierarchy
from oompolicy.sources.cgroupfs import read_memcgs
from oompolicy.sources.iterated import IteratedMachine
from oompolicy.sources.live import live_snapshot
from oompolicy.sources.procfs import capture_tasks
from oompolicy.sources.task_iterator.loading import load_iterator

PROC = Path("/proc")
FIELDS = (b"Uid", b"VmSize", b"RssAnon", b"RssFile", b"RssShmem", b"VmPTE", b"VmSwap")


@contextlib.contextmanager
def sleeping_processes(count: int) -> Iterator[None]:
    """So many children that do nothing; they end with the block."""
    pids = []
    try:
        for _ in range(count):
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            pids.append(pid)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


@contextlib.contextmanager
def empty_cgroups(count: int, hierarchy: Hierarchy) -> Iterator[None]:
    """So many memcgs, a hundred below each parent; they are removed with the block."""
    top = hierarchy.directory / f"oompolicy-bench-{os.getpid()}"
    made: list[Path] = []
    try:
        for index in range(count):
            parent = made[index - index % 100] if index % 100 else top
            path = parent / str(index) if index else top
            path.mkdir()
            made.append(path)
        yield
    finally:
        for path in reversed(made):
            path.rmdir()


def read_with_pathlib() -> int:
    """The four files by their paths as text, taken apart by lines: what a first version of this would do."""
    tasks = []
    for directory in PROC.iterdir():
        if not directory.name.isdecimal():
            continue
        try:
            status = dict(line.split(":", 1) for line in (directory / "status").read_text().splitlines())
            stat = (directory / "stat").read_text().rpartition(")")[2].split()
            adj = int((directory / "oom_score_adj").read_text())
            cgroup = (directory / "cgroup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        sizes = {name: status.get(name.decode()) for name in FIELDS}
        tasks.append((directory.name, status["Name"], sizes, stat[19], adj, cgroup))
    return len(tasks)


def read_with_psutil() -> int:
    """The fields that psutil knows of; it has neither oom_score_adj nor page tables nor cgroups."""
    psutil = importlib.import_module("psutil")
    wanted = ["pid", "ppid", "name", "uids", "memory_full_info", "create_time", "num_threads"]
    return sum(1 for _ in psutil.process_iter(wanted))


def median_ms(function: Callable[[], object], times: int = 7) -> float:
    """The median of some runs, in milliseconds."""
    taken = []
    for _ in range(times):
        gc.collect()
        start = time.perf_counter()
        function()
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


def main(processes: int, cgroups: int) -> None:
    """Print one line for each way of reading."""
    ways: list[tuple[str, Callable[[], object]]] = [("live_snapshot (everything)", live_snapshot)]
    try:
        ways.append(("by the task iterator (everything)", IteratedMachine(load_iterator())))
    except BpfError as error:
        print(f"no task iterator here: {error}")
    ways += [
        ("capture_tasks (its reading of /proc alone)", lambda: capture_tasks(PROC)),
        ("pathlib, as text, by lines", read_with_pathlib),
    ]
    if importlib.util.find_spec("psutil"):
        ways.append(("psutil (fewer fields)", read_with_psutil))
    with sleeping_processes(processes):
        total = len(live_snapshot().kernel.tasks)
        print(f"{total} processes")
        base = None
        for name, function in ways:
            ms = median_ms(function)
            base = base or ms
            print(f"{ms:8.1f} ms  {ms / base:5.2f}x  {name}")
    hierarchy = find_memory_hierarchy(PROC, Path("/sys"))
    if os.geteuid() == 0 and hierarchy is not None:
        with empty_cgroups(cgroups, hierarchy):
            found = len(read_memcgs(hierarchy, 4096, 60).in_order)
            ms = median_ms(lambda: read_memcgs(hierarchy, 4096, 60), times=3)
            print(f"{found} memcgs of cgroup {hierarchy.version}\n{ms:8.1f} ms         read_memcgs")


if __name__ == "__main__":
    main(*([int(argument) for argument in sys.argv[1:]] + [2000, 10_000][len(sys.argv) - 1 :]))
