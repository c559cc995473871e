"""What scorers may ask, of this machine: processes and cgroups of our own, and what they really do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oompolicy.contained_oom import scene
from oompolicy.contained_oom.own_memcg import OwnMemcg, make_memcg, remove_tree
from oompolicy.errors import OompolicyError
from oompolicy.policy.view import Memcg, Task
from oompolicy.scoring import Scene, Scorer, Scoring
from oompolicy.sources.live import live_snapshot
from oompolicy.sources.senses import live_senses

# Takes 8 MiB and gives them back, again and again; the other one holds what it has.
CHURNS = "import mmap\nprint(flush=True)\nwhile True:\n m = mmap.mmap(-1, 8 << 20)\n m.madvise(15)\n" + (
    " for at in range(0, 8 << 20, 4096):\n  m[at] = 1\n m.close()\n"
)
HOLDS = "import time\nprint(flush=True)\nm = bytearray(b'x') * (32 << 20)\nprint(flush=True)\ntime.sleep(600)\n"
# A page that it had before it was moved into a memcg is not charged there: so it goes on for a while.
GROWS = (
    "import time\nprint(flush=True)\nm = []\n"
    "for _ in range(300):\n    m.append(bytearray(b'x') * (1 << 20))\n    time.sleep(0.01)\n"
)


@contextmanager
def running(program: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.fixture
def memcg() -> Iterator[OwnMemcg]:
    try:
        hierarchy = scene.memory_hierarchy()
        made = make_memcg(hierarchy.directory, hierarchy.version == "v1", f"oompolicy-test-senses-{os.getpid()}")
    except OompolicyError as error:
        pytest.skip(f"no memcg of our own here: {error}")
    try:
        yield made
    finally:
        remove_tree(made.path)


def looks(scorer: Scorer, number: int = 2) -> None:
    scoring = Scoring([scorer], senses=live_senses())
    for _ in range(number):
        scored = scoring.scored(live_snapshot())
        assert scored.faults == ()
        time.sleep(0.7)


def test_allocation_tells_one_that_takes_and_gives_back_from_one_that_holds() -> None:
    found: list[tuple[int | None, int | None]] = []
    with running(CHURNS) as churns, running(HOLDS) as holds:
        assert holds.stdout is not None
        holds.stdout.readline()  # it has all that it will have

        def allocations(scene: Scene) -> list[tuple[Task, int]]:
            tasks = {task.tgid: task for task in scene.tasks}
            found.append((scene.allocation(tasks[churns.pid]), scene.allocation(tasks[holds.pid])))
            return []

        looks(Scorer(allocations))
    fast, still = found[-1]
    assert found[0] == (None, None)
    assert (fast or 0) > 1000, found
    assert -100 < (-1000 if still is None else still) < 100, found


@pytest.mark.root
def test_a_memcg_s_allocation_is_that_of_its_processes(memcg: OwnMemcg) -> None:
    found: list[int | None] = []

    def allocations(scene: Scene) -> list[tuple[Memcg, int]]:
        found.append(next(scene.allocation(each) for each in scene.memcgs if each._memcg.path == memcg.scope))
        return []

    with running(CHURNS) as churns:
        memcg.add(churns.pid)
        looks(Scorer(allocations))
    assert found[0] is None
    assert (found[1] or 0) > 1000, found


def test_the_machine_s_pressure_and_swap_are_those_of_proc() -> None:
    found: dict[str, float | None] = {}

    def reads(scene: Scene) -> list[tuple[Task, int]]:
        for name in ("mem_total_mib", "swap_total_mib", "psi.memory.some.avg300", "psi.memory.some.now"):
            found[name] = scene.read(name)
        return []

    looks(Scorer(reads))
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    assert found["mem_total_mib"] == int(meminfo["MemTotal"].split()[0]) / 1024
    assert found["swap_total_mib"] == int(meminfo["SwapTotal"].split()[0]) / 1024
    if Path("/proc/pressure/memory").exists():
        assert found["psi.memory.some.avg300"] is not None
        assert found["psi.memory.some.now"] is not None


@pytest.mark.root
def test_a_memcg_s_kills_are_its_history(memcg: OwnMemcg) -> None:
    """A real OOM in a memcg of our own, told by the memcg's own counter."""
    found: list[float | None] = []

    def reads(scene: Scene) -> list[tuple[Memcg, int]]:
        mine = next(each for each in scene.memcgs if each._memcg.path == memcg.scope)
        found.append(scene.read("cgroup.events.oom_kill", mine))
        return []

    memcg.limit(16)
    scoring = Scoring([Scorer(reads)], senses=live_senses())
    scoring.scored(live_snapshot())
    with running(GROWS) as grows:
        memcg.add(grows.pid)
        for _ in range(200):
            if grows.poll() is not None:
                break
            time.sleep(0.05)
        else:
            pytest.fail("nobody was killed")
    scoring.scored(live_snapshot())
    assert found == [0.0, 1.0]


def test_of_what_has_gone_nothing_is_known() -> None:
    senses = live_senses()
    assert senses.cgroup("/no/such", ("memory.events",)) is None
    assert senses.charges("/no/such") is None
    with running(HOLDS) as process:
        task = live_snapshot().task(process.pid)
        assert senses.faults(task)
    assert senses.faults(task) is None
