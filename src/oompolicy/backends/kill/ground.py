"""Where the kernel's files are, and what is kept ready for a kill: spare descriptors, the reaper's thread.

Belongs here: reading and writing one small file of /proc or of a cgroup. Must not know: what is done with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from oompolicy.backends.kill.reaper import Reaper, Victim

# ESRCH: the process was reaped. ENODEV: the cgroup was removed (fs/kernfs/dir.c, kernfs_get_active()).
GONE: Final = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENOTDIR})
OUT_OF_FDS: Final = frozenset({errno.EMFILE, errno.ENFILE})
# A look at the machine holds up to five at once: a process whose leader has exited (sources/procfs.py).
_SPARE_FDS: Final = 8
_CHUNK_BYTES: Final = 1 << 16


class Ground:
    """proc: procfs. cgroups: the directory of the memory hierarchy, None where there is none.

    path_of: from the bytes of a /proc/PID/cgroup to the cgroup's path in that hierarchy, None where it is outside.
    """

    def __init__(
        self, cgroups: Path | None, is_v1: bool, path_of: Callable[[bytes], str | None], proc: Path = Path("/proc")
    ) -> None:
        self.proc = proc
        self.cgroups = cgroups
        self.is_v1 = is_v1
        self.path_of = path_of
        self.reaper: Reaper | None = None
        self._spare: list[int] = []
        self.keep_spare()

    def keep_spare(self) -> None:
        """Hold some descriptors, to be let go of when a kill needs them (EMFILE, ENFILE)."""
        with contextlib.suppress(OSError):
            while len(self._spare) < _SPARE_FDS:
                self._spare.append(os.open("/dev/null", os.O_PATH | os.O_CLOEXEC))

    def spend_spare(self) -> bool:
        """Let go of them; False where there are none any more."""
        had = bool(self._spare)
        while self._spare:
            os.close(self._spare.pop())
        return had

    def start_reaper(self) -> None:
        """Have the memory of victims taken; not before everything is forked that will be."""
        with contextlib.suppress(RuntimeError):
            self.reaper = Reaper()

    def reap(self, victim: Victim) -> None:
        """Take the memory of one that has been sent SIGKILL, without waiting for it."""
        if self.reaper is not None:
            self.reaper.take(victim)

    def reap_all(self, pids: Iterable[int]) -> None:
        """The same of many, by their pids."""
        if self.reaper is not None:
            self.reaper.take_all(pids)

    def close(self) -> None:
        """Let go of everything."""
        self.spend_spare()
        if self.reaper is not None:
            self.reaper.close()
            self.reaper = None

    def cgroup(self, path: str) -> Path:
        """The directory of a cgroup. Only after cgroups is known not to be None."""
        assert self.cgroups is not None
        return self.cgroups / path.lstrip("/")

    def usage_bytes(self, path: str) -> int | None:
        """What a cgroup uses; None where it has gone."""
        if self.cgroups is None:
            return None
        return number_in(self.cgroup(path) / ("memory.usage_in_bytes" if self.is_v1 else "memory.current"))


def read_small(path: Path | str, dir_fd: int | None = None) -> bytes:
    """All of a small file. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        content = b""
        while chunk := os.read(fd, _CHUNK_BYTES):
            content += chunk
        return content
    finally:
        os.close(fd)


def write_small(path: Path, text: str) -> None:
    """Write a kernel's file in one go. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)  # as the shell does: a copy of a tree has real files
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def number_in(path: Path) -> int | None:
    """The number in a file; None where there is no file, or no number in it ("max")."""
    try:
        return int(read_small(path))
    except (OSError, ValueError):
        return None
