"""Pressure files: of the machine in /proc/pressure, of a cgroup beside its other files.

Belongs here: their format. Must not know: whose pressure it is, how much is too much.
Source: Documentation/accounting/psi.rst.
"""

from __future__ import annotations

import errno

from oompolicy.rules.readings import Pressure, Stall
from oompolicy.sources.kept_file import KeptFile

NONE = Pressure()


def parse_pressure(text: bytes) -> Pressure:
    """The lines `some` and `full`; a line that is not there is None (cpu had no `full` before v5.13).

    >>> parse_pressure(b"some avg10=1.50 avg60=0.00 avg300=0.00 total=1405\\n").some
    Stall(avg10=1.5, avg60=0.0, avg300=0.0, total_us=1405)
    """
    some = full = None
    for line in text.split(b"\n"):
        if line.startswith(b"some "):
            some = _stall(line)
        elif line.startswith(b"full "):
            full = _stall(line)
    return Pressure(some, full)


def _stall(line: bytes) -> Stall:
    """psi_show(), kernel/sched/psi.c: "%s avg10=%lu.%02lu avg60=%lu.%02lu avg300=%lu.%02lu total=%llu"."""
    _, avg10, avg60, avg300, total = line.split(b" ")
    return Stall(float(avg10[6:]), float(avg60[6:]), float(avg300[7:]), int(total[6:]))


def read_pressure(file: KeptFile) -> Pressure:
    """What the file says now; all None where the kernel runs with psi=0 or the cgroup is gone. Raises OSError."""
    try:
        text = file.read()
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:  # psi_show() where PSI is off
            return NONE
        raise
    return NONE if text is None else parse_pressure(text)
