"""Making a daemon look now, and knowing when what it publishes is no older than that.

Belongs here: finding the daemon of what is attached, the signal, the waiting. Must not know: why it should look.
"""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import time
from pathlib import Path
from typing import Final

from oompolicy.backends.hook import pins
from oompolicy.backends.hook.abi import ControlWord
from oompolicy.backends.hook.process_start import start_ticks
from oompolicy.bpf.errors import BpfError

LOOK_NOW: Final = signal.SIGUSR1
ANSWERS_WITHIN_S: Final = 10.0


class Poked(enum.Enum):
    """What came of it."""

    NOTHING_ATTACHED = "no hook is in force"
    NO_DAEMON = "the daemon is not there: it counts from the next start"
    IN_FORCE = "in force"
    NO_ANSWER = "the daemon has not looked yet: see its log"


def look_now(folder: Path = pins.FOLDER, within_s: float = ANSWERS_WITHIN_S) -> Poked:
    """Tell the daemon to look, and wait until what is in force is of a look that began after this call.

    Only root sees whether something is attached: for others nothing is.
    """
    path = pins.in_force(folder)
    if path is None:
        return Poked.NOTHING_ATTACHED
    now_ns = time.monotonic_ns()
    try:
        control = pins.open_control(path)
    except BpfError:
        return Poked.NOTHING_ATTACHED
    with contextlib.closing(control):
        pid = control[ControlWord.DAEMON_PID]
        if pid == 0 or start_ticks(pid) != control[ControlWord.DAEMON_START_TICKS]:
            return Poked.NO_DAEMON
        os.kill(pid, LOOK_NOW)
        deadline_s = time.monotonic() + within_s
        while time.monotonic() < deadline_s:
            if control[ControlWord.HEARTBEAT_NS] >= now_ns:
                return Poked.IN_FORCE
            time.sleep(0.02)
    return Poked.NO_ANSWER
