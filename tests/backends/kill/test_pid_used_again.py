"""A pid that really is another process's by now: the kernel is asked to give out the same number again.

Belongs here: used between the look and the kill, and between the hold and the signal. Must not know: other changes.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.kill.arena import Arena, arena_in, memory_hierarchy, rule
from oompolicy.backends.kill.process import End, Held, hold

pytestmark = pytest.mark.root

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
TRIES = 200


@pytest.fixture
def arena() -> Iterator[Arena]:
    with arena_in(memory_hierarchy()) as arena:
        yield arena


def child_in(arena: Arena) -> int:
    """A child of ours in the cgroup, which sleeps."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reading, 1)
        time.sleep(60)
        os._exit(0)
    os.close(reading)
    arena.memcg.add(pid)
    os.close(writing)
    return pid


def ended(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def another_with(pid: int, arena: Arena) -> int | None:
    """A new process with that pid, in the same cgroup, with the same name; None where others are quicker each time."""
    for _ in range(TRIES):
        LAST_PID.write_text(str(pid - 1))
        found = child_in(arena)
        if found == pid:
            return found
        ended(found)
    return None


@pytest.fixture
def first(arena: Arena) -> Iterator[int]:
    if not os.access(LAST_PID, os.W_OK):
        pytest.skip("this kernel gives out no number of one's choice (CONFIG_CHECKPOINT_RESTORE)")
    pid = child_in(arena)
    yield pid
    ended(pid)  # by then it is the second one's, which must be alive


def used_again(pid: int, arena: Arena) -> None:
    time.sleep(0.03)  # start times are told apart by hundredths of a second
    ended(pid)
    if another_with(pid, arena) is None:
        pytest.skip("others took the number each time")


def test_used_again_since_the_look_nobody_is_killed(arena: Arena, first: int) -> None:
    snapshot = arena.snapshot()
    (task,) = (each for each in snapshot.kernel.tasks if each.process_id == first)
    used_again(first, arena)
    outcome = arena.kill(rule(), snapshot)
    assert outcome.killed == 0
    assert outcome.failed == f"{task.comm} ({first}): {End.ANOTHER.value}"
    assert os.waitpid(first, os.WNOHANG) == (0, 0)


def test_used_again_since_it_is_held_nobody_is_hit(arena: Arena, first: int) -> None:
    """While a kill waits for its grace to be over, for one: the pidfd is still the first one's."""
    (task,) = (each for each in arena.snapshot().kernel.tasks if each.process_id == first)
    held = hold(arena.ground, task, arena.scope)
    assert isinstance(held, Held)
    used_again(first, arena)
    assert held.send(signal.SIGKILL) is End.GONE
    held.close()
    assert os.waitpid(first, os.WNOHANG) == (0, 0)
