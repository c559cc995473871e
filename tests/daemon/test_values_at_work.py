"""Values at work: a daemon with the backend oom_score_adj on processes and cgroups of our own.

Whoever has the higher value goes first here; what is looked at is whom the kernel would kill first, by its oom_score.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from oompolicy.contained_oom import scene
from oompolicy.contained_oom.own_memcg import OwnMemcg
from oompolicy.contained_oom.workers import Worker, Workers
from oompolicy.daemon.requests import request_of, whom_of
from oompolicy.errors import BackendError, OompolicyError
from oompolicy.service.control_client import ask

pytestmark = pytest.mark.root

HIGHEST_FIRST = """
from oompolicy import *

@policy
def highest_first(task, oc):
    if task.value is not None:
        return task.value * 100000000
    return 0 if task.memcg.value is None else task.memcg.value * 100000000
"""
# Does what a file tells it to, so that a test can change its mind.
SCORER = """
from pathlib import Path
from oompolicy import *

@scorer
def obeys(scene):
    how = Path({how!r}).read_text()
    Path({kills!r}).write_text(" ".join(f"{{kill.comm}} {{kill.cgroup}} {{kill.by}}" for kill in scene.kills))
    if how == "fail":
        raise ValueError("told to")
    while how == "loop":
        pass
    return [(task, 7) for task in scene.tasks if task.comm == how]
"""
WITHIN_S = 30.0


def oom_score(worker: Worker) -> int:
    return int(Path(f"/proc/{worker.pid}/oom_score").read_text())


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


class Stage:
    """Two memcgs with a process in each, and a daemon for both. Without values right goes first: it is larger."""

    def __init__(self, memcg: OwnMemcg, workers: Workers, folder: Path) -> None:
        self.memcg = memcg
        self.folder = folder
        self.left_memcg, self.right_memcg = memcg.child("left"), memcg.child("right")
        self.left = workers.start("left", self.left_memcg, 8)
        self.right = workers.start("right", self.right_memcg, 80)
        self.how, self.kills, self.log = folder / "how", folder / "kills", folder / "log"
        (folder / "highest_first.py").write_text(HIGHEST_FIRST)
        (folder / "obeys.py").write_text(SCORER.format(how=str(self.how), kills=str(self.kills)))
        self.how.write_text("left")

    @property
    def left_goes_first(self) -> bool:
        return oom_score(self.left) > oom_score(self.right)

    @property
    def right_goes_first(self) -> bool:
        return oom_score(self.right) > oom_score(self.left)

    def configure(self, text: str, interval_ms: int = 200, backend: str = "oom_score_adj") -> None:
        (self.folder / "oompolicy.toml").write_text(
            f'backend = "{backend}"\nscope = "{self.memcg.scope}"\nstate_dir = "{self.folder}/state"\n'
            f"interval_ms = {interval_ms}\n{text}"
        )

    @contextmanager
    def daemon(
        self, text: str = 'policy = "highest_first.py"\n', interval_ms: int = 200, backend: str = "oom_score_adj"
    ) -> Iterator[int]:
        """Its pid, once it takes requests."""
        self.configure(text, interval_ms, backend)
        command = [sys.executable, "-m", "oompolicy", "run", "--config", str(self.folder / "oompolicy.toml")]
        with self.log.open("w") as log, subprocess.Popen(command, stderr=log) as process:
            try:
                wait_for(lambda: process.poll() is None and self.socket.exists())
                yield process.pid
                process.send_signal(signal.SIGTERM)
                assert process.wait(WITHIN_S) == 0, self.log.read_text()
            finally:
                process.kill()
        assert "Traceback" not in self.log.read_text()

    @property
    def socket(self) -> Path:
        return self.folder / "state" / "control.sock"

    def ask(self, **request: Any) -> dict[str, Any]:
        return ask(request, self.socket)

    def lines(self, text: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if text in line]


@pytest.fixture
def stage(trusted_folder: Path) -> Iterator[Stage]:
    try:
        hierarchy = scene.memory_hierarchy()
    except OompolicyError as error:
        pytest.skip(f"no memcg of our own here: {error}")
    with scene.memcg_of_our_own(hierarchy) as memcg, Workers() as workers:
        yield Stage(memcg, workers, trusted_folder)


def with_scorer(policy: str = "highest_first.py") -> str:
    return f'policy = "{policy}"\nscorers = ["obeys.py"]\n'


def test_a_scorer_of_the_configuration_gives_the_values_that_any_policy_reads(stage: Stage) -> None:
    with stage.daemon(with_scorer()):
        wait_for(lambda: stage.left_goes_first)
        stage.how.write_text("right")
        wait_for(lambda: stage.right_goes_first)


@pytest.mark.parametrize(("how", "said"), [("fail", "ValueError: told to"), ("loop", "it took longer than 1 s")])
def test_one_that_fails_or_hangs_loses_nothing_and_is_one_line(stage: Stage, how: str, said: str) -> None:
    with stage.daemon(with_scorer()):
        wait_for(lambda: stage.left_goes_first)
        stage.how.write_text(how)
        wait_for(lambda: stage.lines(said))
        for _ in range(3):
            stage.ask(do="look")
        assert stage.left_goes_first
        assert stage.ask(do="get", pid=stage.left.pid)["value"] == 7
        (line,) = stage.lines("scorer obeys")
        assert "its earlier values stay" in line
        assert f"{stage.folder}/obeys.py:" in line


def test_one_that_does_not_load_leaves_the_old_ones_in_force(stage: Stage) -> None:
    with stage.daemon(with_scorer()):
        wait_for(lambda: stage.left_goes_first)
        (stage.folder / "obeys.py").write_text("from oompolicy import *\n@scorer\ndef obeys(scene)\n")
        with pytest.raises(OompolicyError, match=r"obeys.py:3.*is not Python"):
            stage.ask(do="reload")
        stage.ask(do="look")
        assert stage.left_goes_first
        assert len(stage.lines("the old configuration stays in force")) == 1


def test_a_rule_s_sensor_has_scorers_asked_at_once(stage: Stage) -> None:
    """Whose interval is an hour: it is the stalls for the CPU that wake it."""
    if not Path("/proc/pressure/cpu").exists():
        pytest.skip("this kernel has no PSI")
    rule = '[[rule]]\nname = "busy"\nwhen = "psi.cpu.some.now > 1 and mem_available_mib < 1"\naction = "nothing"\n'
    with stage.daemon(with_scorer() + rule, interval_ms=3_600_000):
        wait_for(lambda: stage.left_goes_first)
        stage.how.write_text("right")
        busy = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(4)]
        try:
            wait_for(lambda: stage.right_goes_first)
        finally:
            for process in busy:
                process.kill()
                process.wait()


def test_a_value_given_for_a_time_is_in_force_for_that_time(stage: Stage) -> None:
    with stage.daemon(interval_ms=3_600_000):
        stage.ask(do="set", cgroup=stage.left_memcg.scope, value=5)
        wait_for(lambda: stage.left_goes_first)
        stage.ask(do="set", cgroup=stage.right_memcg.scope, value=9, ttl_ms=4000)
        wait_for(lambda: stage.right_goes_first)
        ends = {each["cgroup"]: each["ends_in_ms"] for each in stage.ask(do="list")["values"]}
        assert ends[stage.left_memcg.scope] is None
        assert 0 < ends[stage.right_memcg.scope] <= 4000
        wait_for(lambda: stage.left_goes_first)  # nobody has asked it to look
        assert [each["cgroup"] for each in stage.ask(do="list")["values"]] == [stage.left_memcg.scope]
        stage.ask(do="set", cgroup=stage.left_memcg.scope, value=None)
        assert stage.ask(do="get", cgroup=stage.left_memcg.scope)["value"] is None
        assert stage.ask(do="list") == {"values": []}


def test_a_process_is_named_by_its_start_too(stage: Stage) -> None:
    with stage.daemon():
        stage.ask(do="set", pid=stage.right.pid, value=3)
        wait_for(lambda: stage.right_goes_first)
        found = stage.ask(do="get", pid=stage.right.pid)
        assert (found["value"], found["source"], found["cgroup"]) == (3, "control", stage.right_memcg.scope)
        ticks = found["start_ticks"]
        assert stage.ask(do="get", pid=stage.right.pid, start_ticks=ticks)["value"] == 3
        with pytest.raises(OompolicyError, match="is another process by now"):
            stage.ask(do="set", pid=stage.right.pid, start_ticks=ticks - 1, value=1)


def test_it_tells_where_a_value_comes_from(stage: Stage) -> None:
    table = f'policy = "highest_first.py"\n[[assign]]\ncgroup = "{stage.left_memcg.scope}"\nvalue = 4\n'
    os.setxattr(stage.right_memcg.path, "user.oompolicy.value", b"2")
    with stage.daemon(table):
        assert stage.ask(do="get", cgroup=stage.left_memcg.scope) == {
            "cgroup": stage.left_memcg.scope,
            "value": 4,
            "of": stage.left_memcg.scope,
            "source": "assign",
        }
        assert stage.ask(do="get", cgroup=stage.right_memcg.scope)["source"] == "set"
        stage.ask(do="set", cgroup=stage.memcg.scope, value=1)
        assert stage.ask(do="get", cgroup=stage.left_memcg.scope)["source"] == "assign"
        child = stage.left_memcg.child("new")
        assert stage.ask(do="get", cgroup=child.scope)["of"] == stage.left_memcg.scope
        child.path.rmdir()


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"do": "st"}, "does not say what to do: 'st'"),
        ({}, "does not say what to do"),
        ({"do": "set", "cgroup": "/no/such", "value": 1}, "cgroup /no/such: does not exist here"),
        ({"do": "set", "cgroup": "/", "valeu": 1}, "unknown key 'valeu': did you mean value?"),
        ({"do": "set", "cgroup": "/"}, "has no value"),
        ({"do": "set", "cgroup": "/", "pid": 1, "value": 1}, "names neither a cgroup nor a pid, or both"),
        ({"do": "set", "pid": 4194304, "value": 1}, "pid 4194304: no such process"),
        ({"do": "set", "cgroup": "/", "value": 1 << 63}, "is no whole number"),
        ({"do": "set", "cgroup": "/", "value": True}, "is no whole number"),
        ({"do": "set", "cgroup": "/", "value": 1, "ttl_ms": 0}, "ttl_ms: is no whole number from 1"),
        ({"do": "get", "cgroup": ["/"]}, "cgroup: is not a path"),
    ],
)
def test_a_request_that_cannot_be_says_why(request_: dict[str, Any], why: str) -> None:
    with pytest.raises(OompolicyError, match=re.escape(why)):
        whom_of(request_of(json.dumps(request_).encode()))


def test_a_reload_is_answered_when_it_is_over(stage: Stage) -> None:
    with stage.daemon():
        stage.configure(f'policy = "highest_first.py"\n[[assign]]\ncgroup = "{stage.right_memcg.scope}"\nvalue = 4\n')
        assert stage.ask(do="reload") == {}
        wait_for(lambda: stage.right_goes_first)
        stage.configure('polcy = "x"\n')
        with pytest.raises(OompolicyError, match=r"unknown key polcy.*did you mean policy"):
            stage.ask(do="reload")
        assert stage.right_goes_first


def test_clients_that_hang_hurt_nothing(stage: Stage) -> None:
    with stage.daemon(interval_ms=100) as pid, ExitStack() as hanging:
        for number in range(100):
            client = hanging.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(stage.socket))
            if number % 2:
                client.send(b'{"do": "li')
        began = time.monotonic()
        stage.ask(do="set", cgroup=stage.left_memcg.scope, value=5)
        assert time.monotonic() - began < 10
        wait_for(lambda: stage.left_goes_first)
        assert len(os.listdir(f"/proc/{pid}/fd")) < 60


def test_when_it_has_ended_the_socket_is_gone(stage: Stage) -> None:
    with stage.daemon():
        pass
    with pytest.raises(BackendError, match="no daemon listens there"):
        stage.ask(do="list")


def test_an_owner_s_wish_counts_where_it_lowers(stage: Stage) -> None:
    """memcg_priority: the lowest goes first. left is delegated; what it asks for is bounded by what it was given."""
    table = f'policy = "memcg_priority"\n[[assign]]\ncgroup = "{stage.memcg.scope}/*"\nvalue = 100\n'
    os.chown(stage.left_memcg.path, 65534, 65534)
    wish = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c"]
    program = "import os, sys; os.setxattr(sys.argv[1], 'user.oompolicy.value', sys.argv[2].encode())"
    with stage.daemon(table):
        for asked, counts, source in (("900", 100, "assign"), ("5", 5, "owner"), ("-7", -7, "owner")):
            subprocess.run([*wish, program, str(stage.left_memcg.path), asked], check=True)
            found = stage.ask(do="get", cgroup=stage.left_memcg.scope)
            assert (found["value"], found["source"]) == (counts, source)
        wait_for(lambda: stage.left_goes_first)
        refused = subprocess.run([*wish, program, str(stage.right_memcg.path), "1"], capture_output=True, check=False)
        assert refused.returncode != 0
        assert b"PermissionError" in refused.stderr


def test_rules_alone_choose_by_what_scorers_say_and_scorers_are_told_whom_they_have_killed(stage: Stage) -> None:
    """left is the smaller one by far: without its scorer's value right would be killed."""
    rule = (
        f'[[rule]]\nname = "one"\nwhen = "lasts(mem_available_percent >= 0, 1)"\nscope = "{stage.memcg.scope}"\n'
        'action = "kill"\nbudget = { kills = 1, per = "1h" }\n'
    )
    with stage.daemon(with_scorer() + rule, backend="kill"):
        wait_for(stage.left.was_killed)
        wait_for(lambda: stage.kills.read_text() == f"left {stage.memcg.scope} rule one")
        assert not stage.right.was_killed()
        stage.ask(do="look")
