"""Requests to a running daemon answered: values given and told, a look, a reload.

Belongs here: what is done for each request, and the answer. Must not know: what bounds clients, how
values are put in force.
"""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Protocol

from oompolicy.backends.backend import TakeSnapshot
from oompolicy.daemon.requests import Request, RequestError, request_of, whom_of
from oompolicy.daemon.upkeep import a_bug
from oompolicy.errors import OompolicyError
from oompolicy.mm.memcontrol import MemCgroup, ancestors
from oompolicy.mm.sched import Task
from oompolicy.service.control_socket import ControlSocket
from oompolicy.service.log import log
from oompolicy.snapshot import Snapshot
from oompolicy.values.given import MOST, GivenValue, OfCgroup, Whom, process_of
from oompolicy.values.order import ValueOrder

NAME: Final = "control.sock"  # in the state directory


class Served(Protocol):
    """The daemon, as far as requests reach."""

    def look_now(self) -> None:
        """Look at once. Raises OompolicyError where nothing is kept in force, or could not be."""

    def values_changed(self) -> None:
        """Look soon."""

    def begin_reload(self) -> None:
        """Read the configuration anew; reloaded() is told of the end."""


class Console:
    """The control socket of a state directory, and what it is good for."""

    def __init__(self, state_dir: Path, values: ValueOrder, take_snapshot: TakeSnapshot) -> None:
        self._socket = ControlSocket(state_dir / NAME, self._answer)
        self._values = values
        self._take_snapshot = take_snapshot
        self._daemon: Served | None = None
        self._wait_for_reload: list[int] = []

    def open(self, poll: select.poll, daemon: Served) -> None:
        """Listen; where that cannot be, it is said, and the daemon goes without."""
        self._daemon = daemon
        try:
            self._socket.open(poll)
        except OSError as error:
            log(f"{self._socket.path}: {error.strerror or error}: no requests are taken")

    def owns(self, fd: int) -> bool:
        """Is it one of the descriptors here?"""
        return self._socket.owns(fd)

    def take(self, fd: int) -> None:
        """poll() has said something of one of them."""
        self._socket.take(fd, _now_ms())

    @property
    def has_clients(self) -> bool:
        """Is there anybody to answer?"""
        return self._socket.has_clients

    def turn(self) -> int | None:
        """Answer one request; when to be called next, None: not before poll() says something."""
        return self._socket.turn(_now_ms())

    def reloaded(self, error: OompolicyError | None) -> None:
        """Tell those that wait for it."""
        waiting, self._wait_for_reload = self._wait_for_reload, []
        for ticket in waiting:
            self._socket.reply(ticket, _done() if error is None else _failed(str(error)), _now_ms())

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def _answer(self, line: bytes, ticket: int) -> bytes | None:
        try:
            request = request_of(line)
            return _DOES[request.do](self, request, ticket)
        except OompolicyError as error:
            return _failed(str(error))
        except Exception as error:  # a bug of ours is an answer, too, and not the daemon's end
            return _failed(a_bug(error))

    def _set(self, request: Request, ticket: int) -> bytes:
        whom = whom_of(request)
        if request.value is None:
            self._values.given.take_back(whom)
        else:
            until_ms = None if request.ttl_ms is None else _now_ms() + request.ttl_ms
            if not self._values.given.give(whom, GivenValue(request.value, until_ms)):
                raise RequestError("set", f"there are {MOST} values already", "take some back, or give them a ttl_ms")
        assert self._daemon is not None
        self._daemon.values_changed()
        return _done(**_named(whom))

    def _get(self, request: Request, ticket: int) -> bytes:
        """From a fresh snapshot: what was published is as old as the last look."""
        whom = whom_of(request)
        steps = self._values.steps(self._take_snapshot(), _now_ms())
        found = _value_of_cgroup(steps, whom) if isinstance(whom, OfCgroup) else _value_of_process(steps, whom)
        return _done(**_named(whom), **found)

    def _list(self, request: Request, ticket: int) -> bytes:
        now = _now_ms()
        return _done(
            values=[
                {
                    **_named(whom),
                    "value": each.value,
                    "ends_in_ms": None if each.until_ms is None else each.until_ms - now,
                }
                for whom, each in self._values.given.all(now).items()
            ]
        )

    def _look(self, request: Request, ticket: int) -> bytes:
        assert self._daemon is not None
        self._daemon.look_now()
        return _done()

    def _reload(self, request: Request, ticket: int) -> None:
        assert self._daemon is not None
        self._wait_for_reload.append(ticket)
        self._daemon.begin_reload()


_DOES: Final[dict[str, Callable[[Console, Request, int], bytes | None]]] = {
    "set": Console._set,
    "get": Console._get,
    "list": Console._list,
    "look": Console._look,
    "reload": Console._reload,
}


def _value_of_cgroup(steps: Iterable[tuple[str, Snapshot]], whom: OfCgroup) -> dict[str, Any]:
    """What it has, its own or the nearest ancestor's, of whom, and which source has the last word."""
    found: tuple[int | None, str | None] = (None, None)
    source = None
    for name, snapshot in steps:
        memcg = snapshot.kernel.memcg(whom.path)
        now = (None, None) if memcg is None else _nearest(memcg)
        if now != found:
            found, source = now, name
    return {"value": found[0], "of": found[1], "source": source}


def _value_of_process(steps: Iterable[tuple[str, Snapshot]], whom: Whom) -> dict[str, Any]:
    """Its own, and its cgroup's."""
    value = source = None
    task: Task | None = None
    for name, snapshot in steps:
        task = next((each for each in snapshot.kernel.tasks if process_of(each) == whom), None)
        now = None if task is None else task.value
        if now != value:
            value, source = now, name
    memcg = None if task is None else task.memcg
    of_cgroup = None if memcg is None else memcg.nearest_value
    return {
        "value": value,
        "source": source,
        "cgroup": None if memcg is None else memcg.path,
        "value_of_cgroup": of_cgroup,
    }


def _nearest(memcg: MemCgroup) -> tuple[int | None, str | None]:
    of = next((each for each in ancestors(memcg) if each.value is not None), None)
    return (None, None) if of is None else (of.value, of.path)


def _named(whom: Whom) -> dict[str, Any]:
    if isinstance(whom, OfCgroup):
        return {"cgroup": whom.path}
    return {"pid": whom.pid, "start_ticks": whom.start_ticks}


def _done(**more: object) -> bytes:
    return json.dumps({"ok": True, **more}).encode()


def _failed(why: str) -> bytes:
    return json.dumps({"ok": False, "error": why}).encode()


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
