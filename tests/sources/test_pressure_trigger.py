"""PSI triggers: what this kernel grants, and that a real stall wakes who polls."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from oompolicy.sources.pressure_trigger import EVENTS, UNPRIVILEGED_WINDOW_US, Asked, PressureTrigger, best_trigger

CPU = Path("/proc/pressure/cpu")
EASY = Asked("some", 1_000, UNPRIVILEGED_WINDOW_US)
BUSY = "import time\nend = time.monotonic() + 6\nwhile time.monotonic() < end: pass"

needs_psi = pytest.mark.skipif(not CPU.exists(), reason="this kernel has no PSI")


@needs_psi
def test_a_stall_wakes_who_polls() -> None:
    """More busy processes than CPUs: some task waits for a CPU. The CPU's pressure is the one that is safe to make."""
    trigger = best_trigger(CPU, EASY)
    if trigger is None:
        pytest.skip("no triggers here")
    poll = select.poll()
    poll.register(trigger.fd, EVENTS)
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range((os.cpu_count() or 1) * 2)]
    try:
        assert poll.poll(8_000) == [(trigger.fd, select.POLLPRI)]
    finally:
        for process in busy:
            process.kill()
            process.wait()
        trigger.close()


@needs_psi
def test_what_the_kernel_refuses_gives_the_next_wish() -> None:
    trigger = best_trigger(CPU, Asked("some", 1, 1), EASY)  # no window is that short
    assert trigger is not None
    assert trigger.asked == EASY
    trigger.close()


def test_where_none_is_granted_there_is_none(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert best_trigger(tmp_path / "memory.pressure", EASY) is None
    assert best_trigger("/proc/version", EASY) is None
    assert len(os.listdir("/proc/self/fd")) == before


@needs_psi
def test_a_refusal_leaves_nothing_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Invalid argument"):
        PressureTrigger(CPU, Asked("some", 1, 1))
    assert len(os.listdir("/proc/self/fd")) == before
