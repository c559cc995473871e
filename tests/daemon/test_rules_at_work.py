"""What rules say, done by a daemon as a person starts it: dry runs, grace, trees, whole cgroups, what is protected.

Belongs here: one rule, one daemon, and who is alive afterwards. Must not know: the steps of a kill (backends/kill).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.kill.arena import Arena, Script, arena_in, memory_hierarchy
from daemon.killer import OVER_MIB, killer, rule, too_big, until
from oompolicy.service.own_time import PRIORITY

pytestmark = pytest.mark.root

GROWS = f"memory = bytearray({OVER_MIB + 8} << 20)\nprint('ready', flush=True)\ntime.sleep(60)\n"


@pytest.fixture
def arena() -> Iterator[Arena]:
    with arena_in(memory_hierarchy()) as arena:
        yield arena


def test_a_dry_run_says_whom_it_would_kill_and_kills_nobody(arena: Arena, trusted_folder: Path) -> None:
    rows = [rule("try", f"{arena.scope}/*", 'action = "kill"\ndry_run = true\nnotify = ["false"]')]
    with killer(trusted_folder, *rows) as daemon:
        worker = too_big(arena)
        assert f"dry run: would kill big ({worker.pid}), " in daemon.until_said("rule try: ")
        time.sleep(1)
        assert not worker.was_killed()
        assert not daemon.saying(": killed")
        daemon.stop()


def test_rules_go_first_where_that_is_allowed_and_the_helper_does_not(arena: Arena, trusted_folder: Path) -> None:
    rows = [rule("try", f"{arena.scope}/*", 'action = "kill"\npre_kill = ["true"]')]
    with killer(trusted_folder, *rows) as daemon:
        (helper,) = map(int, Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split())
        if daemon.saying("no real-time process"):
            pytest.skip("real-time threads are not allowed here")
        until(lambda: os.sched_getparam(daemon.pid).sched_priority == PRIORITY, why=lambda: daemon.log)
        assert os.sched_getparam(helper).sched_priority == 0
        daemon.stop()


@pytest.mark.parametrize(
    ("handler", "status", "said"),
    [
        ("signal.signal(15, signal.SIG_IGN)\n", -signal.SIGKILL, ["asked by SIGTERM to end", "killed"]),
        ("signal.signal(15, lambda *a: os._exit(3))\n", 3, ["asked by SIGTERM to end"]),
    ],
)
def test_asked_first_and_killed_when_the_grace_is_over(
    arena: Arena, trusted_folder: Path, handler: str, status: int, said: list[str]
) -> None:
    with killer(trusted_folder, rule("ask", f"{arena.scope}/*", 'action = "kill"\ngrace = "2s"')) as daemon:
        started_s = time.monotonic()
        with Script(handler + GROWS, arena.memcg.child("asked")) as script:
            until(lambda: script.status() is not None, why=lambda: daemon.log)
            assert script.status() == status
        until(lambda: len(daemon.saying("rule ask: ")) == len(said))
        assert [line.rpartition(": ")[2] for line in daemon.saying("rule ask: ")] == said
        assert status == 3 or time.monotonic() - started_s >= 2
        daemon.stop()


def test_of_a_tree_nobody_is_left_and_its_neighbour_lives(arena: Arena, trusted_folder: Path) -> None:
    family = "for _ in range(3):\n    if os.fork() == 0:\n        time.sleep(60)\n        os._exit(0)\n"
    home = arena.memcg.child("home")
    with killer(trusted_folder, rule("tree", f"{arena.scope}/*", 'action = "kill_tree"')) as daemon:
        neighbour = arena.workers.start("neighbour", home, 1)
        with Script(family + GROWS, home) as script:
            until(lambda: script.status() == -signal.SIGKILL, why=lambda: daemon.log)
            until(lambda: (home.path / "cgroup.procs").read_text() == f"{neighbour.pid}\n", why=lambda: daemon.log)
        daemon.stop()


def test_the_cgroup_that_holds_the_daemon_is_killed_but_for_the_daemon(arena: Arena, trusted_folder: Path) -> None:
    """By a rule that is about its own cgroup, and by the whole."""
    home = arena.memcg.child("home")
    rows = [rule("home", f"{arena.scope}/*", 'action = "kill_cgroup"\npre_kill = ["true"]')]
    with killer(trusted_folder, *rows) as daemon:
        helper = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
        for pid in (daemon.pid, *map(int, helper)):
            home.add(pid)
        worker = arena.workers.start("big", home, 1)
        worker.hold(OVER_MIB + 8)
        until(worker.was_killed, why=lambda: daemon.log)
        time.sleep(1)
        assert daemon.process.poll() is None
        assert (home.path / "cgroup.procs").read_text().split() == sorted([str(daemon.pid), *helper], key=int)
        daemon.stop()


def test_a_second_daemon_is_refused_and_the_first_goes_on_killing(arena: Arena, trusted_folder: Path) -> None:
    with killer(trusted_folder, rule("big", f"{arena.scope}/*")) as daemon:
        command = [sys.executable, "-m", "oompolicy", "run", "--config", str(trusted_folder / "oompolicy.toml")]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        assert f"another oompolicy (pid {daemon.pid}) is at work there" in second.stderr
        worker = too_big(arena)
        until(worker.was_killed, why=lambda: daemon.log)
        daemon.stop()
