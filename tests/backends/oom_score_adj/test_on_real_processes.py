"""The daemon on real processes, all of them our own and in a memcg of our own, up to a real OOM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oompolicy.contained_oom import scene
from oompolicy.contained_oom.own_memcg import OwnMemcg
from oompolicy.contained_oom.workers import Workers
from oompolicy.errors import OompolicyError

from conftest import Run

pytestmark = pytest.mark.root

POLICY = """
from oompolicy import *

@policy
def batch_first(task, oc):
    return KILL if task.comm in ("batch", "sh", "sleep") else DEFER
"""
WITHIN_S = 20.0


def adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def set_adj(pid: int, value: int) -> None:
    Path(f"/proc/{pid}/oom_score_adj").write_text(str(value))


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


class Arena:
    """A memcg of ours with an important process and a smaller one from the batch, and a daemon bound to it."""

    def __init__(self, memcg: OwnMemcg, workers: Workers, folder: Path) -> None:
        self.memcg = memcg
        self.workers = workers
        self.folder = folder
        self.state = folder / "state"
        self.policy = folder / "batch_first.py"
        self.policy.write_text(POLICY)
        self.config = folder / "oompolicy.toml"
        self.configure()
        self.important = workers.start("important", memcg, 50)
        self.batch = workers.start("batch", memcg, 32)

    def configure(self, *lines: str) -> None:
        """Write the configuration, with these lines besides."""
        own = ('policy = "batch_first.py"', f'scope = "{self.memcg.scope}"', f'state_dir = "{self.state}"')
        self.config.write_text("\n".join(("interval_ms = 100", *own, *lines)))

    @contextmanager
    def daemon(self) -> Iterator[Daemon]:
        """A running daemon that has done its first plan; killed on the way out if it still runs."""
        command = [sys.executable, "-m", "oompolicy", "run", "--config", str(self.config)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield Daemon(process)
            finally:
                process.kill()

    def shell(self) -> Shell:
        """A process that forks when told to, in the memcg."""
        return Shell(self.memcg)

    @property
    def journal(self) -> Path:
        return self.state / "oom_score_adj.journal"


class Shell:
    """A shell whose children can be made at will; all end with the memcg."""

    def __init__(self, memcg: OwnMemcg) -> None:
        sleep = "sleep 600 >/dev/null & echo $!"
        program = f'while read how; do if [ "$how" = orphan ]; then ({sleep}); else {sleep}; fi; done'
        self.process = subprocess.Popen(["sh", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        memcg.add(self.pid)

    def forks(self, how: str = "child") -> int:
        """The pid of a new child, or of a grandchild whose parent is already gone."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{how}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()


class Daemon:
    """The process of `oompolicy run`, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def says(self, text: str) -> None:
        """Wait for a line with this text."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            assert "Traceback" not in line
            if text in line:
                return
        raise AssertionError(f"it ended without saying {text!r}")

    def end(self, number: int) -> int:
        """Send it a signal and wait for its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=WITHIN_S)


@pytest.fixture
def arena(trusted_folder: Path) -> Iterator[Arena]:
    try:
        hierarchy = scene.memory_hierarchy()
    except OompolicyError as error:
        pytest.skip(f"no memcg of our own here: {error}")
    others = others_adj()
    with scene.memcg_of_our_own(hierarchy) as memcg, Workers() as workers:
        yield Arena(memcg, workers, trusted_folder)
    assert others_adj() == others, "only processes of our own memcg may have been touched"


def others_adj() -> dict[int, int]:
    """init, and all from us up to it: a sample of those whom no test may touch."""
    found, pid = {1: adj(1)}, os.getpid()
    while pid > 1:
        found[pid] = adj(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def test_a_real_oom_kills_the_policy_s_victim_and_the_kernel_alone_would_not(arena: Arena) -> None:
    """The same sizes twice: the important process is the bigger one, and the batch is what can be done without."""
    arena.memcg.limit(96)
    with arena.daemon() as daemon:
        daemon.says("the whole order holds in 2 of 2 scopes")
        assert arena.important.hold(24), "it got its memory, because the batch was killed for it"
        wait_for(arena.batch.was_killed)
        assert daemon.end(signal.SIGTERM) == 0
    again = arena.workers.start("batch", arena.memcg, 1)
    assert not arena.important.hold(24)
    wait_for(arena.important.was_killed)
    assert not again.was_killed()


def test_a_stop_puts_back_what_was_changed_and_what_was_born_since(arena: Arena) -> None:
    set_adj(arena.batch.pid, 77)
    ours = adj(os.getpid())
    with arena.shell() as shell, arena.daemon() as daemon:
        daemon.says("the whole order holds")
        assert (adj(arena.batch.pid), adj(arena.important.pid)) == (999, 0)
        born = [shell.forks(), shell.forks("orphan")]
        assert [adj(pid) for pid in born] == [adj(shell.pid)] * 2 != [0] * 2
        assert daemon.end(signal.SIGTERM) == 0
        assert [adj(pid) for pid in (arena.batch.pid, shell.pid, *born)] == [77, 0, 0, 0]
    assert not arena.journal.exists()
    assert adj(os.getpid()) == ours


def test_a_new_process_is_covered_at_the_next_look(arena: Arena) -> None:
    with arena.daemon() as daemon:
        daemon.says("the whole order holds")
        late = arena.workers.start("batch", arena.memcg, 1)
        wait_for(lambda: adj(late.pid) > 0)
        daemon.end(signal.SIGTERM)
        assert adj(late.pid) == 0


def test_after_a_kill_9_the_policy_stays_and_restore_puts_back(arena: Arena, run_command: Run) -> None:
    with arena.shell() as shell:
        with arena.daemon() as daemon:
            daemon.says("the whole order holds")
            daemon.end(signal.SIGKILL)
        assert adj(arena.batch.pid) == 999
        born = [shell.forks(), shell.forks("orphan")]
        # An entry of a process that had the pid of another before.
        stale = {"pid": arena.important.pid, "start": 1, "comm": "gone", "original": 500, "written": [0], "since": 1}
        with arena.journal.open("a") as journal:
            journal.write(json.dumps({**stale, "cgroup": arena.memcg.scope, "left": False}) + "\n")
        done = run_command("restore", "--config", arena.config)
        assert (done.status, done.out) == (0, "4 processes have their own oom_score_adj again\n")
        pids = (arena.batch.pid, shell.pid, *born, arena.important.pid)
        assert [adj(pid) for pid in pids] == [0] * 5, "the pid in the stale entry has been used again"
    assert run_command("restore", "--config", arena.config).out == "there is nothing to put back\n"


def test_after_a_kill_9_the_next_daemon_takes_over_and_puts_back(arena: Arena) -> None:
    with arena.daemon() as daemon:
        daemon.says("the whole order holds")
        daemon.end(signal.SIGKILL)
    with arena.daemon() as daemon:
        daemon.says("1 processes are still as an earlier daemon has set them: taken over")
        daemon.says("the whole order holds")
        assert adj(arena.batch.pid) == 999
        assert daemon.end(signal.SIGINT) == 0
    assert adj(arena.batch.pid) == 0


def test_drift_is_set_right(arena: Arena) -> None:
    with arena.daemon() as daemon:
        daemon.says("the whole order holds")
        set_adj(arena.batch.pid, 5)
        daemon.says(f"batch ({arena.batch.pid}): somebody set its oom_score_adj to 5: set again")
        wait_for(lambda: adj(arena.batch.pid) == 999)
        daemon.end(signal.SIGTERM)
    assert adj(arena.batch.pid) == 5


def test_drift_is_left(arena: Arena) -> None:
    arena.configure('drift = "leave"')
    with arena.daemon() as daemon:
        daemon.says("the whole order holds")
        set_adj(arena.batch.pid, 5)
        daemon.says(f"batch ({arena.batch.pid}): somebody set its oom_score_adj to 5: left so")
        daemon.says("the order cannot be held, not even its first victim")
        daemon.end(signal.SIGTERM)
    assert adj(arena.batch.pid) == 5


def test_two_at_once_are_refused_and_so_is_restore_while_one_is_at_work(arena: Arena, run_command: Run) -> None:
    with arena.daemon() as daemon:
        daemon.says("the whole order holds")
        for command in (("run", "--config", arena.config), ("restore", "--config", arena.config)):
            refused = run_command(*command)
            assert refused.status == 1
            assert f"another oompolicy (pid {daemon.process.pid}) is at work there: stop it first" in refused.err
        assert adj(arena.batch.pid) == 999


def test_reload_keeps_the_old_policy_if_the_new_one_is_wrong(arena: Arena) -> None:
    with arena.daemon() as daemon:
        daemon.says("the whole order holds")
        arena.policy.write_text(POLICY + "    oops(")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.says("the old configuration stays in force")
        assert adj(arena.batch.pid) == 999
        arena.policy.write_text(POLICY.replace("KILL if", "DEFER if"))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.says("reloaded: policy batch_first")
        wait_for(lambda: adj(arena.batch.pid) == 0)
        daemon.end(signal.SIGTERM)


def test_a_policy_that_faults_is_said_once_and_the_kernel_s_order_stands(arena: Arena) -> None:
    arena.policy.write_text(POLICY.replace("KILL if", "1 // 0 if"))
    with arena.daemon() as daemon:
        daemon.says(f"{arena.policy}:6: policy batch_first faulted: ZeroDivisionError")
        daemon.says("the whole order holds")
        time.sleep(0.5)
        daemon.process.terminate()
        _, rest = daemon.process.communicate(timeout=WITHIN_S)
    assert "faulted" not in rest
    assert adj(arena.batch.pid) == 0


def test_once_puts_in_force_and_leaves_it_so_until_restore(arena: Arena, run_command: Run) -> None:
    done = run_command("run", "--config", arena.config, "--once", "--json")
    assert done.status == 0
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [(line["pid"], line["adj"]) for line in lines if line["kind"] == "adjustment"] == [(arena.batch.pid, 999)]
    assert {line["scope"]: line["first"] for line in lines if line["kind"] == "scope"} == {
        None: arena.batch.pid,
        arena.memcg.scope: arena.batch.pid,
    }
    assert adj(arena.batch.pid) == 999
    assert run_command("restore", "--config", arena.config).status == 0
    assert adj(arena.batch.pid) == 0


def test_a_dry_run_touches_nothing(arena: Arena) -> None:
    arena.configure('backend = "dry_run"')
    with arena.daemon() as daemon:
        daemon.says(f"would set oom_score_adj of batch ({arena.batch.pid}) from 0 to 999")
        assert daemon.end(signal.SIGTERM) == 0
    assert adj(arena.batch.pid) == 0
    assert not arena.state.exists()
