"""The daemon's log: a line on standard error, or a record with fields for journald.

Belongs here: where a line goes, and that writing it never stops or slows the daemon. Must not know: what is said.
A line that cannot be written (a full disk, a reader that has stopped reading) is dropped and counted.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"
INFO: Final = 6  # syslog(3)


class Log:
    """Lines for standard error; records for journald where it is what reads standard error."""

    def __init__(self) -> None:
        self.dropped = 0
        self._journal: socket.socket | None = None
        self._flags = 0
        self._about: dict[str, object] = {}

    def use_journal(self, path: str = JOURNAL_SOCKET, environment: Mapping[str, str] = os.environ) -> bool:
        """Send records from now on, if $JOURNAL_STREAM says that standard error leads there (systemd.exec(5))."""
        if not _leads_to_journal(environment.get("JOURNAL_STREAM", "")):
            return False
        import socket  # some hundred KiB that a daemon without journald need not have

        self._flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
        journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            journal.connect(path)
        except OSError:
            journal.close()
            return False
        self._journal = journal
        return True

    @contextlib.contextmanager
    def about(self, **fields: object) -> Iterator[None]:
        """What is said meanwhile has these fields, whoever says it."""
        before, self._about = self._about, {**self._about, **fields}
        try:
            yield
        finally:
            self._about = before

    def __call__(self, text: str, /, priority: int = INFO, **fields: object) -> None:
        """One line; fields go to journald as OOMPOLICY_NAME=value."""
        printable = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
        if self._journal is None:
            self._write(f"oompolicy: {printable}\n")
            return
        named = {f"OOMPOLICY_{name.upper()}": str(value) for name, value in {**self._about, **fields}.items()}
        record = {"MESSAGE": printable, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": "oompolicy", **named}
        try:
            self._journal.send(journal_record(record), self._flags)
        except OSError:
            self._write(f"oompolicy: {printable}\n")

    def _write(self, line: str) -> None:
        if self.dropped:
            line = f"oompolicy: {self.dropped} lines before this one were lost\n{line}"
        try:
            is_written = _written(line)
        except (OSError, ValueError):
            is_written = False
        self.dropped = 0 if is_written else self.dropped + 1


def _written(line: str) -> bool:
    """Was there room for the line? Raises OSError where it cannot be written.

    It goes past the buffer of sys.stderr, which would keep what a full disk has refused, and fail again at the end.
    """
    try:
        fd = sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):  # no file: a test's
        sys.stderr.write(line)
        return True
    if not _takes(fd):
        return False
    os.write(fd, line.encode(errors="backslashreplace"))
    return True


def journal_record(fields: Mapping[str, str]) -> bytes:
    """A datagram in journald's native protocol: NAME=value lines; a value of several lines with its length before it.

    Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/

    >>> journal_record({"MESSAGE": "a", "X": "b\\nc"})
    b'MESSAGE=a\\nX\\n\\x03\\x00\\x00\\x00\\x00\\x00\\x00\\x00b\\nc\\n'
    """
    parts: list[bytes] = []
    for name, text in fields.items():
        value = text.encode(errors="surrogateescape")
        if b"\n" in value:
            parts += [name.encode(), b"\n", len(value).to_bytes(8, "little"), value, b"\n"]
        else:
            parts += [name.encode(), b"=", value, b"\n"]
    return b"".join(parts)


def _leads_to_journal(stream: str) -> bool:
    """Is standard error the stream "device:inode" that systemd names?"""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        status = os.fstat(sys.stderr.fileno())
        return stream == f"{status.st_dev}:{status.st_ino}"
    return False


def _takes(fd: int) -> bool:
    """Would a write of a line not wait? A pipe that is writable takes PIPE_BUF bytes at once."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


log: Final = Log()
