"""Cgroups and processes of a test's own, and an order carried out on them and on nobody else.

Belongs here: the memcg, the processes, snapshots that hold these alone. Must not know: what is tried on them.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from oompolicy.backends.kill.choose import Choice, choose
from oompolicy.backends.kill.ground import Ground
from oompolicy.backends.kill.guard import Guard
from oompolicy.backends.kill.killing import Killing, Tools
from oompolicy.backends.kill.pending import Pending, Runner
from oompolicy.backends.kill.shield import Shield
from oompolicy.contained_oom.janitor import Janitor
from oompolicy.contained_oom.own_memcg import OwnMemcg, make_memcg, remove_tree
from oompolicy.contained_oom.workers import Workers
from oompolicy.errors import OompolicyError
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import Kernel
from oompolicy.rules.preference import Preferences
from oompolicy.rules.protect import Protect
from oompolicy.rules.rule import Kill, Order, Other, Outcome, Rule
from oompolicy.snapshot import Snapshot
from oompolicy.sources.cgroup_mount import Hierarchy, find_memory_hierarchy
from oompolicy.sources.live import live_snapshot
from oompolicy.sources.procfs import Reading, capture_tasks, read_task

WITHIN_S = 20.0


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def rule(action: Kill | Other = Kill.PROCESS, name: str = "test", **fields: object) -> Rule:
    return replace(Rule(name, "always"), action=action, **fields)  # type: ignore[arg-type]


@dataclass
class Arena:
    """A memcg of ours. Nobody outside it is ever in a snapshot, and so nobody can be chosen."""

    memcg: OwnMemcg
    hierarchy: Hierarchy
    ground: Ground
    workers: Workers
    said: list[str] = field(default_factory=list)
    protect: Protect = field(default_factory=Protect)
    preferences: Preferences = field(default_factory=dict)
    runner: Runner | None = None
    compared: tuple[tuple[str, tuple[float | None, ...]], ...] = ()

    @property
    def scope(self) -> str:
        return self.memcg.scope

    def snapshot(self) -> Snapshot:
        """The machine, without anybody who is not in our cgroup."""
        return only_within(self._seen(), self.scope)

    def order(self, one: Rule) -> Order:
        return Order(one, self.scope, "it is a test", self.compared)

    def choice(self, order: Order, snapshot: Snapshot) -> Choice:
        return choose(order, snapshot, None, Shield(self.protect), self.preferences)

    def begin(self, one: Rule, snapshot: Snapshot | None = None) -> Killing:
        snapshot = only_within(snapshot or self.snapshot(), self.scope)
        assert all(is_ours(task.process_id, self) for task in snapshot.kernel.tasks)
        order = self.order(one)
        guard = Guard(self.ground, snapshot, Shield(self.protect), self.preferences)
        tools = Tools(self.ground, guard, self.runner, self.said.append)
        return Killing(tools, order, self.choice(order, snapshot), now_ms())

    def kill(self, one: Rule, snapshot: Snapshot | None = None) -> Outcome:
        return carried_out(self.begin(one, snapshot))

    def _seen(self) -> Snapshot:
        if find_memory_hierarchy(Path("/proc"), Path("/sys")) == self.hierarchy:
            return live_snapshot()
        return snapshot_by_hand(self.memcg, self.hierarchy)


def is_ours(pid: int, arena: Arena) -> bool:
    """Is it in our cgroup at this moment, or gone?"""
    try:
        path = arena.hierarchy.path_of(Path(f"/proc/{pid}/cgroup").read_bytes())
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z" or (path is not None and f"{path}/".startswith(f"{arena.scope}/"))


def carried_out(pending: Pending) -> Outcome:
    """What became of it, the way the loop does it."""
    deadline = time.monotonic() + WITHIN_S
    try:
        while True:
            outcome = pending.advance(now_ms())
            if outcome is not None:
                return outcome
            assert time.monotonic() < deadline, "it does not end"
            poll = select.poll()
            for fd in pending.fds():
                poll.register(fd, select.POLLIN)
            poll.poll(max(pending.wake_at_ms - now_ms(), 0))
    finally:
        pending.close()


def only_within(snapshot: Snapshot, scope: str) -> Snapshot:
    tasks = tuple(
        task
        for task in snapshot.kernel.tasks
        if task.memcg is not None and f"{task.memcg.path}/".startswith(f"{scope}/")
    )
    return replace(snapshot, kernel=replace(snapshot.kernel, tasks=tasks))


def snapshot_by_hand(memcg: OwnMemcg, hierarchy: Hierarchy) -> Snapshot:
    """Of a hierarchy that has no memory controller: the cgroups of ours and who is in them."""
    root = MemCgroup("/")
    memcgs = {"/": root}
    for directory, _, _ in os.walk(memcg.path):
        path = memcg.scope + directory[len(str(memcg.path)) :]
        memcgs[path] = MemCgroup(path, memcgs[path.rpartition("/")[0] or "/"])
    reading = Reading(4096, 10_000_000, lambda proc_cgroup: memcgs.get(hierarchy.path_of(proc_cgroup) or ""))
    tasks = tuple(read_task(captured, reading) for captured in capture_tasks(Path("/proc")).tasks)
    return Snapshot(Kernel(tasks, 1 << 20, memcgs=tuple(memcgs.values())), hierarchy=hierarchy.version)


@contextlib.contextmanager
def arena_in(hierarchy: Hierarchy) -> Iterator[Arena]:
    """A cgroup of ours in that hierarchy, and everything gone afterwards."""
    name = f"oompolicy-test-kill-{os.getpid()}"
    try:
        if (hierarchy.directory / name).exists():
            remove_tree(hierarchy.directory / name)
        is_bare = not (hierarchy.directory / "memory.usage_in_bytes").exists() and not _has_memory(hierarchy)
        memcg = _bare(hierarchy, name) if is_bare else make_memcg(hierarchy.directory, hierarchy.version == "v1", name)
    except OompolicyError as error:
        pytest.skip(f"no cgroup of our own here: {error}")
    ground = Ground(hierarchy.directory, hierarchy.version == "v1", hierarchy.path_of)
    with Janitor(memcg.path), Workers() as workers:
        yield Arena(memcg, hierarchy, ground, workers)
        ground.close()


def _has_memory(hierarchy: Hierarchy) -> bool:
    control = hierarchy.directory / "cgroup.subtree_control"
    return control.exists() and "memory" in control.read_text().split()


def _bare(hierarchy: Hierarchy, name: str) -> OwnMemcg:
    (hierarchy.directory / name).mkdir()
    return OwnMemcg(hierarchy.directory / name, f"/{name}", False)


def memory_hierarchy() -> Hierarchy:
    found = find_memory_hierarchy(Path("/proc"), Path("/sys"))
    if os.geteuid() != 0 or found is None:
        pytest.skip("needs root and a memory controller: makes a cgroup")
    return found


def v2_hierarchy() -> Hierarchy:
    """One of v2, with or without the memory controller: freezing and cgroup.kill are every cgroup's there."""
    if os.geteuid() == 0:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            if after.startswith("cgroup2 "):
                return Hierarchy(Path(before.split()[4]), "v2", before.split()[3])
    pytest.skip("needs root and a cgroup2 mount: makes a cgroup")


class Script:
    """A Python program of ours in a cgroup; it has said `ready` when this is made."""

    def __init__(self, program: str, memcg: OwnMemcg, *prefix: str) -> None:
        head = "import os, signal, sys, time\nsys.stdin.readline()\n"
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-I", "-S", "-c", head + program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        memcg.add(self.process.pid)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def status(self) -> int | None:
        return self.process.poll()

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):  # its children may hold the other end
            if stream is not None:
                stream.close()
