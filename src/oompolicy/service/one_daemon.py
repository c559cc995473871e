"""One daemon at a time for a state directory, whatever its backend.

Belongs here: the lock. Must not know: what the daemon does. The kernel forgets the lock with its holder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

from oompolicy.errors import BackendError, PrivilegeError

_NAME: Final = "daemon.lock"


class OneDaemon:
    """The lock of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / _NAME
        self._fd = -1

    def take(self) -> None:
        """Raises BackendError where another daemon has it, PrivilegeError where the directory is not ours."""
        folder = self._path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except PermissionError:
            raise PrivilegeError(folder, "cannot be used", "run as root, or name another state_dir") from None
        except OSError as error:
            raise BackendError(folder, f"cannot be used: {error.strerror}", "name another state_dir") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "?"
            os.close(fd)
            raise BackendError(
                folder, f"another oompolicy (pid {holder}) is at work there", "stop it first, it puts all back"
            ) from None
        with contextlib.suppress(OSError):  # a full disk: it is the lock that counts, not whose it is said to be
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Let others have it; a second time does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
