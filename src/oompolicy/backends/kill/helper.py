"""All that needs a fork, done by a small process that was forked at the start, when there was memory.

Belongs here: both ends of it: asking for a command, and running it under a time limit. Must not know: what commands do.

Messages are JSON, one a packet: {"ticket", "argv", "env", "limit_ms", "user"} goes there, {"ticket", "ended"} comes
back. The helper ends when its socket does, and everything it runs with it; if it is gone, the one who asks learns it
by the ticket, and goes on without.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from oompolicy.backends.kill.desktop import User

_PACKET_BYTES: Final = 1 << 16
_GONE: Final = "left out: the helper that runs commands has gone"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAME: Final = "oompolicy-run"


class Helper:
    """The daemon's end (see pending.Runner). Made before anything else is: the helper inherits what there is."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._tickets = 0
        self._running: set[int] = set()
        self._ended: dict[int, str] = {}
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            _live(theirs)
        theirs.close()
        ours.setblocking(False)
        self._socket: socket.socket | None = ours

    def start(
        self, argv: tuple[str, ...], env: Mapping[str, str], limit_ms: int, user: User | None = None
    ) -> int | None:
        """Run a command, and end it after so long. A ticket; None where the helper has gone, or does not listen."""
        self._listen()  # what nobody asked for must not fill the socket
        if self._socket is None:
            return None
        self._tickets += 1
        message = {"ticket": self._tickets, "argv": argv, "env": dict(env), "limit_ms": limit_ms}
        if user is not None:
            message["user"] = [user.uid, user.gid]
        packet = json.dumps(message).encode()
        if len(packet) > _PACKET_BYTES:
            return None
        try:
            self._socket.send(packet)
        except BlockingIOError:
            return None
        except OSError:
            self._lose()
            return None
        self._running.add(self._tickets)
        return self._tickets

    def ended(self, ticket: int) -> str | None:
        """How it ended, in words; None while it runs. Each is told once."""
        self._listen()
        return self._ended.pop(ticket, None)

    def fds(self) -> tuple[int, ...]:
        """Readable when a command has ended, or the helper has."""
        return () if self._socket is None else (self._socket.fileno(),)

    def forget(self, ticket: int) -> None:
        """How it ends is of no interest."""
        self._running.discard(ticket)
        self._ended.pop(ticket, None)

    def close(self) -> None:
        """The helper ends when it finds nobody at the other end."""
        self._lose()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _listen(self) -> None:
        while self._socket is not None:
            try:
                packet = self._socket.recv(_PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._lose()
                return
            message = json.loads(packet)
            if message["ticket"] in self._running:
                self._running.discard(message["ticket"])
                self._ended[message["ticket"]] = str(message["ended"])

    def _lose(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._ended.update(dict.fromkeys(self._running, _GONE))
        self._running.clear()


@dataclass(slots=True)
class _Running:
    """A command of the helper's: it leads a session of its own, so that all it starts can be ended with it."""

    ticket: int
    pid: int
    pidfd: int
    until_ms: int
    limit_ms: int


def _live(theirs: socket.socket) -> None:
    """The helper's whole life; never returns."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):  # meant for the daemon, on whose terminal we are
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        kept = theirs.fileno()
        os.closerange(3, kept)  # a lock of the daemon's must not outlive it in us
        os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
        _be_killable()
        _serve(theirs)
    except BaseException:
        os._exit(1)
    os._exit(0)


def _be_killable() -> None:
    """The daemon may be unkillable; what it has run need not be. Raising oom_score_adj is anybody's right."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(_NAME)
        adj = Path("/proc/self/oom_score_adj")
        if int(adj.read_text()) < 0:
            adj.write_text("0")


def _serve(theirs: socket.socket) -> None:
    running: list[_Running] = []
    left: set[int] = set()  # ended after their limit, and to be reaped
    packet = bytearray(_PACKET_BYTES)  # had now: when it is needed there may be no memory for one
    while True:
        left = {pid for pid in left if not _is_reaped(pid)}
        poll = select.poll()
        poll.register(theirs, select.POLLIN)
        for one in running:
            poll.register(one.pidfd, select.POLLIN)
        soonest = min((one.until_ms for one in running), default=None)
        ready = {fd for fd, _ in poll.poll(None if soonest is None else max(soonest - _now_ms(), 0))}
        over = [one for one in running if _is_over(theirs, one, one.pidfd in ready)]
        running = [one for one in running if one not in over]
        left |= {one.pid for one in over}
        if theirs.fileno() in ready:
            size = theirs.recv_into(packet)
            if size == 0:
                for one in running:
                    _end(one)
                return
            started = _start(theirs, json.loads(packet[:size]))
            running += [] if started is None else [started]


def _start(theirs: socket.socket, message: dict[str, Any]) -> _Running | None:
    try:
        pid = os.fork()
    except OSError as error:
        _answer(theirs, message["ticket"], f"could not be started: {error.strerror}")
        return None
    if pid == 0:
        _become(message)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)  # whoever comes first: it must lead its group before it can be asked to end
    return _Running(
        message["ticket"], pid, os.pidfd_open(pid), _now_ms() + message["limit_ms"], int(message["limit_ms"])
    )


def _become(message: dict[str, Any]) -> None:
    """The command, in a process of its own; never returns. What it prints goes where the daemon's log goes."""
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        if "user" in message:
            uid, gid = message["user"]
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        os.chdir("/")
        nothing = os.open("/dev/null", os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        env = {"PATH": _PATH, "LANG": "C.UTF-8", **message["env"]}
        os.execvpe(message["argv"][0], message["argv"], env)  # noqa: S606 - a list from the configuration, no shell
    except BaseException:
        os._exit(127)


def _is_over(theirs: socket.socket, one: _Running, has_ended: bool) -> bool:
    """Tell of one that has ended, or has run too long."""
    if has_ended:
        _, status = os.waitpid(one.pid, 0)
        os.close(one.pidfd)
        code = os.waitstatus_to_exitcode(status)
        how = {0: "done", 127: "could not be started: no such command"}.get(code)
        _answer(theirs, one.ticket, how or (f"ended with status {code}" if code > 0 else f"died of signal {-code}"))
        return True
    if _now_ms() < one.until_ms:
        return False
    _end(one)
    _answer(theirs, one.ticket, f"ran longer than {one.limit_ms} ms: ended")
    return True


def _end(one: _Running) -> None:
    """SIGKILL to the command and all of its group; it is not reaped, so the number is still its own."""
    with contextlib.suppress(OSError):
        os.killpg(one.pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.kill(one.pid, signal.SIGKILL)
    os.close(one.pidfd)


def _is_reaped(pid: int) -> bool:
    """Has it left nothing behind? One that hangs in the kernel is not waited for."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _answer(theirs: socket.socket, ticket: int, ended: str) -> None:
    with contextlib.suppress(OSError):
        theirs.send(json.dumps({"ticket": ticket, "ended": ended}).encode())


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
