"""One contained OOM: a big important process and a small unimportant one share a memcg, and it runs out.

Belongs here: the sizes, the order of events, what is known afterwards. Must not know: policies, how it is shown.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from oompolicy.contained_oom.janitor import Janitor
from oompolicy.contained_oom.own_memcg import OwnMemcg, make_memcg, remove_tree
from oompolicy.contained_oom.workers import Worker, Workers
from oompolicy.errors import BackendError, PrivilegeError
from oompolicy.sources.cgroup_mount import Hierarchy, find_memory_hierarchy
from oompolicy.sources.kmsg import KernelLog

BIG, SMALL = "database", "batch"
LIMIT_MIB, BIG_MIB, SMALL_MIB, GROWTH_MIB = 128, 80, 32, 24
DIES_WITHIN_S = 20.0
LOGGED_WITHIN_S = 5.0
FOLLOWS_WITHIN_S = 0.1
PANIC_ON_EVERY_OOM = 2


@dataclass(frozen=True, slots=True)
class Scene:
    """The stage before the memcg runs out: its path from the root, and the two processes in it."""

    scope: str
    big: Worker
    small: Worker


@dataclass(frozen=True, slots=True)
class Ending:
    """What the kernel did: who was killed, by wait(2) and not by the log; the log's records, None where unreadable.

    Two may be killed for one OOM, with or without a policy: the kernel marks a victim as done (MMF_OOM_SKIP) before
    all its pages are given back, and whoever still asks for memory in between makes it choose again.
    """

    killed: tuple[Worker, ...]
    big_got_its_memory: bool
    records: tuple[bytes, ...] | None


def memory_hierarchy() -> Hierarchy:
    """The memory hierarchy to make a memcg in.

    Raises PrivilegeError without root, BackendError where there is none, or where an OOM would not stay in it.
    """
    if os.geteuid() != 0:
        raise PrivilegeError("a contained OOM", "making a memcg needs root", "sudo oompolicy demo")
    hierarchy = find_memory_hierarchy(Path("/proc"), Path("/sys"))
    if hierarchy is None:
        raise BackendError("a contained OOM", "no memory controller is mounted", "see `oompolicy doctor`")
    if int(Path("/proc/sys/vm/panic_on_oom").read_text()) == PANIC_ON_EVERY_OOM:
        raise BackendError(
            "vm.panic_on_oom", "is 2: an OOM in a memcg would panic this machine", "sysctl vm.panic_on_oom=0"
        )
    return hierarchy


@contextlib.contextmanager
def memcg_of_our_own(hierarchy: Hierarchy) -> Iterator[OwnMemcg]:
    """A limited memcg, gone when the `with` is left, however it is left."""
    memcg = make_memcg(hierarchy.directory, hierarchy.version == "v1", f"oompolicy-demo-{os.getpid()}")
    with Janitor(memcg.path):
        memcg.limit(LIMIT_MIB)
        yield memcg


def play(memcg: OwnMemcg, before: Callable[[Scene], None]) -> Ending:
    """Fill the memcg, call before(scene), let the big process ask for more than fits, and see who dies."""
    with contextlib.ExitStack() as stack:
        log = _kernel_log(stack)
        children = [memcg.child(BIG), memcg.child(SMALL)]
        for child in children:
            stack.callback(remove_tree, child.path)
        workers = stack.enter_context(Workers())
        big = workers.start(BIG, children[0], BIG_MIB)
        small = workers.start(SMALL, children[1], SMALL_MIB)
        before(Scene(memcg.scope, big, small))
        got_it = big.hold(GROWTH_MIB)
        killed = _all_killed((big, small))
        records = None
        if log is not None:
            records = tuple(log.wait_for(b"Killed process", LOGGED_WITHIN_S))
        return Ending(killed, got_it, records)


def _all_killed(workers: tuple[Worker, ...]) -> tuple[Worker, ...]:
    """Those whom SIGKILL has ended: one within DIES_WITHIN_S, and who follows it at once; empty where none dies."""
    deadline = time.monotonic() + DIES_WITHIN_S
    while time.monotonic() < deadline and not any(worker.was_killed() for worker in workers):
        time.sleep(0.01)
    time.sleep(FOLLOWS_WITHIN_S)
    return tuple(worker for worker in workers if worker.was_killed())


def _kernel_log(stack: contextlib.ExitStack) -> KernelLog | None:
    try:
        return stack.enter_context(KernelLog())
    except OSError:
        return None
