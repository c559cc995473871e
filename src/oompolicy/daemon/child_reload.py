"""A reload by a child: the command line reads the configuration anew, and hands over what it has understood.

Belongs here: the child, its answer and its time limit. Must not know: what a configuration is. The daemon itself loads
none of the libraries for it, and goes on with its work meanwhile.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from oompolicy.daemon.config_watch import ConfigWatch
from oompolicy.daemon.upkeep import Orders
from oompolicy.errors import ConfigError, OompolicyError

# In the child's environment: where to write the answer, and the oom_score_adj that it is to have.
ANSWER_TO: Final = "OOMPOLICY_ANSWER_TO"
ADJ: Final = "OOMPOLICY_ADJ"

# The first byte of an answer.
UNDERSTOOD: Final = b"+"
REFUSED: Final = b"-"

LIMIT_MS: Final = 30_000
_PIECE_BYTES: Final = 1 << 16


class ChildReload:
    """command is the daemon's own command line; obey makes orders of what the child hands over.

    changes is told when the configuration is read, and which Python files it names although it was refused.
    """

    def __init__(
        self, command: tuple[str, ...], obey: Callable[[bytes], Orders], changes: ConfigWatch | None = None
    ) -> None:
        self._command = command
        self._obey = obey
        self.changes = changes

    def begin(self, now_ms: int) -> _Child:
        """Raises ConfigError where no child can be had."""
        if self.changes is not None:
            self.changes.read()
        try:
            return _Child(self._command, self._obeyed, now_ms + LIMIT_MS)
        except OSError as error:
            raise ConfigError("reload", f"no process for it ({error.strerror})", "try again with more memory") from None

    def _obeyed(self, answer: bytes) -> Orders:
        kind, rest = answer[:1], answer[1:]
        if kind == UNDERSTOOD:
            return self._obey(rest)
        if kind != REFUSED:
            raise _RefusedError("the process that reads it has died")
        why, python = marshal.loads(rest)  # noqa: S302 - written by ourselves, see refusal()
        if python is not None and self.changes is not None:
            self.changes.follow_python(map(Path, python))
        raise _RefusedError(why)


class _Child:
    """One reload under way."""

    def __init__(self, command: tuple[str, ...], obeyed: Callable[[bytes], Orders], until_ms: int) -> None:
        self.until_ms = until_ms
        self._obeyed = obeyed
        self._answer = b""
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_inheritable(writing, True)
        os.set_blocking(writing, True)
        try:
            environment = {**os.environ, ANSWER_TO: str(writing), ADJ: "0"}
            self._pid = os.posix_spawn(command[0], command, environment)
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self.fd: int | None = reading

    def take(self, now_ms: int) -> Orders | None:
        """What the child says, once it has said all of it."""
        assert self.fd is not None
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self.fd, _PIECE_BYTES):
                self._answer += piece
            return self._obeyed(self._answer)
        if now_ms >= self.until_ms:
            raise ConfigError("reload", f"took longer than {LIMIT_MS // 1000} s")
        return None

    def close(self) -> None:
        """End it, if it has not ended."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
            with contextlib.suppress(OSError):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)


class _RefusedError(ConfigError):
    """An error whose words another process has found."""

    def __init__(self, words: str) -> None:
        super().__init__("the configuration", words)
        self._words = words

    def __str__(self) -> str:
        return self._words


def refusal(error: OompolicyError, python: Iterable[Path] | None) -> bytes:
    """In the child: what is handed over with REFUSED. python: what the configuration names; None: that is not known."""
    return marshal.dumps((str(error), None if python is None else [str(path) for path in python]))


def answer(kind: bytes, data: bytes) -> None:
    """In the child: hand this over to the daemon that asks, as far as one does."""
    os.environ.pop(ADJ, None)
    fd = int(os.environ.pop(ANSWER_TO))
    with os.fdopen(fd, "wb") as stream:
        stream.write(kind + data)


def be_ordinary() -> bool:
    """Is this the child of a daemon that reloads? Then give up what only the daemon is to have."""
    if ANSWER_TO not in os.environ:
        return False
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(os.environ.get(ADJ, "0"))
    return True
