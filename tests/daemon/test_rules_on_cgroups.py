"""The daemon as a process, with rules about cgroups that are really there: one is watched, others are killed in.

Only processes of these cgroups can be chosen: they are the rule's scope.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backends.kill.arena import Arena, arena_in, memory_hierarchy, wait_for
from daemon.test_process import running

RULE = """
[[rule]]
name = "others"
when = 'lasts(of("{scope}/watched", cgroup.current_mib > 12), 1) and not exists("{scope}/stop")'
scope = "{scope}"
action = "kill_cgroup"
among = "{scope}/job-*"
by = "cgroup.current_mib if cgroup.current_mib < 20 else 0"
cooldown = "1min"
"""


@pytest.mark.root
def test_the_watched_one_stays_and_the_worst_of_those_compared_goes_whole(trusted_folder: Path) -> None:
    with arena_in(memory_hierarchy()) as arena:
        watch(arena, trusted_folder)


def watch(arena: Arena, trusted_folder: Path) -> None:
    watched, large, middle, little = (arena.memcg.child(name) for name in ("watched", "job-1", "job-2", "job-3"))
    start = arena.workers.start
    bystanders = [start("watched", watched, 2), start("large", large, 24), start("little", little, 1)]
    doomed = [start("middle", middle, 6), start("beside", middle, 2)]
    path = trusted_folder / "oompolicy.toml"
    path.write_text(f'backend = "kill"\nstate_dir = "{trusted_folder}/state"\n{RULE.format(scope=arena.scope)}')
    with running([sys.executable, "-m", "oompolicy", "run", "--config", str(path)]) as daemon:
        bystanders[0].hold(10)
        line = daemon.until("killed")
        assert f"> 12 in {arena.scope}/watched for 1 s" in line
        assert f"all of cgroup {arena.scope}/job-2" in line
        wait_for(lambda: all(worker.was_killed() for worker in doomed))
        assert not any(worker.was_killed() for worker in bystanders)
        daemon.stop()
