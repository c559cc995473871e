"""What is done instead of killing: freeze and thaw, reclaim, memory.high, restart a unit.

Belongs here: the steps of each, and whom they must not be done to. Must not know: when, who is told.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from oompolicy.backends.kill.changes import Changes
from oompolicy.backends.kill.ground import GONE, Ground, read_small, write_small
from oompolicy.backends.kill.pending import Done, Pending, Runner, Say, why
from oompolicy.backends.kill.shield import Shield
from oompolicy.backends.kill.units import Unit, unit_of
from oompolicy.errors import BackendError
from oompolicy.mm.memcontrol import MemCgroup, mem_cgroup_is_descendant, mem_cgroup_is_root
from oompolicy.rules.rule import Order, Other, Outcome
from oompolicy.snapshot import Snapshot

# A write to memory.reclaim returns when it is done: so much in one step, and no longer than this in all.
RECLAIM_STEP_BYTES: Final = 4 << 20
RECLAIM_WITHIN_MS: Final = 10_000
RESTART_WITHIN_MS: Final = 30_000
_SLACK_MS: Final = 250
# A cgroup that may use less than this cannot even run what would free memory.
HIGH_MIN_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Ways:
    """What the other actions stand on. changes is None where there is no memory hierarchy."""

    ground: Ground
    changes: Changes | None
    runner: Runner | None
    say: Say


def begin_other(ways: Ways, order: Order, cgroup: str, now_ms: int) -> Pending:
    """Begin one that is no kill, on a cgroup that it may be done to."""
    return _BEGIN[order.rule.action](ways, order, cgroup, now_ms)


def why_not(order: Order, cgroup: MemCgroup, snapshot: Snapshot, shield: Shield) -> str | None:
    """Why this must not be done to the cgroup, in words; None where it may.

    Nothing slows the daemon itself, nor init; what stops processes spares all that no rule may kill.
    """
    if mem_cgroup_is_root(cgroup):
        return "it is the root of the cgroups: name a scope below it"
    for task in snapshot.kernel.tasks:
        if task.memcg is None or task.is_kthread or not mem_cgroup_is_descendant(task.memcg, cgroup):
            continue
        reason = shield.why_not(task)
        is_stopped = order.rule.action in (Other.FREEZE, Other.RESTART)
        if reason is not None and (is_stopped or shield.is_vital(task)):
            return f"{task.comm} ({task.process_id}) is in it: {reason}"
    return None


def in_words(order: Order, cgroup: str) -> str:
    """What would be done."""
    rule = order.rule
    amount = f"{rule.amount_bytes} bytes"
    until = f" for {rule.for_ms} ms" if rule.for_ms else " until the daemon ends"
    unit = unit_of(cgroup)
    return {
        Other.FREEZE: f"freeze cgroup {cgroup}{until}",
        Other.THAW: f"thaw cgroup {cgroup}",
        Other.RECLAIM: f"reclaim {amount} from cgroup {cgroup}",
        Other.HIGH: f"set memory.high of cgroup {cgroup} to {amount}{until}",
        Other.RESTART: f"restart {cgroup if unit is None else unit.name}",
    }.get(rule.action if isinstance(rule.action, Other) else Other.NOTHING, "do nothing")


def _failed(ways: Ways, order: Order, cgroup: str, what: str, now_ms: int) -> Pending:
    ways.say(f"{why(order)}: cgroup {cgroup}: {what}")
    return Done(Outcome(order, at_ms=now_ms, failed=f"cgroup {cgroup}: {what}", cgroup=cgroup))


def _set(ways: Ways, order: Order, cgroup: str, file: str, text: str, now_ms: int) -> Pending:
    """Set a file for the rule's time, or until the daemon ends."""
    if ways.changes is None or ways.ground.is_v1:
        return _failed(ways, order, cgroup, f"{file} is of cgroup v2, and this machine's memory is on v1", now_ms)
    until_ms = now_ms + order.rule.for_ms if order.rule.for_ms else None
    try:
        ways.changes.set(cgroup, file, text, until_ms)
    except OSError as error:
        return _failed(ways, order, cgroup, _refused(file, error), now_ms)
    except BackendError as error:
        return _failed(ways, order, cgroup, str(error), now_ms)
    ways.say(f"{why(order)}: cgroup {cgroup}: {file} set to {text}")
    return Done(Outcome(order, at_ms=now_ms, cgroup=cgroup))


def _refused(file: str, error: OSError) -> str:
    if error.errno in GONE:
        return "has gone, or this kernel has no such file in it" if error.errno == errno.ENOENT else "has gone"
    return f"{file} cannot be written: {error.strerror}"


def _freeze(ways: Ways, order: Order, cgroup: str, now_ms: int) -> Pending:
    """commit 76f969e8948d "cgroup: cgroup v2 freezer" (in v5.2)."""
    return _set(ways, order, cgroup, "cgroup.freeze", "1", now_ms)


def _thaw(ways: Ways, order: Order, cgroup: str, now_ms: int) -> Pending:
    """Undo our freezing; one that was frozen by others is thawed for good."""
    if ways.changes is not None and ways.changes.is_set(cgroup, "cgroup.freeze"):
        for line in ways.changes.undo(cgroup, "cgroup.freeze"):
            ways.say(f"{why(order)}: {line}")
        return Done(Outcome(order, at_ms=now_ms, cgroup=cgroup))
    try:
        write_small(ways.ground.cgroup(cgroup) / "cgroup.freeze", "0")
    except OSError as error:
        return _failed(ways, order, cgroup, _refused("cgroup.freeze", error), now_ms)
    ways.say(f"{why(order)}: cgroup {cgroup}: thawed")
    return Done(Outcome(order, at_ms=now_ms, cgroup=cgroup))


def _high(ways: Ways, order: Order, cgroup: str, now_ms: int) -> Pending:
    """memory.high, never above what is set already, nor so low that nothing runs any more."""
    page = os.sysconf("SC_PAGE_SIZE")
    amount = max(order.rule.amount_bytes, HIGH_MIN_BYTES) // page * page
    if ways.ground.cgroups is not None and not ways.ground.is_v1:
        try:
            present = read_small(ways.ground.cgroup(cgroup) / "memory.high").strip()
        except OSError as error:
            return _failed(ways, order, cgroup, _refused("memory.high", error), now_ms)
        if present != b"max" and int(present) < amount:
            return _failed(ways, order, cgroup, f"memory.high is {int(present)} already: left so", now_ms)
    return _set(ways, order, cgroup, "memory.high", str(amount), now_ms)


class _Reclaiming:
    """memory.reclaim, in steps (see Pending): a write is not back before its amount is reclaimed.

    commit 94968384dde1 "memcg: introduce per-memcg reclaim interface" (in v5.19). EAGAIN: less could be reclaimed
    than asked for, which is an end like another.
    """

    def __init__(self, ways: Ways, order: Order, cgroup: str, now_ms: int) -> None:
        self.wake_at_ms = now_ms
        self._ways = ways
        self._order = order
        self._cgroup = cgroup
        self._file: Path = ways.ground.cgroup(cgroup) / "memory.reclaim"
        self._left_bytes = order.rule.amount_bytes
        self._until_ms = now_ms + RECLAIM_WITHIN_MS
        self._before_bytes = ways.ground.usage_bytes(cgroup) or 0

    def fds(self) -> tuple[int, ...]:
        """None: it goes on at once."""
        return ()

    def advance(self, now_ms: int) -> Outcome | None:
        """One step."""
        step = min(self._left_bytes, RECLAIM_STEP_BYTES)
        failed = None
        if step > 0 and now_ms < self._until_ms:
            try:
                write_small(self._file, str(step))
                self._left_bytes -= step
                if self._left_bytes > 0:
                    return None
            except InterruptedError:
                return None
            except OSError as error:
                failed = None if error.errno == errno.EAGAIN else _refused("memory.reclaim", error)
        freed = max(self._before_bytes - (self._ways.ground.usage_bytes(self._cgroup) or 0), 0)
        if failed is None:
            self._ways.say(f"{why(self._order)}: cgroup {self._cgroup}: {freed} bytes reclaimed")
        else:
            self._ways.say(f"{why(self._order)}: cgroup {self._cgroup}: {failed}")
        failed = None if failed is None else f"cgroup {self._cgroup}: {failed}"
        return Outcome(self._order, freed_bytes=freed, at_ms=now_ms, failed=failed, cgroup=self._cgroup)

    def close(self) -> None:
        """Nothing is held."""


def _reclaim(ways: Ways, order: Order, cgroup: str, now_ms: int) -> Pending:
    if ways.ground.cgroups is None or ways.ground.is_v1:
        return _failed(ways, order, cgroup, "memory.reclaim is of cgroup v2, and this machine's memory is v1's", now_ms)
    return _Reclaiming(ways, order, cgroup, now_ms)


class _Restarting:
    """systemctl restart, by the helper (see Pending)."""

    def __init__(self, ways: Ways, order: Order, cgroup: str, unit: Unit, ticket: int, now_ms: int) -> None:
        self._ways = ways
        self._cgroup = cgroup
        self._order = order
        self._unit = unit
        self._ticket = ticket
        self._until_ms = now_ms + RESTART_WITHIN_MS + _SLACK_MS
        self.wake_at_ms = self._until_ms

    def fds(self) -> tuple[int, ...]:
        """Readable when it has ended."""
        return () if self._ways.runner is None else self._ways.runner.fds()

    def advance(self, now_ms: int) -> Outcome | None:
        """Has systemd taken the job?"""
        assert self._ways.runner is not None
        ended = self._ways.runner.ended(self._ticket)
        if ended is None and now_ms < self._until_ms:
            self.wake_at_ms = self._until_ms
            return None
        failed = None if ended == "done" else f"unit {self._unit.name}: restart {ended or 'has not answered in time'}"
        self._ways.say(f"{why(self._order)}: {failed or f'unit {self._unit.name}: restarted'}")
        return Outcome(self._order, at_ms=now_ms, failed=failed, cgroup=self._cgroup)

    def close(self) -> None:
        """Nothing is held."""


def _restart(ways: Ways, order: Order, cgroup: str, now_ms: int) -> Pending:
    """The unit of a cgroup; systemd does it, and takes as long as its unit file says: only the job is waited for."""
    unit = unit_of(cgroup)
    if unit is None:
        return _failed(ways, order, cgroup, "is no systemd unit's that can be restarted", now_ms)
    ticket = None if ways.runner is None else ways.runner.start(unit.command("restart"), {}, RESTART_WITHIN_MS)
    if ticket is None:
        return _failed(ways, order, cgroup, "restart is left out: the helper that runs commands has gone", now_ms)
    return _Restarting(ways, order, cgroup, unit, ticket, now_ms)


def _nothing(ways: Ways, order: Order, cgroup: str, now_ms: int) -> Pending:
    ways.say(why(order))
    return Done(replace(Outcome(order), at_ms=now_ms))


_BEGIN: Final[dict[object, Callable[[Ways, Order, str, int], Pending]]] = {
    Other.FREEZE: _freeze,
    Other.THAW: _thaw,
    Other.HIGH: _high,
    Other.RECLAIM: _reclaim,
    Other.RESTART: _restart,
    Other.NOTIFY: _nothing,
    Other.NOTHING: _nothing,
}
