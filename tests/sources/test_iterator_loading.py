"""Whether the task iterator tells of this process by its pid: in another pid namespace its numbers are not ours.

Belongs here: the check, on records of a test's own. Must not know: how the iterator is loaded (guests show that).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from oompolicy.sources.live import TICK_NS
from oompolicy.sources.procfs import parse_stat
from oompolicy.sources.task_iterator import Record
from oompolicy.sources.task_iterator.loading import _is_this_process


def record(tgid: int, start_ns: int) -> Record:
    numbers = dict.fromkeys(Record._fields, 0) | {"tgid": tgid, "pid": tgid, "start_ns": start_ns}
    return Record(**{**numbers, "comm": b"python3"})  # type: ignore[arg-type]


def test_another_process_with_our_number_is_not_us() -> None:
    """Its number is the kernel's own, ours that of a namespace: with it, the wrong process would be looked for."""
    ours_ns = parse_stat(Path("/proc/self/stat").read_bytes()).start_time * TICK_NS
    assert _is_this_process(record(os.getpid(), ours_ns + 7))
    assert not _is_this_process(record(os.getpid(), ours_ns - TICK_NS))
    assert not _is_this_process(record(os.getpid(), time.clock_gettime_ns(time.CLOCK_BOOTTIME) + TICK_NS))
    assert not _is_this_process(record(os.getpid() + 1, ours_ns))
