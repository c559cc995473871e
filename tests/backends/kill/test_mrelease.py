"""process_mrelease: the memory of a victim that cannot run, and so cannot end, comes back all the same.

Belongs here: a victim that v1's freezer holds. Must not know: victims that end by themselves.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.kill.arena import Arena, arena_in, memory_hierarchy, rule, wait_for
from oompolicy.rules.rule import Victim

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture
def arena() -> Iterator[Arena]:
    with arena_in(memory_hierarchy()) as arena:
        yield arena


@pytest.fixture
def freezer() -> Iterator[Path]:
    """A cgroup of v1's freezer; thawed and removed at the end."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    found = [mount[1] for mount in mounts if mount[2] == "cgroup" and "freezer" in mount[3].split(",")]
    if os.geteuid() != 0 or not found:
        pytest.skip("needs root and v1's freezer: what v2 freezes still dies of SIGKILL")
    folder = Path(found[0]) / f"oompolicy-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    (folder / "freezer.state").write_text("THAWED")
    wait_for(lambda: not (folder / "cgroup.procs").read_text())
    folder.rmdir()


def test_the_memory_of_a_victim_that_cannot_run_is_taken(arena: Arena, freezer: Path) -> None:
    victim = arena.workers.start("stuck", arena.memcg, 24)
    (freezer / "cgroup.procs").write_text(str(victim.pid))
    (freezer / "freezer.state").write_text("FROZEN")
    wait_for(lambda: (freezer / "freezer.state").read_text() == "FROZEN\n")
    arena.ground.start_reaper()
    before_bytes = arena.ground.usage_bytes(arena.scope) or 0
    started_s = time.monotonic()
    outcome = arena.kill(rule())
    assert outcome.victims == (Victim(victim.pid, "stuck"),)
    assert outcome.freed_bytes >= 24 * MIB
    assert time.monotonic() - started_s < 4, "before it was given up"
    assert before_bytes - (arena.ground.usage_bytes(arena.scope) or 0) >= 20 * MIB
    assert not victim.was_killed(), "it is still held"
    (freezer / "freezer.state").write_text("THAWED")
    wait_for(victim.was_killed)


def test_without_the_reaper_it_is_given_up(arena: Arena, freezer: Path) -> None:
    """What the test above would see if the memory were not taken."""
    victim = arena.workers.start("stuck", arena.memcg, 24)
    (freezer / "cgroup.procs").write_text(str(victim.pid))
    (freezer / "freezer.state").write_text("FROZEN")
    wait_for(lambda: (freezer / "freezer.state").read_text() == "FROZEN\n")
    assert arena.kill(rule()).failed == "no memory came back, and nobody else can be killed"
    assert not victim.was_killed()


def test_of_many_by_their_pids_the_living_keep_theirs(arena: Arena, freezer: Path) -> None:
    """As when a whole cgroup has been killed: a pid that is somebody else's by now, or nobody's, does no harm."""
    victims = [arena.workers.start(f"stuck{number}", arena.memcg, 16) for number in range(2)]
    other = arena.workers.start("other", arena.memcg, 16)
    for victim in victims:
        (freezer / "cgroup.procs").write_text(str(victim.pid))
    (freezer / "freezer.state").write_text("FROZEN")
    wait_for(lambda: (freezer / "freezer.state").read_text() == "FROZEN\n")
    for victim in victims:
        os.kill(victim.pid, signal.SIGKILL)
    before_bytes = arena.ground.usage_bytes(arena.scope) or 0
    arena.ground.start_reaper()
    arena.ground.reap_all([other.pid, (1 << 22) - 1, *(victim.pid for victim in victims)])
    wait_for(lambda: before_bytes - (arena.ground.usage_bytes(arena.scope) or 0) >= 28 * MIB)
    assert before_bytes - (arena.ground.usage_bytes(arena.scope) or 0) < 40 * MIB
    assert not other.was_killed()
