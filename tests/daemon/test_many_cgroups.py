"""Ten thousand cgroups: a daemon with a rule about each of them starts, looks, kills, and sees those that come.

Belongs here: the crowd, and times that a person would notice. Must not know: what a look costs exactly (bench/).
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.kill.arena import Arena, arena_in, memory_hierarchy
from daemon.killer import OVER_MIB, killer, rule, until
from oompolicy.contained_oom.own_memcg import OwnMemcg
from oompolicy.daemon.judging import Judging, files_of
from oompolicy.rules.judge import armed
from oompolicy.rules.rule import Rule
from oompolicy.sources.sensors import Sensors, Wanted

pytestmark = pytest.mark.root

COUNT = 10_000
# A look at all of them; measured: 0.35 s.
LOOK_WITHIN_S = 2.0
KILL_WITHIN_S = 30.0


@pytest.fixture(scope="module")
def crowd() -> Iterator[Arena]:
    """All of them below one of ours, a hundred in each of a hundred."""
    with arena_in(memory_hierarchy()) as arena:
        try:
            for number in range(COUNT // 100):
                for each in range(99):
                    (arena.memcg.path / f"{number}/{each}").mkdir(parents=True)
            yield arena
        finally:
            arena.workers.__exit__(None, None, None)
            for number in range(COUNT // 100):
                for each in range(99):
                    (arena.memcg.path / f"{number}/{each}").rmdir()


def of_crowd(crowd: Arena, name: str) -> OwnMemcg:
    return OwnMemcg(crowd.memcg.path / name, f"{crowd.scope}/{name}", crowd.memcg.is_v1)


def test_a_look_at_all_of_them_is_short(crowd: Arena) -> None:
    rules = [armed(Rule("big", f"cgroup.current_mib > {OVER_MIB}", scope=(f"{crowd.scope}/**",)))]
    started_s = time.monotonic()
    sensors = Sensors(Wanted(*files_of(rules)))
    try:
        judging = Judging(rules)
        judging.set_paths(sensors.paths)
        sensors.follow(judging.scopes)
        began_s = time.monotonic() - started_s
        assert len(judging.scopes) == COUNT
        looks_s = []
        for now_ms in (1_000, 2_000, 3_000):
            started_s = time.monotonic()
            assert judging.looked(sensors.read(now_ms)).orders == ()
            looks_s.append(time.monotonic() - started_s)
        print(f"{COUNT} cgroups: found in {began_s:.2f} s, a look takes {min(looks_s) * 1e3:.0f} ms")
        assert max(looks_s) < LOOK_WITHIN_S
    finally:
        sensors.close()


@pytest.mark.parametrize("descriptors", [0, 1024])
def test_one_among_them_is_killed(crowd: Arena, trusted_folder: Path, descriptors: int) -> None:
    """With descriptors for each, and where there are not enough to keep one open for each."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = descriptors or hard
    row = rule("big", f"{crowd.scope}/**", 'action = "kill_cgroup"')
    with killer(trusted_folder, row, prefix=("prlimit", f"--nofile={limit}:{limit}")) as daemon:
        worker = crowd.workers.start("big", of_crowd(crowd, "57/31"), 1)
        bystander = crowd.workers.start("bystander", of_crowd(crowd, "57/32"), 1)
        started_s = time.monotonic()
        worker.hold(OVER_MIB + 8)
        until(worker.was_killed, KILL_WITHIN_S, lambda: daemon.log)
        print(f"killed {time.monotonic() - started_s:.2f} s after it grew")
        assert not bystander.was_killed()
        assert daemon.until_said("killed")
        daemon.stop()


def test_one_that_comes_among_them_is_judged(crowd: Arena, trusted_folder: Path) -> None:
    with killer(trusted_folder, rule("big", f"{crowd.scope}/**")) as daemon:
        new = crowd.memcg.child("new")
        worker = crowd.workers.start("big", new, 1)
        worker.hold(OVER_MIB + 8)
        until(worker.was_killed, KILL_WITHIN_S, lambda: daemon.log)
        worker.end()
        until(lambda: not (new.path / "cgroup.procs").read_text())
        new.path.rmdir()
        daemon.stop()
