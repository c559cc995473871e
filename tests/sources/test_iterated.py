"""The task iterator's processes beside those of /proc: the same, read in two ways.

Belongs here: what both see, what only one of them can. Must not know: who is chosen. These run in guests, too.
"""

from __future__ import annotations

import errno
import os
import platform
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from oompolicy.bpf.errors import BpfError
from oompolicy.mm.sched import Mm, Task
from oompolicy.snapshot import Snapshot
from oompolicy.sources.iterated import IteratedMachine
from oompolicy.sources.live import live_snapshot
from oompolicy.sources.task_iterator import TaskIterator, records
from oompolicy.sources.task_iterator.loading import load_iterator
from sources.programs import HOLDS_MEMORY, IN_VFORK, LEADER_EXITS, SPAWNS, python

pytestmark = pytest.mark.root
IN_GUEST = "IN_GUEST" in os.environ
SYS_EXIT = {"x86_64": 60, "aarch64": 93, "riscv64": 93}.get(platform.machine())
# Counters lag by a batch per CPU (lib/percpu_counter.c); status may have exact sums.
LAG_PAGES = max(32, 2 * (os.cpu_count() or 1)) * (os.cpu_count() or 1)


@pytest.fixture
def look() -> Iterator[IteratedMachine]:
    try:
        machine = IteratedMachine(load_iterator())
    except BpfError as error:
        if IN_GUEST:
            raise
        pytest.skip(f"no task iterator here: {error}")
    yield machine
    machine.close()


def by_pid(snapshot: Snapshot) -> dict[int, Task]:
    return {task.process_id: task for task in snapshot.kernel.tasks}


def placed(task: Task) -> tuple[object, ...]:
    """What does not change by itself."""
    bare = replace(task, mm=None, memcg=None, comm="")
    names = tuple(getattr(bare, name) for name in bare.__slots__)
    return (*names, None if task.memcg is None else task.memcg.path, task.mm is None)


def test_both_ways_see_the_same_processes_in_the_same_order(look: IteratedMachine) -> None:
    with ExitStack() as stack:
        started = [
            stack.enter_context(python(HOLDS_MEMORY, str(mib), str(adj))).pid for mib, adj in ((30, 200), (3, 0))
        ]
        before, found, after = live_snapshot(), look(), live_snapshot()
    listed, told, still = by_pid(before), by_pid(found), by_pid(after)
    stayed = listed.keys() & still.keys()
    assert stayed <= told.keys()
    assert told.keys() <= listed.keys() | still.keys()
    for pid in stayed:
        assert placed(told[pid]) == placed(listed[pid]), told[pid]
        # /proc has a worker's work in its name, wq_worker_comm()
        assert told[pid].is_kthread or told[pid].comm == listed[pid].comm
    assert [pid for pid in told if pid in stayed] == [pid for pid in listed if pid in stayed]
    for pid in started:
        ours, theirs = told[pid].mm, listed[pid].mm
        assert ours is not None
        assert theirs is not None
        exact = ("rss_pages", "pgtables_pages", "total_vm_pages", "oom_skip")
        assert [getattr(ours, name) for name in exact] == [getattr(theirs, name) for name in exact]
        for name in ("rss_anon_pages", "rss_file_pages", "rss_shmem_pages", "swap_pages"):
            assert abs(getattr(ours, name) - getattr(theirs, name)) <= LAG_PAGES
    assert rss_of(told[started[0]]) > 30 * 256
    assert found.missing == before.missing
    assert [memcg.path for memcg in found.kernel.memcgs] == [memcg.path for memcg in before.kernel.memcgs]


def rss_of(task: Task) -> int:
    assert isinstance(task.mm, Mm)
    return task.mm.rss_pages


@pytest.mark.skipif(SYS_EXIT is None, reason="the number of exit(2) is not known for this processor")
def test_a_process_whose_leader_has_exited_is_its_living_thread(look: IteratedMachine) -> None:
    with python(LEADER_EXITS, str(SYS_EXIT)) as process:
        listed, task = live_snapshot().task(process.pid), look().task(process.pid)
    assert (task.tgid, task.comm, task.is_exiting) == (process.pid, "holder", False)
    assert task.pid == listed.pid != process.pid
    assert placed(task) == placed(listed)
    assert rss_of(task) == rss_of(listed)


def test_a_zombie_has_no_memory(look: IteratedMachine) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        task = look().task(pid)
        assert (task.mm, task.is_exiting) == (None, True)
    finally:
        os.waitpid(pid, 0)


def test_a_child_in_the_middle_of_vfork_is_seen(look: IteratedMachine, tmp_path: Path) -> None:
    with python(IN_VFORK, str(tmp_path / "fifo")) as process:
        snapshot = look()
        (child,) = snapshot.kernel.children(snapshot.task(process.pid))
        try:
            assert child.in_vfork
            assert not snapshot.task(process.pid).in_vfork
        finally:
            os.kill(child.pid, signal.SIGKILL)


def test_processes_that_come_and_go_are_never_mixed(look: IteratedMachine) -> None:
    with ExitStack() as stack:
        parents = {stack.enter_context(python(SPAWNS, str(adj))).pid: adj for adj in (601, 702, 803)}
        seen: Counter[str] = Counter()
        began = time.monotonic()
        # A child lives for a moment: as long as it takes until one of each has been seen, and two seconds at least.
        while (past_s := time.monotonic() - began) < 2 or (
            past_s < 20 and not all(seen[f"oomp-{adj}"] for adj in parents.values())
        ):
            for task in look().kernel.tasks:
                if task.comm.startswith("oomp-"):
                    seen[task.comm] += task.process_id not in parents
                    assert task.oom_score_adj == int(task.comm[5:])
    assert all(seen[f"oomp-{adj}"] for adj in parents.values()), seen


def test_where_the_iterator_fails_procfs_is_read(look: IteratedMachine) -> None:
    class Broken(TaskIterator):
        def read(self) -> bytes:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with Broken(os.dup(look._iterator.fileno())) as iterator:
        assert os.getpid() in by_pid(IteratedMachine(iterator)())


def test_the_iterator_lives_as_long_as_somebody_holds_its_descriptor(look: IteratedMachine) -> None:
    held = TaskIterator(os.dup(look._iterator.fileno()))
    look.close()
    try:
        assert os.getpid() in {record.tgid for record in records(held.read())}
    finally:
        held.close()
