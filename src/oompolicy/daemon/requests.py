"""Requests to a running daemon: what a line may say, and whom it is about.

Belongs here: the form of a request, finding the cgroup or the process. Must not know: sockets, what is done.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oompolicy.errors import GoneError, OompolicyError
from oompolicy.mistakes import nearest
from oompolicy.mm.limits import LONG_MAX, LONG_MIN
from oompolicy.sources.cgroup_mount import Hierarchy, cgroup_directory, find_memory_hierarchy
from oompolicy.sources.procfs import parse_stat
from oompolicy.values.given import OfCgroup, OfProcess, Whom

# What may be asked for, and the keys that may stand beside "do".
DOES: Final[dict[str, frozenset[str]]] = {
    "set": frozenset({"cgroup", "pid", "start_ticks", "value", "ttl_ms"}),
    "get": frozenset({"cgroup", "pid", "start_ticks"}),
    "list": frozenset(),
    "reload": frozenset(),
    "look": frozenset(),
}
TTL_MAX_MS: Final = 366 * 86_400_000


class RequestError(OompolicyError):
    """A request that is not understood, or not possible."""


@dataclass(frozen=True, slots=True)
class Request:
    """One line. value None in a "set" takes the value back; ttl_ms None: for good."""

    do: str
    cgroup: str | None = None
    pid: int | None = None
    start_ticks: int | None = None
    value: int | None = None
    ttl_ms: int | None = None


def request_of(line: bytes) -> Request:
    """The request of a line. Raises RequestError."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        raise RequestError("request", "is not JSON", 'write {"do": "list"} on one line') from None
    do = said.get("do") if isinstance(said, dict) else None
    if not isinstance(do, str) or do not in DOES:
        raise RequestError("request", f"does not say what to do: {_shown(do)}", f'"do" is one of {", ".join(DOES)}')
    for key in said:
        if key != "do" and key not in DOES[do]:
            near = nearest(key, DOES[do])
            hint = f"did you mean {near}?" if near else f"there are {', '.join(sorted(DOES[do])) or 'none'}"
            raise RequestError(f'"{do}"', f"unknown key {_shown(key)}", hint)
    request = Request(
        do,
        _text(said, "cgroup"),
        _number(said, "pid", 1, 1 << 22),
        _number(said, "start_ticks", 0, LONG_MAX),
        _number(said, "value", LONG_MIN, LONG_MAX),
        _number(said, "ttl_ms", 1, TTL_MAX_MS),
    )
    if do in ("set", "get") and (request.cgroup is None) is (request.pid is None):
        raise RequestError(f'"{do}"', "names neither a cgroup nor a pid, or both", "name one of them")
    if do == "set" and "value" not in said:
        raise RequestError('"set"', "has no value", 'add "value": NUMBER, or null to take it back')
    return request


def whom_of(request: Request, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> Whom:
    """The cgroup or process of a request, as it is now. Raises OompolicyError where there is none."""
    if request.cgroup is not None:
        directory = cgroup_directory(request.cgroup, proc, sys)
        try:
            return OfCgroup(path_of(directory, find_memory_hierarchy(proc, sys)), directory.stat().st_ino)
        except OSError:
            raise GoneError(f"cgroup {request.cgroup}", "was removed a moment ago") from None
    assert request.pid is not None
    try:
        ticks = parse_stat((proc / str(request.pid) / "stat").read_bytes()).start_time
        status = (proc / str(request.pid) / "status").read_bytes()
    except OSError:
        raise GoneError(f"pid {request.pid}", "no such process") from None
    if f"\nTgid:\t{request.pid}\n".encode() not in status:
        raise RequestError(f"pid {request.pid}", "is a thread of a process", "name the process")
    if request.start_ticks is not None and request.start_ticks != ticks:
        raise RequestError(f"pid {request.pid}", f"is another process by now: it started at {ticks} ticks")
    return OfProcess(request.pid, ticks)


def path_of(directory: Path, hierarchy: Hierarchy | None) -> str:
    """A cgroup's directory as its path from the root."""
    assert hierarchy is not None
    return "/" + str(directory.relative_to(hierarchy.directory)).removeprefix(".")


def _text(said: dict[str, object], key: str) -> str | None:
    found = said.get(key)
    if found is not None and (not isinstance(found, str) or "\0" in found):
        raise RequestError(key, f"is not a path: {_shown(found)}", 'write it like "/batch.slice"')
    return found


def _number(said: dict[str, object], key: str, least: int, most: int) -> int | None:
    found = said.get(key)
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
        raise RequestError(key, f"is no whole number from {least} to {most}: {_shown(found)}")
    return found


def _shown(said: object) -> str:
    text = ascii(said)
    return text if len(text) <= 60 else f"{text[:57]}..."
