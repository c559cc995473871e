"""What is read of a process only when somebody asks: its program, its arguments, its environment.

Belongs here: three files of /proc/PID, of the very process that was seen. Must not know: why they are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from oompolicy.mm.sched import Task
from oompolicy.sources.kernel_file import read_at, read_records_at
from oompolicy.sources.procfs import parse_stat

_DELETED: Final = " (deleted)"  # d_path(), fs/d_path.c: the file has been replaced, as by an update

_MINFLT, _MAJFLT = 7, 9  # fields of stat after the comm, do_task_stat() in fs/proc/array.c


class ProcDetails:
    """Of the processes of one procfs (see snapshot.Details). tick_ns is the length of a clock tick."""

    def __init__(self, proc: Path, tick_ns: int) -> None:
        self._proc = proc
        self._tick_ns = tick_ns

    def exe(self, task: Task) -> str | None:
        """The path of the program's file, as its mount namespace has it."""
        try:
            with self._opened(task) as folder:
                return os.readlink("exe", dir_fd=folder).removesuffix(_DELETED)
        except OSError:
            return None

    def cmdline(self, task: Task) -> str | None:
        """Its arguments, joined by spaces; a process may write over them."""
        try:
            with self._opened(task) as folder:
                return " ".join(_texts(read_records_at(folder, "cmdline")))
        except OSError:
            return None

    def environment(self, task: Task) -> tuple[str, ...]:
        """As it was when the program was started; a process may write over it."""
        try:
            with self._opened(task) as folder:
                return tuple(_texts(read_records_at(folder, "environ")))
        except OSError:
            return ()

    def faults(self, task: Task) -> int | None:
        """How many pages it has faulted in, minor and major faults of all its threads; None where it has gone."""
        try:
            with self._opened(task) as folder:
                words = read_at(folder, "stat").rpartition(b")")[2].split()
                return int(words[_MINFLT]) + int(words[_MAJFLT])
        except OSError:
            return None

    @contextmanager
    def _opened(self, task: Task) -> Iterator[int]:
        """The process's folder, if it is still that process's. Raises OSError."""
        folder = os.open(self._proc / str(task.process_id), os.O_PATH | os.O_DIRECTORY)
        try:
            ticks = parse_stat(read_at(folder, "stat")).start_time
            if task.start_time_ns is not None and ticks * self._tick_ns != task.start_time_ns:
                raise ProcessLookupError(task.process_id)
            yield folder
        finally:
            os.close(folder)


def _texts(content: bytes) -> list[str]:
    """Texts that each end with a NUL; the last may have lost it."""
    text = content.decode("utf-8", "surrogateescape")
    return text.removesuffix("\0").split("\0") if text else []
