"""The scheduling class of a thread. What changes it is a thread or a process of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from oompolicy.service.own_time import PRIORITY, Turns


def seen(during: str) -> list[tuple[int, int]]:
    """Policy and priority after each step, in a thread that ends with the test."""
    found: list[tuple[int, int]] = []

    def work() -> None:
        turns = Turns()
        for step in during.split():
            if getattr(turns, step)() is not None:
                return
            found.append((os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.sched_getparam(0).sched_priority))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found


@pytest.mark.root
def test_it_goes_first_when_it_must_and_is_as_others_when_it_can_wait() -> None:
    first, other = (os.SCHED_FIFO, PRIORITY), (os.SCHED_OTHER, 0)
    found = seen("start first first as_others as_others first")
    if not found:
        pytest.skip("real-time threads are not allowed here")
    assert found == [other, first, first, other, other, first]


def test_before_its_start_nothing_changes() -> None:
    assert seen("first as_others") == [(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, 0)] * 2


@pytest.mark.root
def test_children_are_as_others() -> None:
    program = (
        "import os, subprocess, sys\nfrom oompolicy.service.own_time import Turns\nturns = Turns()\n"
        "print(turns.start())\nturns.first()\n"
        "print(subprocess.check_output([sys.executable, '-c', 'import os; print(os.sched_getscheduler(0))']).decode())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    if done[0] != "None":
        pytest.skip("real-time threads are not allowed here")
    assert done[1] == str(os.SCHED_OTHER)


def test_without_the_right_it_is_said_and_nothing_is_tried_again() -> None:
    program = (
        "import os, resource\nresource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))\n"
        "from oompolicy.service.own_time import Turns\nturns = Turns()\n"
        "print(turns.start())\nturns.first()\nturns.as_others()\nprint(os.sched_getscheduler(0))"
    )
    prefix = ("setpriv", "--reuid=65534", "--clear-groups") if os.geteuid() == 0 else ()
    done = subprocess.run([*prefix, sys.executable, "-c", program], capture_output=True, text=True, check=True)
    said, scheduler = done.stdout.splitlines()
    assert "is no real-time process (Operation not permitted)" in said
    assert scheduler == str(os.SCHED_OTHER)
