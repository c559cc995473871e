"""`oompolicy top`: looks as plain text, on a terminal, and given what comes to an end meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kill_entries import KILL
from oompolicy.cli.looks import Looks
from oompolicy.config import Config
from oompolicy.errors import GoneError
from oompolicy.policies.kernel_default import kernel_default
from oompolicy.rules.rule import Victim
from oompolicy.service.history import History

from conftest import Run

KEYS = [
    "time_ms", "mem_total_bytes", "mem_available_bytes", "swap_total_bytes", "swap_free_bytes", "psi_some_avg10",
    "psi_full_avg10", "in_force", "last_kill", "candidates", "notes",
]  # fmt: skip
LATE = KILL._replace(
    time_ms=time.time_ns() // 1_000_000 + 86_400_000
)  # later than whatever this machine's kernel tells of
FAULTY = """from oompolicy import OomControl, Task, policy


@policy
def faulty(task: Task, oc: OomControl) -> int:
    return task.rss // (task.oom_score_adj - task.oom_score_adj)
"""
LINES, WIDTH = 20, 100


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    kept = History(folder, pytest.fail)
    kept.append(LATE)
    kept.close()
    return folder


def test_without_a_terminal_one_look_as_text(run_command: Run, state: Path) -> None:
    done = run_command("top", "--state-dir", state, "--top", 3)
    lines = done.out.splitlines()
    assert (done.status, "\x1b" in done.out) == (0, False)
    assert re.search(r"memory available: [\d,]+ of [\d,]+ MiB \(\d+ %\); swap free: ", lines[0])
    assert lines[1].startswith("memory pressure (avg10): some ")
    assert lines[2].startswith("in force in the kernel: ")
    assert re.search(r"^last kill: \d{4}-\d\d-\d\d \S+ by low: sort \(42\): mem_available_percent 4.0 < 5$", lines[3])
    head = next(number for number, line in enumerate(lines) if line.startswith("RANK "))
    ranks = [line.split()[0] for line in lines[head + 1 :] if line]
    assert ranks[:3] == ["1", "2", "3"]
    assert "4" not in ranks


def test_as_many_looks_as_asked_for_and_so_far_apart(run_command: Run, state: Path) -> None:
    started_s = time.monotonic()
    done = run_command("top", "--state-dir", state, "--count", 3, "--interval", 0.5, "--top", 1)
    assert done.out.count("memory available: ") == 3
    assert time.monotonic() - started_s >= 1


def test_json_has_stable_keys_and_rank_s_candidates(run_command: Run, state: Path) -> None:
    done = run_command("top", "--json", "--state-dir", state, "--count", 2, "--interval", 0.1, "--top", 2)
    looks = [json.loads(line) for line in done.out.splitlines()]
    assert [list(look) for look in looks] == [KEYS] * 2
    assert [candidate["rank"] for candidate in looks[0]["candidates"]] == [1, 2]
    assert looks[0]["last_kill"]["victims"] == [{"pid": 42, "comm": "sort"}]
    assert 0 < looks[0]["mem_available_bytes"] <= looks[0]["mem_total_bytes"]


def test_it_ranks_as_the_policy_says(run_command: Run, trusted_folder: Path) -> None:
    mine = ("--policy", "protect", "--param", f"COMMS={Path(f'/proc/{os.getpid()}/comm').read_text().strip()}")
    (look,) = map(json.loads, run_command("top", "--json", "--state-dir", trusted_folder, *mine).out.splitlines())
    (own,) = (candidate for candidate in look["candidates"] if candidate["pid"] == os.getpid())
    assert own["verdict"] == "SPARE"
    assert look["candidates"][0]["verdict"] != "SPARE"


def test_a_policy_that_faults_is_said_and_goes_on_to_the_end(run_command: Run, trusted_folder: Path) -> None:
    (trusted_folder / "faulty.py").write_text(FAULTY)
    options = ("--policy", trusted_folder / "faulty.py", "--count", 2, "--interval", 0.1, "--state-dir", trusted_folder)
    done = run_command("top", *options)
    assert done.out.count("note: policy faulty faulted for ") == 2
    assert done.status == 1  # as of rank: no script may take it for sound
    assert "oompolicy: " in done.err


def test_a_scope_that_is_not_there_is_one_line(run_command: Run, state: Path) -> None:
    done = run_command("top", "--state-dir", state, "--scope", "/no/such")
    assert done.status == 1
    assert re.fullmatch(r"oompolicy: .*/no/such.*\n", done.err)


def test_a_scope_that_goes_between_two_looks_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from oompolicy.cli import looks as module

    from worlds import machine, memcg, task

    worlds = [machine(memcg("a", tasks=[task("t", rss="1M")])), machine(memcg("b", tasks=[task("t", rss="1M")]))]
    monkeypatch.setattr(module, "live_snapshot", lambda: worlds.pop(0))
    with contextlib.closing(Looks(kernel_default, Config(state_dir=tmp_path), "/a")) as looks:
        assert [candidate.task.comm for candidate in looks.take().decision.candidates] == ["t"]
        with pytest.raises(GoneError):
            looks.take()


def test_the_history_is_read_anew_when_somebody_was_killed(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(Looks(kernel_default, Config(state_dir=state), None)) as looks:
        assert looks.take().last_kill == LATE
        assert LATE.time_ms is not None
        later = LATE._replace(time_ms=LATE.time_ms + 1, victims=(Victim(43, "cat"),))
        kept = History(state, pytest.fail)
        kept.append(later)
        kept.append(later._replace(time_ms=LATE.time_ms + 2, victims=(), killed=0, failed="nobody"))
        kept.close()
        assert looks.take().last_kill == later


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_without_root_it_shows_what_it_may(run_command: Run, trusted_folder: Path) -> None:
    trusted_folder.chmod(0o700)
    nobody = ("setpriv", "--reuid=65534", "--clear-groups")
    done = run_command("top", "--state-dir", trusted_folder, "--top", 2, prefix=nobody)
    assert done.status == 0
    assert "last kill: " in done.out
    assert "run as root" in done.out


def test_wrong_usage_is_2(run_command: Run) -> None:
    for options in (("--interval", 0), ("--count", 0), ("--top", "many")):
        assert run_command("top", *options).status == 2


class Terminal:
    """A terminal of LINES lines, and what is on it from time to time."""

    def __init__(self, *arguments: object) -> None:
        self.fd, other = os.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, WIDTH, 0, 0))
        command = [sys.executable, "-m", "oompolicy", "top", *map(str, arguments)]
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command, stdin=other, stdout=other, stderr=other, env={**environment, "TERM": "xterm"}
        )
        os.close(other)
        self.text = ""

    def until(self, what: str, times: int = 1) -> None:
        deadline = time.monotonic() + 30
        while self.text.count(what) < times:
            assert time.monotonic() < deadline, self.text
            self._read()

    def ended(self) -> int:
        deadline = time.monotonic() + 30
        while self.process.poll() is None or select.select([self.fd], [], [], 0.1)[0]:
            assert time.monotonic() < deadline, self.text
            if not self._read():
                break
        return self.process.wait(30)

    def _read(self) -> bool:
        try:
            if select.select([self.fd], [], [], 0.5)[0]:
                self.text += os.read(self.fd, 65536).decode()
        except OSError:  # its other end has been closed
            return False
        return True


@contextlib.contextmanager
def terminal(*arguments: object) -> Iterator[Terminal]:
    found = Terminal(*arguments)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()
        os.close(found.fd)


@pytest.fixture
def crowd() -> Iterator[None]:
    """More candidates than a terminal has lines."""
    sleepers = [subprocess.Popen(["sleep", "60"]) for _ in range(LINES)]
    try:
        yield
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


@pytest.mark.usefixtures("crowd")
def test_on_a_terminal_it_looks_until_ctrl_c_and_every_look_fits(state: Path) -> None:
    with terminal("--state-dir", state, "--interval", 0.2) as screen:
        screen.until("memory available: ", times=3)
        screen.process.send_signal(signal.SIGINT)
        assert screen.ended() in (0, 130)
    assert "Traceback" not in screen.text
    live, given_back, left = screen.text.partition("\x1b[?1049l")
    assert given_back
    assert "\x1b[?1049h" in live
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", left).strip().splitlines()  # the last look stays
    assert len(shown) == LINES - 1 or len(shown) == LINES
    assert all(len(line) <= WIDTH for line in shown)
    assert [line.split()[0] for line in shown[5:8]] == ["RANK", "1", "2"]


def test_on_a_terminal_it_ends_after_its_count(state: Path) -> None:
    with terminal("--state-dir", state, "--interval", 0.1, "--count", 2) as screen:
        assert screen.ended() == 0
    assert "Traceback" not in screen.text


def test_sigterm_gives_the_screen_back(state: Path) -> None:
    with terminal("--state-dir", state, "--interval", 5) as screen:
        screen.until("memory available: ")
        screen.process.send_signal(signal.SIGTERM)
        assert screen.ended() == 128 + signal.SIGTERM
    assert "\x1b[?1049l" in screen.text
