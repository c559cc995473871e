"""The control socket: lines from root's programs, each answered by a line, in the daemon's own poll().

Belongs here: the socket, its clients, and what bounds them. Must not know: what a line asks for.

Nothing here waits. At most one line is answered in a turn, so that rules have their turn in between; a client that
sends too much, reads nothing or says nothing is let go.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

LINE_MAX_BYTES: Final = 65_536
CLIENTS_MAX: Final = 16
BACKLOG: Final = 64  # that may wait until they are looked at
# One that has not sent a line, or not read an answer, for so long.
IDLE_MS: Final = 30_000
# Where there are no descriptors for another client, poll() would say again and again that one waits.
DEAF_MS: Final = 1_000

# The line, and who is to have the answer; None: it comes later, by reply().
Answer = Callable[[bytes, int], bytes | None]

_UCRED: Final = struct.Struct("iII")  # pid, uid, gid; include/linux/socket.h


class ControlSocket:
    """A listening socket at a path that only root can reach (mode 0600; and who connects is asked for, too)."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.path = path
        self._answer = answer
        self._poll = select.poll()
        self._listening: socket.socket | None = None
        self._clients: dict[int, _Client] = {}
        self._tickets = 0
        self._deaf_until_ms: int | None = None

    def open(self, poll: select.poll) -> None:
        """Listen. Raises OSError. The caller has the directory's lock: what lies there is of a dead daemon."""
        self._poll = poll
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            self.path.unlink(missing_ok=True)
            listening.bind(os.fspath(self.path))
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        finally:
            os.umask(before)
        self._listening = listening
        poll.register(listening.fileno(), select.POLLIN)

    def owns(self, fd: int) -> bool:
        """Is it one of the descriptors here?"""
        return fd in self._clients or (self._listening is not None and fd == self._listening.fileno())

    def take(self, fd: int, now_ms: int) -> None:
        """poll() has said something of a descriptor here."""
        client = self._clients.get(fd)
        if client is None:
            self._accept(now_ms)
        elif not client.exchange(now_ms):
            self._drop(client)
        else:
            client.watch(self._poll)

    @property
    def has_clients(self) -> bool:
        """Is anybody connected?"""
        return bool(self._clients)

    def turn(self, now_ms: int) -> int | None:
        """Answer one line, let go of who is idle; when to be called next, None: not before poll() says something.

        After an answer that is at once: there may be more lines, and what was asked for may have changed what is due.
        """
        for client in list(self._clients.values()):
            if client.is_to_go(now_ms):
                self._drop(client)
        if self._listening is not None and self._deaf_until_ms is not None and self._deaf_until_ms <= now_ms:
            self._deaf_until_ms = None
            self._poll.register(self._listening.fileno(), select.POLLIN)
        ready = [client for client in self._clients.values() if client.has_line]
        if ready:
            client = min(ready, key=lambda one: one.served_ms)
            client.served_ms = now_ms
            client.is_waiting = True
            answer = self._answer(client.next_line(), client.ticket)
            if answer is not None:
                self.reply(client.ticket, answer, now_ms)
            return now_ms
        waits = [self._deaf_until_ms, *(client.idle_from_ms for client in self._clients.values())]
        return min((each for each in waits if each is not None), default=None)

    def reply(self, ticket: int, answer: bytes, now_ms: int) -> None:
        """The answer to a line, to whoever is still there."""
        client = next((each for each in self._clients.values() if each.ticket == ticket), None)
        if client is None:
            return
        client.is_waiting, client.heard_ms = False, now_ms
        client.out += answer + b"\n"
        if client.exchange(now_ms):
            client.watch(self._poll)
        else:
            self._drop(client)

    def close(self) -> None:
        """Let go of everything; a second time does nothing."""
        for client in list(self._clients.values()):
            self._drop(client)
        listening, self._listening = self._listening, None
        if listening is not None:
            if self._deaf_until_ms is None:
                self._poll.unregister(listening.fileno())
            listening.close()
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _accept(self, now_ms: int) -> None:
        """Those that wait, as many as there may be at once."""
        assert self._listening is not None
        for _ in range(CLIENTS_MAX):
            try:
                connection, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError:  # there are no descriptors, or it has gone again
                self._poll.unregister(self._listening.fileno())
                self._deaf_until_ms = now_ms + DEAF_MS
                return
            self._welcome(connection, now_ms)

    def _welcome(self, connection: socket.socket, now_ms: int) -> None:
        connection.setblocking(False)
        _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid not in (0, os.geteuid()) or not self._has_room():
            connection.close()
            return
        self._tickets += 1
        client = self._clients[connection.fileno()] = _Client(connection, self._tickets, now_ms)
        client.watch(self._poll)

    def _has_room(self) -> bool:
        """Whoever has been silent for longest makes room."""
        if len(self._clients) >= CLIENTS_MAX:
            silent = [client for client in self._clients.values() if not client.is_waiting]
            if not silent:
                return False
            self._drop(min(silent, key=lambda one: one.heard_ms))
        return True

    def _drop(self, client: _Client) -> None:
        del self._clients[client.fd]
        client.close(self._poll)


class _Client:
    """One connection. heard_ms: when it last said something, or took something."""

    def __init__(self, connection: socket.socket, ticket: int, now_ms: int) -> None:
        self.fd = connection.fileno()
        self.ticket = ticket
        self.heard_ms = self.served_ms = now_ms
        self.out = b""
        self.is_waiting = False
        self._connection = connection
        self._read = b""
        self._has_ended = False
        self._watched = 0

    @property
    def has_line(self) -> bool:
        """Is there a line to answer, and the last answer taken?"""
        return not self.is_waiting and not self.out and (b"\n" in self._read or self._is_too_long)

    @property
    def is_over(self) -> bool:
        """Has it said all, and taken all?"""
        return self._has_ended and not self.has_line and not self.is_waiting and not self.out

    @property
    def idle_from_ms(self) -> int | None:
        """When it is let go, if nothing comes of it before; None: it waits for us."""
        return None if self.is_waiting else self.heard_ms + IDLE_MS

    def is_to_go(self, now_ms: int) -> bool:
        """Has it said and taken all, or nothing for too long?"""
        return self.is_over or (self.idle_from_ms is not None and self.idle_from_ms <= now_ms)

    @property
    def _is_too_long(self) -> bool:
        return len(self._read) > LINE_MAX_BYTES

    def next_line(self) -> bytes:
        """The line; one that is too long is the last that is heard of."""
        line, found, rest = self._read.partition(b"\n")
        if len(line) > LINE_MAX_BYTES or not found:
            self._has_ended, rest = True, b""
        self._read = rest
        return line

    def exchange(self, now_ms: int) -> bool:
        """Take and give what can be without waiting; False where the other end is gone."""
        try:
            if self.out:
                sent = self._connection.send(self.out, socket.MSG_NOSIGNAL)
                self.out, self.heard_ms = self.out[sent:], now_ms
            if self._wants_more:
                piece = self._connection.recv(LINE_MAX_BYTES)
                self._read, self.heard_ms = self._read + piece, now_ms
                self._has_ended = not piece
                # Whoever has ended with no newline has said a line all the same.
                if self._has_ended and self._read and not self._read.endswith(b"\n"):
                    self._read += b"\n"
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def watch(self, poll: select.poll) -> None:
        """Have poll() wait for what can go on; for nothing, where an answer is to be found first."""
        wanted = (select.POLLIN if self._wants_more else 0) | (select.POLLOUT if self.out else 0)
        if wanted == self._watched:
            return
        if wanted:
            poll.register(self.fd, wanted)
        else:
            poll.unregister(self.fd)  # a hang-up would be told of again and again
        self._watched = wanted

    def close(self, poll: select.poll) -> None:
        """Let go of it."""
        if self._watched:
            poll.unregister(self.fd)
        self._connection.close()

    @property
    def _wants_more(self) -> bool:
        return not (self._has_ended or self.is_waiting or self.out or b"\n" in self._read or self._is_too_long)
