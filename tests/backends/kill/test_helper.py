"""The helper: commands under a time limit, and what is told when it is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oompolicy.backends.kill.desktop import User, desktop_sessions
from oompolicy.backends.kill.helper import Helper

WITHIN_S = 20.0


@pytest.fixture
def helper() -> Iterator[Helper]:
    made = Helper()
    yield made
    made.close()


def how_ended(helper: Helper, ticket: int | None) -> str:
    """Wait the way the loop does."""
    assert ticket is not None
    deadline = time.monotonic() + WITHIN_S
    while True:
        ended = helper.ended(ticket)
        if ended is not None:
            return ended
        assert time.monotonic() < deadline
        poll = select.poll()
        for fd in helper.fds():
            poll.register(fd, select.POLLIN)
        poll.poll(1000)


def run(helper: Helper, *argv: str, limit_ms: int = 10_000, env: dict[str, str] | None = None) -> str:
    return how_ended(helper, helper.start(argv, env or {}, limit_ms))


def test_a_command_is_run_with_what_it_is_told(helper: Helper, tmp_path: Path) -> None:
    program = f'echo "$OOMPOLICY_PID|$PWD" > {tmp_path}/seen'
    assert run(helper, "sh", "-c", program, env={"OOMPOLICY_PID": "77"}) == "done"
    assert (tmp_path / "seen").read_text() == "77|/\n"


@pytest.mark.parametrize(
    ("program", "told"), [("exit 3", "ended with status 3"), ("kill -TERM $$", "died of signal 15")]
)
def test_how_it_ended_is_told(helper: Helper, program: str, told: str) -> None:
    assert run(helper, "sh", "-c", program) == told


def test_a_command_that_is_not_there_is_told(helper: Helper) -> None:
    assert run(helper, "/no/such/command") == "could not be started: no such command"


def test_one_that_hangs_is_ended_with_all_that_it_started(helper: Helper, tmp_path: Path) -> None:
    started = time.monotonic()
    assert run(helper, "sh", "-c", f"sleep 60 & echo $! > {tmp_path}/pid; wait", limit_ms=300) == (
        "ran longer than 300 ms: ended"
    )
    assert time.monotonic() - started < 10
    assert is_gone(int((tmp_path / "pid").read_text()))


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_two_at_once_do_not_wait_for_each_other(helper: Helper) -> None:
    slow = helper.start(("sleep", "30"), {}, 1_000)
    assert run(helper, "true") == "done"
    assert how_ended(helper, slow) == "ran longer than 1000 ms: ended"


def test_a_helper_that_was_killed_is_told_by_the_ticket_and_by_the_next_command(helper: Helper) -> None:
    ticket = helper.start(("sleep", "30"), {}, 500)
    os.kill(helper.pid, signal.SIGKILL)
    assert how_ended(helper, ticket) == "left out: the helper that runs commands has gone"
    assert helper.start(("true",), {}, 1_000) is None
    assert helper.fds() == ()


def test_it_dies_with_whom_it_serves_and_takes_what_it_runs_along(tmp_path: Path) -> None:
    program = (
        "import os, sys, time\nfrom oompolicy.backends.kill.helper import Helper\n"
        "helper = Helper()\n"
        f"helper.start(('sh', '-c', 'echo $$ > {tmp_path}/pid; sleep 60'), {{}}, 60_000)\n"
        "print(helper.pid, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        pid = int(daemon.stdout.readline())
        deadline = time.monotonic() + WITHIN_S
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        daemon.kill()
        daemon.wait()
    assert is_gone(pid)
    assert is_gone(int((tmp_path / "pid").read_text()))


def open_files(pid: int) -> set[str]:
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found


def test_it_holds_nothing_that_was_open_before(tmp_path: Path) -> None:
    """A lock of the daemon's, which must be free when the daemon is dead."""
    with (tmp_path / "locked").open("w") as opened:
        above = fcntl.fcntl(opened.fileno(), fcntl.F_DUPFD, 300)
        helper = Helper()
        try:
            deadline = time.monotonic() + WITHIN_S
            while opened.name in open_files(helper.pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert opened.name not in open_files(helper.pid)
        finally:
            helper.close()
            os.close(above)


@pytest.mark.root
def test_a_command_may_run_as_another_user(helper: Helper) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: becomes another user")
    ticket = helper.start(("sh", "-c", 'exit "$(id -u | cut -c1-2)"'), {}, 10_000, User(65534, 65534))
    assert how_ended(helper, ticket) == "ended with status 65"


def test_sessions_are_those_with_a_bus_of_their_own(tmp_path: Path) -> None:
    own = tmp_path / str(os.getuid())
    own.mkdir()
    (own / "bus").touch()
    foreign = tmp_path / "4242"
    foreign.mkdir()
    (foreign / "bus").touch()
    (tmp_path / "31337").mkdir()
    bus = f"unix:path={own}/bus"
    assert [(user.uid, env["DBUS_SESSION_BUS_ADDRESS"]) for user, env in desktop_sessions(tmp_path)] == [
        (os.getuid(), bus)
    ]
    assert desktop_sessions(tmp_path / "nowhere") == []


def test_what_is_too_long_for_it_is_left_out_and_what_is_odd_arrives(helper: Helper, tmp_path: Path) -> None:
    assert helper.start(("true",), {"LONG": "x" * 100_000}, 1_000) is None
    odd = "caf\udce9\n'\"$(x)"
    assert run(helper, "sh", "-c", f'printf %s "$ODD" > {tmp_path}/odd', env={"ODD": odd}) == "done"
    assert os.fsdecode((tmp_path / "odd").read_bytes()) == odd


def test_those_that_were_ended_are_reaped(helper: Helper) -> None:
    for _ in range(3):
        run(helper, "sleep", "60", limit_ms=20)
    run(helper, "true")
    deadline = time.monotonic() + WITHIN_S
    while children := Path(f"/proc/{helper.pid}/task/{helper.pid}/children").read_text().split():
        assert time.monotonic() < deadline, children
        run(helper, "true")
