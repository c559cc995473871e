"""What `oompolicy history` tells of real kills: of a daemon's rules, and of the kernel.

Belongs here: one kill, and its line. Must not know: who is chosen, how a line is written.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.kill.arena import Arena, arena_in, memory_hierarchy
from daemon.killer import killer, rule, too_big, until

from conftest import Run

pytestmark = pytest.mark.root


@pytest.fixture
def arena() -> Iterator[Arena]:
    with arena_in(memory_hierarchy()) as arena:
        yield arena


def told_of(pid: int, lines: str) -> list[dict[str, Any]]:
    found = map(json.loads, lines.splitlines())
    return [line for line in found if pid in [victim["pid"] for victim in line["victims"]]]


def test_a_kill_of_a_rule_is_told_after_the_daemon_has_gone(
    arena: Arena, trusted_folder: Path, run_command: Run
) -> None:
    with killer(trusted_folder, rule("big", f"{arena.scope}/*")) as daemon:
        worker = too_big(arena)
        daemon.until_said("killed")
        until(worker.was_killed)
        until(lambda: (trusted_folder / "state/history").stat().st_size)
        daemon.process.kill()  # not stopped: nothing was left to be written
        daemon.process.wait()
    done = run_command("history", "--json", "--config", trusted_folder / "oompolicy.toml")
    (line,) = told_of(worker.pid, done.out)
    assert abs(time.time() - line["time_ms"] / 1000) < 60
    assert (line["by"], line["rule"], line["action"], line["failed"]) == ("rule", "big", "kill", None)
    assert line["scope"] == line["cgroup"] == f"{arena.scope}/big"
    assert line["freed_bytes"] > 16 << 20
    assert "cgroup.current_mib" in line["why"]


@pytest.mark.skipif(not os.access("/dev/kmsg", os.R_OK), reason="no /dev/kmsg")
def test_a_kill_of_the_kernel_is_told_though_no_daemon_ran(arena: Arena, tmp_path: Path, run_command: Run) -> None:
    arena.memcg.limit(32)
    worker = too_big(arena, memcg=arena.memcg.child("hog"))
    worker.hold(64)
    until(worker.was_killed)
    ended_s = time.time()
    done = run_command("history", "--json", "--state-dir", tmp_path / "none")
    (line,) = told_of(worker.pid, done.out)
    assert abs(ended_s - line["time_ms"] / 1000) < 30
    assert (line["by"], line["rule"], line["freed_bytes"]) == ("kernel", None, None)
    assert (line["scope"], line["cgroup"]) == (arena.scope, f"{arena.scope}/hog")
    assert "MiB" in line["why"]
