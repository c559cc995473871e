"""A memcg of our own, on v1 or v2, whichever hierarchy holds the memory controller.

Belongs here: making it, limiting it, moving processes in, removing it. Must not know: what runs in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from oompolicy.errors import BackendError, OompolicyError, PrivilegeError

REMOVE_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class OwnMemcg:
    """A cgroup directory that we made. path is its place in the file system, scope its path from the root."""

    path: Path
    scope: str
    is_v1: bool

    def limit(self, limit_mib: int) -> None:
        """No more than limit_mib of memory, and no swap."""
        limit_bytes = str(limit_mib << 20)
        if self.is_v1:
            self._write("memory.limit_in_bytes", limit_bytes)
            # Absent where the kernel does not account swap (swapaccount=0).
            if (self.path / "memory.memsw.limit_in_bytes").exists():
                self._write("memory.memsw.limit_in_bytes", limit_bytes)
            self._write("memory.swappiness", "0")
            return
        self._write("memory.max", limit_bytes)
        if (self.path / "memory.swap.max").exists():
            self._write("memory.swap.max", "0")

    def child(self, name: str) -> OwnMemcg:
        """A cgroup below it, with a memory account of its own."""
        if not self.is_v1:
            self._write("cgroup.subtree_control", "+memory")
        return _make(OwnMemcg(self.path / name, f"{self.scope}/{name}", self.is_v1))

    def oom_group(self, on: bool) -> None:
        """memory.oom.group; v2 only."""
        self._write("memory.oom.group", "1" if on else "0")

    def add(self, pid: int) -> None:
        """Move a process in."""
        self._write("cgroup.procs", str(pid))

    def _write(self, name: str, text: str) -> None:
        try:
            (self.path / name).write_text(text)
        except OSError as error:
            raise BackendError(self.path / name, f"cannot write {text}: {error.strerror}") from None


def make_memcg(mount: Path, is_v1: bool, name: str) -> OwnMemcg:
    """A new memcg below the root of the memory hierarchy mounted there.

    Raises PrivilegeError without root, BackendError where v2's root does not hand memory to its children.
    """
    if not is_v1:
        control = mount / "cgroup.subtree_control"
        if "memory" not in control.read_text().split():
            raise BackendError(
                control, "the memory controller is not enabled for child cgroups", f"echo +memory > {control}"
            )
    return _make(OwnMemcg(mount / name, f"/{name}", is_v1))


def _make(memcg: OwnMemcg) -> OwnMemcg:
    try:
        memcg.path.mkdir()
    except PermissionError:
        raise PrivilegeError(memcg.path, "making a cgroup needs root") from None
    except OSError as error:
        if error.errno == errno.EROFS:
            raise PrivilegeError(memcg.path, "the cgroup file system is mounted read-only here") from None
        raise BackendError(memcg.path, f"cannot be made: {error.strerror}") from None
    return memcg


def remove_tree(path: Path) -> None:
    """Kill what is in a memcg of ours and remove it with all below it. Raises OompolicyError where it stays."""
    deadline = time.monotonic() + REMOVE_WITHIN_S
    while path.exists():
        for directory, _, _ in os.walk(path, topdown=False):
            _kill_all(Path(directory))
            # Busy until the last process has been reaped; gone where somebody else was quicker.
            with contextlib.suppress(OSError):
                Path(directory).rmdir()
        if path.exists():
            if time.monotonic() > deadline:
                raise OompolicyError(path, "is still in use and cannot be removed", f"rmdir {path}")
            time.sleep(0.02)


def _kill_all(path: Path) -> None:
    """SIGKILL every process in a cgroup. Only ever called on a cgroup that we made for processes that we started."""
    with contextlib.suppress(OSError):
        for pid in (path / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
