"""Faults around a daemon that is to kill: it kills all the same, or says in one line why not, and goes on.

Belongs here: one test for each fault, on a real daemon with real processes. Must not know: how it gets by.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.kill.arena import Arena, arena_in, memory_hierarchy
from daemon.killer import OVER_MIB, Killer, configure, killer, rule, running, too_big, until, with_mounts

pytestmark = pytest.mark.root


@pytest.fixture
def arena() -> Iterator[Arena]:
    with arena_in(memory_hierarchy()) as arena:
        yield arena


def kills_again(daemon: Killer, arena: Arena, name: str, within_s: float = 30) -> None:
    worker = too_big(arena, name)
    until(worker.was_killed, within_s, lambda: daemon.log)


def test_after_a_kill_9_the_next_one_begins_and_kills(arena: Arena, trusted_folder: Path) -> None:
    with killer(trusted_folder, rule("big", f"{arena.scope}/*")) as daemon:
        kills_again(daemon, arena, "first")
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
        kills_again(daemon, arena, "second")
        daemon.stop()


def test_stopped_by_sigstop_it_kills_when_it_is_continued(arena: Arena, trusted_folder: Path) -> None:
    with killer(trusted_folder, rule("big", f"{arena.scope}/*")) as daemon:
        daemon.process.send_signal(signal.SIGSTOP)
        worker = too_big(arena)
        time.sleep(3)
        assert not worker.was_killed()
        daemon.process.send_signal(signal.SIGCONT)
        until(worker.was_killed, 10, lambda: daemon.log)


def limit_descriptors(daemon: Killer) -> int:
    """It may open none beyond those it has; the numbers of those that it closes become free."""
    taken = {int(name) for name in os.listdir(f"/proc/{daemon.pid}/fd")}
    lowest = next(number for number in range(1 << 20) if number not in taken)
    assert max(taken) < lowest, "a number below its highest one is free: it could open one more"
    subprocess.run(["prlimit", "--pid", str(daemon.pid), f"--nofile={lowest}:{lowest}"], check=True)
    return lowest


@pytest.mark.parametrize("action", ["kill", "kill_tree", "kill_cgroup"])
def test_with_no_descriptor_left_it_kills(arena: Arena, trusted_folder: Path, action: str) -> None:
    """EMFILE: its limit is what it has."""
    if shutil.which("prlimit") is None:
        pytest.skip("no prlimit")
    doomed = arena.memcg.child("doomed")
    worker = arena.workers.start("big", doomed, 1)
    with killer(trusted_folder, rule("big", f"{arena.scope}/*", f'action = "{action}"')) as daemon:
        until(lambda: "doomed" in " ".join(open_files(daemon.pid)))
        limit_descriptors(daemon)
        worker.hold(OVER_MIB + 8)
        until(worker.was_killed, 20, lambda: daemon.log)
        daemon.until_said("killed")
        daemon.stop()


def test_with_no_memory_to_be_had_it_kills(arena: Arena, trusted_folder: Path) -> None:
    """ENOMEM: its address space may not grow. What a kill needs, it has taken at the start."""
    if shutil.which("prlimit") is None:
        pytest.skip("no prlimit")
    worker = arena.workers.start("big", arena.memcg.child("doomed"), 1)
    with killer(trusted_folder, rule("big", f"{arena.scope}/*")) as daemon:
        until(lambda: "doomed" in " ".join(open_files(daemon.pid)))
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        size_bytes = int(status.split("VmSize:")[1].split()[0]) << 10
        subprocess.run(["prlimit", "--pid", str(daemon.pid), f"--as={size_bytes}:{size_bytes}"], check=True)
        worker.hold(OVER_MIB + 8)
        until(worker.was_killed, 20, lambda: daemon.log)
        daemon.stop()


def open_files(pid: int) -> list[str]:
    return [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]


READ_ONLY_SYS = (
    "for each in $(cut -d ' ' -f 5 /proc/self/mountinfo | grep '^/sys\\(/\\|$\\)')",
    'do mount -o remount,bind,ro "$each"; done',
)


def test_with_a_read_only_sys_it_kills(arena: Arena, trusted_folder: Path) -> None:
    rows = [rule("big", f"{arena.scope}/*", 'action = "kill_cgroup"')]
    with killer(trusted_folder, *rows, prefix=with_mounts(*READ_ONLY_SYS)) as daemon:
        mounts = Path(f"/proc/{daemon.pid}/mounts").read_text().splitlines()
        options = [line.split()[3].split(",") for line in mounts if f"{line.split()[1]}/".startswith("/sys/")]
        assert len(options) > 1
        assert all("ro" in each for each in options)
        kills_again(daemon, arena, "big")
        daemon.stop()


FULL = ("mount -t tmpfs -o size=16k,nr_inodes=8 tmpfs {state}", "cat /dev/zero > {state}/full 2>/dev/null || true")


def test_a_full_state_directory_keeps_nobody_from_being_killed(arena: Arena, trusted_folder: Path) -> None:
    state = trusted_folder / "state"
    state.mkdir(mode=0o700)
    prefix = with_mounts(*(line.format(state=state) for line in FULL), f"chmod 700 {state}")
    with killer(trusted_folder, rule("big", f"{arena.scope}/*"), prefix=prefix) as daemon:
        assert os.statvfs(f"/proc/{daemon.pid}/root{state}").f_bavail == 0
        kills_again(daemon, arena, "big")
        daemon.stop()


def test_with_a_full_disk_under_its_journal_nothing_is_put_in_force_until_there_is_room(
    arena: Arena, trusted_folder: Path
) -> None:
    """What cannot be written down could not be put back."""
    state = trusted_folder / "state"
    state.mkdir(mode=0o700)
    both = [arena.workers.start(name, arena.memcg, 2) for name in ("one", "other")]
    head = f'policy = "newest_first"\ninterval_ms = 200\nscope = "{arena.scope}"\n'
    path = configure(trusted_folder, head=head, backend="oom_score_adj")
    prefix = with_mounts(*(line.format(state=state) for line in FULL), f"chmod 700 {state}")
    adjs = [Path(f"/proc/{worker.pid}/oom_score_adj") for worker in both]
    with running(path, prefix) as daemon:
        refused = daemon.until_said("No space left on device")
        assert refused.endswith(
            "oom_score_adj.journal: cannot be written (No space left on device): nothing is changed"
        )
        time.sleep(1)
        assert len(daemon.saying("No space left")) == 1
        assert [adj.read_text() for adj in adjs] == ["0\n", "0\n"]
        Path(f"/proc/{daemon.pid}/root{state}/full").unlink()
        daemon.until_said("the whole order holds")
        assert [adj.read_text() for adj in adjs] != ["0\n", "0\n"]
        daemon.stop()
    assert [adj.read_text() for adj in adjs] == ["0\n", "0\n"]


def test_with_a_full_disk_under_its_log_it_kills(arena: Arena, trusted_folder: Path) -> None:
    prefix = ("sh", "-ec", 'exec "$@" 2>/dev/full', "sh")
    with killer(trusted_folder, rule("big", f"{arena.scope}/*"), prefix=prefix) as daemon:
        kills_again(daemon, arena, "first")
        kills_again(daemon, arena, "second")
        assert daemon.log == []
        daemon.stop()


def test_a_reload_with_a_broken_file_leaves_the_old_rules_and_they_kill(arena: Arena, trusted_folder: Path) -> None:
    with killer(trusted_folder, rule("big", f"{arena.scope}/*")) as daemon:
        (trusted_folder / "oompolicy.toml").write_text("[[rule]\nname = oops\n")
        daemon.process.send_signal(signal.SIGHUP)
        (said,) = (daemon.until_said("reload: "),)
        assert said.endswith("the old configuration stays in force")
        assert "oompolicy.toml:1" in said
        kills_again(daemon, arena, "big")
        assert len(daemon.saying("reload: ")) == 1
        configure(trusted_folder, rule("small", f"{arena.scope}/*"))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until_said("reloaded: ")
        kills_again(daemon, arena, "again")
        assert daemon.saying("rule small: ")


HANGS = 'pre_kill = ["sleep", "60"]\npre_kill_limit = "500ms"\naction = "kill"'


def test_a_hook_that_hangs_holds_up_its_own_kill_for_its_limit_and_nobody_else_s(
    arena: Arena, trusted_folder: Path
) -> None:
    slow = HANGS.replace("500ms", "8s")
    rows = [rule("slow", f"{arena.scope}/slow", slow), rule("fast", f"{arena.scope}/fast")]
    with killer(trusted_folder, *rows) as daemon:
        waits = too_big(arena, "slow")
        time.sleep(1)
        kills_again(daemon, arena, "fast", 5)
        assert not waits.was_killed()
        until(waits.was_killed, 20, lambda: daemon.log)
        said = daemon.until_said("slow: pre_kill ").rpartition("pre_kill ")[2]
        # The second where the machine is too busy for the helper to be heard in time.
        assert said in ("ran longer than 8000 ms: ended", "has not answered in time: left behind")


def test_where_no_fork_is_to_be_had_the_hook_is_left_out_and_the_kill_goes_on(
    arena: Arena, trusted_folder: Path
) -> None:
    """ENOMEM from each fork of the daemon and of its helper."""
    if shutil.which("strace") is None:
        pytest.skip("no strace: it makes forks fail")
    more = 'action = "kill"\npre_kill = ["true"]\nnotify = ["true"]'
    with killer(trusted_folder, rule("big", f"{arena.scope}/*", more)) as daemon:
        pids = [str(daemon.pid), *Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()]
        assert len(pids) == 2, "the helper is there"
        fail = "inject=fork,vfork,clone,clone3:error=ENOMEM"
        command = ["strace", "-f", "-e", fail, "-o", "/dev/null", *(word for pid in pids for word in ("-p", pid))]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            if "attached" not in tracer.stderr.readline() or "attached" not in tracer.stderr.readline():
                pytest.skip("strace may not attach here")
            try:
                kills_again(daemon, arena, "big")
                said = daemon.until_said("big: pre_kill ")
                daemon.process.send_signal(signal.SIGHUP)
                refused = daemon.until_said("reload: ")
                kills_again(daemon, arena, "again")
            finally:
                tracer.send_signal(signal.SIGINT)
                tracer.stderr.read()
        assert said.endswith("pre_kill could not be started: Cannot allocate memory")
        assert re.search(r"Cannot allocate memory.*the old configuration stays in force", refused)
        daemon.stop()
