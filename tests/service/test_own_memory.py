"""The daemon's own memory. What changes a process is done by one of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oompolicy.service.own_memory import leave_to_the_last, protect_memcg
from sources.fake_machine import FakeMachine, Proc, write

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def printed(code: str, *prefix: str) -> str:
    program = f"from oompolicy.service.own_memory import *\nfrom pathlib import Path\n{code}"
    done = subprocess.run([*prefix, sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout


@needs_root
def test_what_is_used_is_locked_and_what_is_not_takes_no_memory() -> None:
    out = printed(
        "import mmap\nprint(lock_memory())\nbig = mmap.mmap(-1, 256 << 20)\nbig[0] = 1\n"
        "status = Path('/proc/self/status').read_text().split()\n"
        "print(int(status[status.index('VmRSS:') + 1]) < 100_000, int(status[status.index('VmLck:') + 1]) > 256 << 10)"
    )
    assert out == "None\nTrue True\n"


def test_without_the_right_it_is_said() -> None:
    prefix = ("setpriv", "--reuid=65534", "--clear-groups") if os.geteuid() == 0 else ()
    out = printed("import resource\nresource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))\nprint(lock_memory())", *prefix)
    assert "RLIMIT_MEMLOCK is 0): the daemon itself may be swapped out" in out


@needs_root
def test_the_kernel_does_not_take_the_daemon() -> None:
    out = printed("print(leave_to_the_last(), Path('/proc/self/oom_score_adj').read_text())")
    assert out.strip() == "None -1000" or "stays" in out  # a container may lack the capability


def test_a_refusal_says_what_stays(tmp_path: Path) -> None:
    assert "cannot be read" in str(leave_to_the_last(tmp_path))
    write(tmp_path / "self/oom_score_adj", "100\n")
    if os.geteuid() != 0:
        (tmp_path / "self/oom_score_adj").chmod(0o400)
        assert "stays 100" in str(leave_to_the_last(tmp_path))


@pytest.mark.parametrize(
    ("procs", "minimum", "answer", "after"),
    [
        (f"{os.getpid()}\n", "0\n", None, "33554432\n"),
        (f"{os.getpid()}\n", "max\n", None, "max\n"),
        (f"{os.getpid()}\n", "99999999\n", None, "99999999\n"),
        (f"{os.getpid()}\n4242\n", "0\n", None, "33554432\n"),  # its own helper
        (f"{os.getpid()}\n1\n", "99999999\n", None, "99999999\n"),  # systemd has done it
        (f"{os.getpid()}\n1\n", "0\n", "others are in its memcg /own", "0\n"),
    ],
)
def test_only_a_memcg_of_its_own_is_protected(
    tmp_path: Path, procs: str, minimum: str, answer: str | None, after: str
) -> None:
    machine = FakeMachine(tmp_path, "v2", Proc(1), Proc(os.getpid()), Proc(4242, ppid=os.getpid()))
    write(machine.proc / "self/cgroup", "0::/own\n")
    directory = machine.memcg("/own", min=minimum)
    write(directory / "cgroup.procs", procs)
    said = protect_memcg(machine.proc, machine.sys)
    assert said is None if answer is None else answer in str(said)
    assert (directory / "memory.min").read_text() == after


@pytest.mark.parametrize(
    ("kind", "said"), [("v1", "cgroup v2's"), ("none", "cgroup v2's"), ("v2", "no memcg of its own")]
)
def test_where_there_is_no_such_memcg_it_is_said(tmp_path: Path, kind: str, said: str) -> None:
    machine = FakeMachine(tmp_path, kind)
    write(machine.proc / "self/cgroup", "0::/\n")
    assert said in str(protect_memcg(machine.proc, machine.sys))


@needs_root
def test_descriptors_are_as_many_as_allowed() -> None:
    out = printed(
        "import resource\nhard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))\n"
        "print(more_descriptors() == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    assert out == "True\n"
