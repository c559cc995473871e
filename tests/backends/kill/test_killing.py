"""Kills of real processes, all of them started here and in a cgroup of our own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends.kill.arena import (
    Arena,
    Script,
    arena_in,
    carried_out,
    memory_hierarchy,
    now_ms,
    rule,
    v2_hierarchy,
    wait_for,
)
from oompolicy.backends.kill import group, killing
from oompolicy.backends.kill.ground import Ground
from oompolicy.backends.kill.group import Group
from oompolicy.backends.kill.process import TICK_NS, End, Facts, Held, facts_of, hold, verify
from oompolicy.contained_oom.workers import Workers
from oompolicy.mm.oom import Kernel
from oompolicy.rules.protect import Protect
from oompolicy.rules.rule import Kill, Victim

pytestmark = pytest.mark.root

MIB = 1 << 20
SLEEPS = "print('ready', flush=True)\ntime.sleep(60)\n"


@pytest.fixture
def arena() -> Iterator[Arena]:
    with arena_in(memory_hierarchy()) as arena:
        yield arena


@pytest.fixture
def v2() -> Iterator[Arena]:
    with arena_in(v2_hierarchy()) as arena:
        yield arena


def test_the_worst_dies_alone_and_its_memory_is_told(arena: Arena) -> None:
    big = arena.workers.start("big", arena.memcg, 24)
    small = arena.workers.start("small", arena.memcg, 2)
    outcome = arena.kill(rule())
    assert (outcome.killed, outcome.failed, outcome.victims) == (1, None, (Victim(big.pid, "big"),))
    assert outcome.freed_bytes >= 24 * MIB
    wait_for(big.was_killed)
    assert not small.was_killed()
    assert arena.said == [f"rule test: cgroup {arena.scope}: it is a test: big ({big.pid}): killed"]


def test_the_reaper_takes_nothing_of_the_living_and_the_memory_of_the_killed(arena: Arena) -> None:
    worker = arena.workers.start("big", arena.memcg, 24)
    held = hold(arena.ground, arena.snapshot().kernel.tasks[0], arena.scope)
    assert isinstance(held, Held)
    held.send(signal.SIGSTOP)
    arena.ground.start_reaper()
    try:
        arena.ground.reap(held)
        time.sleep(0.1)
        assert not held.is_reaped
        held.send(signal.SIGKILL)
        arena.ground.reap(held)
        wait_for(lambda: held.is_reaped or held.has_ended())
    finally:
        arena.ground.close()
        held.close()
    wait_for(worker.was_killed)


def test_the_kill_does_not_fork_and_does_not_import(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    big = arena.workers.start("big", arena.memcg, 4)
    pending = arena.begin(rule())
    loaded = set(sys.modules)
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked"))
    monkeypatch.setattr(subprocess, "Popen", lambda *ignored, **more: pytest.fail("forked"))
    assert carried_out(pending).killed == 1
    assert set(sys.modules) == loaded
    wait_for(big.was_killed)


def test_who_died_between_choice_and_kill_is_passed_over(arena: Arena) -> None:
    big = arena.workers.start("big", arena.memcg, 8)
    small = arena.workers.start("small", arena.memcg, 2)
    pending = arena.begin(rule())
    big.end()
    outcome = carried_out(pending)
    assert outcome.victims == (Victim(small.pid, "small"),)
    assert arena.said[0].endswith(f"big ({big.pid}): passed over: {End.GONE.value}")


def test_a_pid_that_is_another_s_by_now_is_not_killed(arena: Arena) -> None:
    """As if the number had been used again: the process that has it started at another time than the one chosen."""
    worker = arena.workers.start("reused", arena.memcg, 4)
    snapshot = arena.snapshot()
    (task,) = snapshot.kernel.tasks
    assert task.start_time_ns is not None
    stale = replace(task, start_time_ns=task.start_time_ns - TICK_NS)
    outcome = arena.kill(rule(), replace(snapshot, kernel=replace(snapshot.kernel, tasks=(stale,))))
    assert outcome.killed == 0
    assert outcome.failed == f"reused ({worker.pid}): {End.ANOTHER.value}"
    assert not worker.was_killed()


def test_a_pidfd_of_one_that_has_ended_hits_nobody(arena: Arena) -> None:
    worker = arena.workers.start("ends", arena.memcg, 1)
    held = hold(arena.ground, arena.snapshot().kernel.tasks[0], arena.scope)
    assert isinstance(held, Held)
    worker.end()
    assert held.has_ended()
    assert held.send(signal.SIGKILL) is End.GONE
    assert verify(arena.ground, held, None) is End.GONE
    held.close()


def test_who_has_become_another_program_or_gone_elsewhere_is_not_killed(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = arena.workers.start("now", arena.memcg, 1)
    snapshot = arena.snapshot()
    (task,) = snapshot.kernel.tasks
    before_exec = replace(snapshot.kernel, tasks=(replace(task, comm="before"),))
    outcome = arena.kill(rule(), replace(snapshot, kernel=before_exec))
    assert outcome.failed == f"before ({worker.pid}): {End.CHANGED.value}"
    (arena.hierarchy.directory / "cgroup.procs").write_text(str(worker.pid))
    try:
        assert hold(arena.ground, task, arena.scope) is End.MOVED
    finally:
        arena.memcg.add(worker.pid)
    monkeypatch.setattr("oompolicy.backends.kill.process.adj_of", lambda ground, pid: -1000)
    assert hold(arena.ground, task, None) is End.SPARED
    assert not worker.was_killed()


def test_without_the_right_it_says_so_and_nobody_dies(arena: Arena) -> None:
    """In a child that has become another user, who may not signal root's processes."""
    worker = arena.workers.start("roots", arena.memcg, 1)
    pending = arena.begin(rule())
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        failed = pending.advance(now_ms())
        os.write(writing, str(None if failed is None else failed.failed).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 4096).decode() == f"roots ({worker.pid}): {End.REFUSED.value}"
    os.close(reading)
    os.close(writing)
    assert not worker.was_killed()


def test_asked_by_sigterm_it_may_end_by_itself(arena: Arena) -> None:
    with Script("signal.signal(15, lambda *a: sys.exit(3))\n" + SLEEPS, arena.memcg) as script:
        started = now_ms()
        outcome = arena.kill(rule(grace_ms=10_000))
        assert now_ms() - started < 5_000
        assert (outcome.killed, outcome.victims[0].pid == script.pid) == (1, True)
        wait_for(lambda: script.status() == 3)


def test_sigterm_ignored_is_followed_by_sigkill_and_the_loop_never_waits(arena: Arena) -> None:
    with Script("signal.signal(15, signal.SIG_IGN)\n" + SLEEPS, arena.memcg) as script:
        pending = arena.begin(rule(grace_ms=300))
        before = now_ms()
        assert pending.advance(before) is None
        assert now_ms() - before < 250
        assert pending.advance(before + 299) is None
        assert script.status() is None
        outcome = pending.advance(before + 300) or carried_out(pending)
        assert outcome.killed == 1
        wait_for(lambda: script.status() == -signal.SIGKILL)
    assert [line.rpartition(": ")[2] for line in arena.said] == ["asked by SIGTERM to end", "killed"]


def test_where_nothing_came_back_the_next_one_goes(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first gives nothing, as one whose memory all is somebody else's, too."""
    big = arena.workers.start("big", arena.memcg, 8)
    small = arena.workers.start("small", arena.memcg, 2)
    snapshot = arena.snapshot()
    tasks = []
    for task in snapshot.kernel.tasks:
        assert task.mm is not None
        empty = replace(task.mm, rss_pages=1 << 20, rss_anon_pages=0, swap_pages=0)
        tasks.append(replace(task, mm=empty) if task.comm == "big" else task)
    outcome = arena.kill(rule(), replace(snapshot, kernel=replace(snapshot.kernel, tasks=tuple(tasks))))
    assert outcome.victims == (Victim(big.pid, "big"), Victim(small.pid, "small"))
    assert outcome.killed == 2
    assert outcome.failed is None


def test_one_that_does_not_die_is_given_up_after_a_while(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = arena.workers.start("stuck", arena.memcg, 1)
    monkeypatch.setattr("oompolicy.backends.kill.process.signal.pidfd_send_signal", lambda fd, number: None)
    pending = arena.begin(rule())
    before = now_ms()
    assert pending.advance(before) is None
    assert pending.advance(before + killing.RETURN_WITHIN_MS - 100) is None
    outcome = pending.advance(before + killing.RETURN_WITHIN_MS + 1_000)
    assert outcome is not None
    assert outcome.failed == "no memory came back, and nobody else can be killed"
    assert not worker.was_killed()


FAMILY = """
def child(depth):
    pid = os.fork()
    if pid == 0:
        if depth: child(depth - 1)
        time.sleep(60)
        os._exit(0)
child(2)
child(0)
time.sleep(0.2)
print('ready', flush=True)
time.sleep(60)
"""


def test_a_tree_goes_whole_parents_first_and_others_stay(arena: Arena) -> None:
    bystander = arena.workers.start("bystander", arena.memcg, 1)
    with Script(FAMILY, arena.memcg) as script:
        arena.protect = Protect(comms=("bystander",))
        pids = arena.snapshot().kernel.tasks
        assert len(pids) == 6
        wanted = {script.pid}
        snapshot = arena.snapshot()
        root = tuple(task for task in snapshot.kernel.tasks if task.process_id in wanted)
        outcome = arena.kill(rule(Kill.TREE), replace(snapshot, kernel=replace(snapshot.kernel, tasks=root)))
        assert outcome.killed == 5
        assert outcome.victims[0].pid == script.pid
        wait_for(lambda: [task.comm for task in arena.snapshot().kernel.tasks if task.mm] == ["bystander"])
    assert not bystander.was_killed()


# Never more than 2 * 120 processes, whatever becomes of the test: it runs on somebody's machine.
FORKS_ON = """
print('ready', flush=True)
for number in range(120):
    if os.fork() == 0:
        time.sleep(0.02)
        os.fork()
        time.sleep(60)
        os._exit(0)
    time.sleep(0.004)
time.sleep(60)
"""


def forks_on(arena: Arena, script: Script) -> None:
    """Wait until it is at it."""
    wait_for(lambda: len(_pids(arena)) > 10)
    assert script.status() is None


def test_a_tree_that_forks_while_it_is_killed_goes_whole(arena: Arena) -> None:
    with Script(FORKS_ON, arena.memcg) as script:
        forks_on(arena, script)
        snapshot = arena.snapshot()
        root = tuple(task for task in snapshot.kernel.tasks if task.process_id == script.pid)
        outcome = arena.kill(rule(Kill.TREE), replace(snapshot, kernel=replace(snapshot.kernel, tasks=root)))
        assert outcome.killed > 10
        assert script.process.wait(timeout=5) == -signal.SIGKILL
        wait_for(lambda: not [task for task in arena.snapshot().kernel.tasks if task.mm])


def test_a_protected_descendant_and_all_below_it_stay(arena: Arena) -> None:
    program = "if os.fork() == 0:\n open('/proc/self/comm','w').write('guarded')\n if os.fork() == 0: time.sleep(60)\n"
    with Script(program + " time.sleep(60)\ntime.sleep(0.3)\n" + SLEEPS, arena.memcg):
        arena.protect = Protect(comms=("guarded",))
        outcome = arena.kill(rule(Kill.TREE))
        assert outcome.killed == 1
        assert [task.comm for task in arena.snapshot().kernel.tasks if task.mm] == ["guarded", "guarded"]


def test_a_whole_cgroup_goes_with_those_below_it_and_its_neighbour_stays(arena: Arena) -> None:
    doomed = arena.memcg.child("doomed")
    inner = doomed if arena.hierarchy.version == "v2" else doomed.child("inner")
    other = arena.memcg.child("other")
    with Workers() as workers:
        all_in = [workers.start("big", doomed, 8), workers.start("small", inner, 1)]
        bystander = workers.start("bystander", other, 2)
        outcome = arena.kill(rule(Kill.CGROUP))
        assert outcome.killed == 2
        assert outcome.freed_bytes >= 8 * MIB
        wait_for(lambda: all(worker.was_killed() for worker in all_in))
        assert not bystander.was_killed()


def test_the_worst_of_the_cgroups_compared_goes_whole(arena: Arena) -> None:
    """Though the largest process is in another one."""
    small, large = arena.memcg.child("small"), arena.memcg.child("large")
    arena.compared = ((f"{arena.scope}/large", (1.0,)), (f"{arena.scope}/small", (2.0,)))
    with Workers() as workers:
        doomed = [workers.start("first", small, 2), workers.start("second", small, 2)]
        bystander = workers.start("bystander", large, 12)
        outcome = arena.kill(rule(Kill.CGROUP, among=(f"{arena.scope}/*",), by=("cgroup.swap_mib",)))
        assert outcome.killed == 2
        wait_for(lambda: all(worker.was_killed() for worker in doomed))
        assert not bystander.was_killed()


def test_a_cgroup_in_which_somebody_must_stay_is_killed_one_by_one(arena: Arena) -> None:
    big = arena.workers.start("big", arena.memcg, 4)
    small = arena.workers.start("small", arena.memcg, 1)
    kept = arena.workers.start("kept", arena.memcg, 1)
    untouchable = arena.workers.start("untouchable", arena.memcg, 1)
    snapshot = arena.snapshot()
    adj = {"untouchable": -1000}
    tasks = tuple(replace(task, oom_score_adj=adj.get(task.comm, 0)) for task in snapshot.kernel.tasks)
    arena.protect = Protect(comms=("kept",))
    outcome = arena.kill(rule(Kill.CGROUP), replace(snapshot, kernel=replace(snapshot.kernel, tasks=tasks)))
    assert outcome.killed == 2
    wait_for(lambda: big.was_killed() and small.was_killed())
    assert not kept.was_killed()
    assert not untouchable.was_killed()


def test_a_cgroup_that_forks_while_it_is_killed_becomes_empty(arena: Arena) -> None:
    with Script(FORKS_ON, arena.memcg) as script:
        forks_on(arena, script)
        outcome = arena.kill(rule(Kill.CGROUP))
        assert outcome.failed is None
        assert script.process.wait(timeout=5) == -signal.SIGKILL
        assert not [task for task in arena.snapshot().kernel.tasks if task.mm]


def test_a_cgroup_removed_between_decision_and_kill_is_no_trouble(arena: Arena) -> None:
    doomed = arena.memcg.child("doomed")
    worker = arena.workers.start("in-it", doomed, 1)
    pending = arena.begin(rule(Kill.CGROUP))
    worker.end()
    doomed.path.rmdir()
    assert carried_out(pending).failed == f"in-it ({worker.pid}): {End.GONE.value}"


@pytest.mark.parametrize("name", ["tab\t and \\ ", "caf\udce9", "sp ace;$(x)"])
def test_a_cgroup_of_any_name_is_killed(arena: Arena, name: str) -> None:
    worker = arena.workers.start("in-it", arena.memcg.child(name), 1)
    outcome = arena.kill(rule(Kill.CGROUP))
    assert outcome.victims == (Victim(worker.pid, "in-it"),)
    wait_for(worker.was_killed)


def test_by_cgroup_kill_all_go_at_once(v2: Arena) -> None:
    if not (v2.memcg.path / "cgroup.kill").exists():
        pytest.skip("this kernel has no cgroup.kill (v5.14)")
    with Script(FORKS_ON, v2.memcg) as script:
        forks_on(v2, script)
        outcome = v2.kill(rule(Kill.CGROUP))
        assert outcome.killed > 10
        assert script.process.wait(timeout=5) == -signal.SIGKILL
        wait_for(lambda: "populated 0" in (v2.memcg.path / "cgroup.events").read_text())


def test_those_that_the_kernel_has_killed_whole_are_not_looked_at_again(
    v2: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds on their way out need the time on a CPU themselves; that a cgroup is empty is told by one file."""
    if not (v2.memcg.path / "cgroup.kill").exists():
        pytest.skip("this kernel has no cgroup.kill (v5.14)")
    listed: list[Path] = []
    listing = Group._listed

    def counted(self: Group, directory: Path) -> list[int]:
        listed.append(directory)
        return listing(self, directory)

    monkeypatch.setattr(Group, "_listed", counted)
    with Script(FORKS_ON, v2.memcg) as script:
        forks_on(v2, script)
        assert v2.kill(rule(Kill.CGROUP)).killed > 10
        assert script.process.wait(timeout=5) == -signal.SIGKILL
    assert len(listed) == 1


def test_who_goes_with_a_cgroup_is_not_read_again_before_all_are_killed(
    v2: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot tells who may go; a file of /proc for each of a fork bomb's hundreds would take seconds."""
    read: list[int] = []

    def noted(ground: Ground, pid: int) -> Facts | None:
        read.append(pid)
        return facts_of(ground, pid)

    monkeypatch.setattr(group, "facts_of", noted)
    forks = "for _ in range(20):\n    if os.fork() == 0: time.sleep(60)\n"
    with Script(forks + SLEEPS, v2.memcg):
        wait_for(lambda: len(_pids(v2)) == 21)
        assert v2.kill(rule(Kill.CGROUP)).killed == 21
    assert read == []


def test_cgroup_kill_is_not_used_where_somebody_must_stay(v2: Arena) -> None:
    """Nor is the cgroup frozen: who stays goes on."""
    forks = "if os.fork() == 0: time.sleep(60)\n"
    named = "open('/proc/self/comm', 'w').write('kept')\n"
    with Script(forks + SLEEPS, v2.memcg) as doomed, Script(named + SLEEPS, v2.memcg) as kept:
        v2.protect = Protect(comms=("kept",))
        outcome = v2.kill(rule(Kill.CGROUP))
        assert outcome.killed == 2
        assert doomed.process.wait(timeout=5) == -signal.SIGKILL
        assert _pids(v2) == [kept.pid]
        assert kept.status() is None
        assert (v2.memcg.path / "cgroup.freeze").read_text() == "0\n"


def test_without_cgroup_kill_it_is_frozen_killed_and_thawed(v2: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oompolicy.backends.kill.group.Group.kill_at_once", lambda self: False)
    with Script(FORKS_ON, v2.memcg) as script:
        forks_on(v2, script)
        assert v2.kill(rule(Kill.CGROUP)).killed > 10
        assert script.process.wait(timeout=5) == -signal.SIGKILL
        assert (v2.memcg.path / "cgroup.freeze").read_text() == "0\n"


def test_memory_oom_group_takes_the_cgroup_even_for_a_process_rule(v2: Arena) -> None:
    """On v1 there is no such file: the snapshot is given one that says so."""
    with Script(SLEEPS, v2.memcg), Script(SLEEPS, v2.memcg):
        snapshot = v2.snapshot()
        memcgs = tuple(replace(memcg, oom_group=memcg.path == v2.scope) for memcg in snapshot.kernel.memcgs)
        (group,) = (memcg for memcg in memcgs if memcg.oom_group)
        tasks = tuple(replace(task, memcg=group) for task in snapshot.kernel.tasks if task.memcg is not None)
        tasks = tuple(task for task in tasks if task.comm.startswith("python") and task.process_id in _pids(v2))
        grouped = replace(snapshot, kernel=Kernel(tasks, 1 << 20, memcgs=memcgs))
        assert v2.kill(rule(), grouped).killed == 2


def _pids(arena: Arena) -> list[int]:
    return [int(pid) for pid in (arena.memcg.path / "cgroup.procs").read_text().split()]


def test_with_no_descriptor_left_it_still_kills(arena: Arena) -> None:
    worker = arena.workers.start("big", arena.memcg, 2)
    pending = arena.begin(rule())
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        outcome = carried_out_without_poll(pending)
    finally:
        for fd in taken:
            os.close(fd)
    arena.ground.keep_spare()
    assert outcome == 1
    wait_for(worker.was_killed)


def carried_out_without_poll(pending: killing.Killing) -> int:
    for _ in range(200):
        outcome = pending.advance(now_ms())
        if outcome is not None:
            return outcome.killed
        time.sleep(0.01)
    raise AssertionError("it does not end")
