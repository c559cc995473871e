"""The files of a process that are read on request."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from oompolicy.assign import Assignment, assigned
from oompolicy.mm.sched import Task
from oompolicy.snapshot import Snapshot
from oompolicy.sources.live import live_snapshot

PROGRAM = "import sys; print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", PROGRAM, "--role", "a b"]
    env = {"ROLE": "batch", "EMPTY": ""}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        yield started
        started.kill()


def seen(process: subprocess.Popen[bytes]) -> tuple[Snapshot, Task]:
    snapshot = live_snapshot()
    return snapshot, snapshot.task(process.pid)


def test_they_are_the_program_s_own(process: subprocess.Popen[bytes]) -> None:
    snapshot, task = seen(process)
    assert snapshot.details is not None
    assert snapshot.details.exe(task) == os.path.realpath(sys.executable)
    assert snapshot.details.cmdline(task) == f"{sys.executable} -c {PROGRAM} --role a b"
    assert snapshot.details.environment(task)[:2] == ("ROLE=batch", "EMPTY=")


def test_of_one_that_has_ended_or_had_that_pid_before_nothing_is_read(process: subprocess.Popen[bytes]) -> None:
    snapshot, task = seen(process)
    assert snapshot.details is not None
    assert task.start_time_ns is not None
    earlier = replace(task, start_time_ns=task.start_time_ns - 10_000_000)
    process.kill()
    process.wait()
    for other in (earlier, task):
        assert snapshot.details.exe(other) is None
        assert snapshot.details.cmdline(other) is None
        assert snapshot.details.environment(other) == ()


@pytest.mark.parametrize(
    "row",
    [
        Assignment(7, exe="*/python3*"),
        Assignment(7, cmdline="* --role a*"),
        Assignment(7, environment="ROLE=b*"),
        Assignment(7, exe="*/python3*", environment="EMPTY=", comm="*"),
    ],
)
def test_a_row_gives_its_value_by_them(process: subprocess.Popen[bytes], row: Assignment) -> None:
    snapshot, task = seen(process)
    only = replace(snapshot, kernel=replace(snapshot.kernel, tasks=(task,)))
    assert assigned(only, [row]).task(process.pid).value == 7
    assert assigned(only, [replace(row, comm="other")]).task(process.pid).value is None
    assert assigned(replace(only, details=None), [row]).task(process.pid).value is None


def test_what_is_not_asked_for_is_not_read(process: subprocess.Popen[bytes]) -> None:
    class Refuses:
        def exe(self, task: Task) -> str | None:
            raise AssertionError("asked")

        cmdline = exe

        def environment(self, task: Task) -> tuple[str, ...]:
            raise AssertionError("asked")

    snapshot, task = seen(process)
    refusing = replace(snapshot, kernel=replace(snapshot.kernel, tasks=(task,)), details=Refuses())
    rows = [Assignment(1, comm="*"), Assignment(2, comm="nobody", exe="*"), Assignment(3, uid=4242, cmdline="*")]
    assert assigned(refusing, rows).task(process.pid).value == 1
    with pytest.raises(AssertionError, match="asked"):
        assigned(refusing, [Assignment(1, exe="*")])


def test_the_path_of_a_program_that_was_replaced_is_its_own(tmp_path: Path) -> None:
    copy = tmp_path / "program"
    copy.write_bytes(Path("/bin/sleep").read_bytes())
    copy.chmod(0o755)
    with subprocess.Popen([str(copy), "60"]) as started:
        try:
            copy.unlink()
            snapshot = live_snapshot()
            assert snapshot.details is not None
            found = snapshot.details.exe(snapshot.task(started.pid))
        finally:
            started.kill()
    assert found == str(copy)
