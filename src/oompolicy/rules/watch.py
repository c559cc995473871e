"""When to look again: what could make a condition true that is not, and how soon.

Belongs here: pure reckoning from the tree and one look. A part that must be true for the whole to be is enough to wait
for, and of several the cheapest is: a pressure trigger costs nothing until it fires, a level is looked at the later
the further away it is, all else is looked at regularly. Must not know: files, poll, inotify.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from oompolicy.rules.condition import GAP_MS, Judging, Memory
from oompolicy.rules.fields import Field, Psi
from oompolicy.rules.look import Look
from oompolicy.rules.reach import meet_in_ms
from oompolicy.rules.tree import AllOf, AnyOf, Compare, Growth, Lasts, Node, Of, Rate, Reads, constant

# The soonest that a level is looked at again, as in earlyoom.
SOONEST_MS: Final = 100

# A level of the machine's amounts is told by them alone, without a look at anything else: by far cheaper (an estimate;
# what matters is that it is preferred to looks at regular times).
GLANCE_COST: Final = 1 / 20

# What no event tells of.
REGULAR_MS: Final = 1000
# The averages of a pressure are made anew every 2 s (kernel/sched/psi.c, PSI_FREQ).
AVERAGES_MS: Final = 2000
# What nobody tells of, and changes slowly: how many cgroups are dying.
SLOW_MS: Final = 10_000
# What only an administrator changes, or what is not there at all.
RARE_MS: Final = 60_000

# Files of a cgroup whose changes inotify tells of (cgroup_file_notify(), kernel/cgroup/cgroup.c).
TOLD: Final = ("memory.events", "memory.events.local", "cgroup.events")

# A trigger's window; the kernel wants 500 ms to 10 s (kernel/sched/psi.c, WINDOW_MIN_US and WINDOW_MAX_US).
WINDOW_US: Final = 1_000_000
LEAST_STALL_US: Final = 1000


@dataclass(frozen=True, slots=True)
class PsiWatch:
    """Wake when tasks of the scope have waited stall_us within window_us: a line for its pressure file."""

    scope: str
    resource: str
    kind: str
    stall_us: int
    window_us: int = WINDOW_US

    @property
    def line(self) -> str:
        """What is written into the file."""
        return f"{self.kind} {self.stall_us} {self.window_us}"


@dataclass(frozen=True, slots=True)
class EventsWatch:
    """Wake when a file of the scope that counts events changes (inotify), one of TOLD."""

    scope: str
    file: str


@dataclass(frozen=True, slots=True)
class WaitWatch:
    """Look again after so long: a level cannot be crossed sooner, or nothing tells of a change.

    level_ms: where it is a level of the machine, how far away that is, however near.
    """

    ms: int
    level_ms: float | None = field(default=None, compare=False)


Watch: TypeAlias = PsiWatch | EventsWatch | WaitWatch


@dataclass(frozen=True, slots=True)
class Sensors:
    """All that the daemon needs to sleep: it looks again when one of them tells, and after wait_ms (None: never).

    The same in two: level_ms is how far the nearest level of the machine is, which its amounts alone can tell anew;
    other_ms is the shortest wait for anything else.
    """

    psi: tuple[PsiWatch, ...] = ()
    events: tuple[EventsWatch, ...] = ()
    wait_ms: int | None = None
    level_ms: float | None = field(default=None, compare=False)
    other_ms: int | None = field(default=None, compare=False)


def together(watches: Iterable[Watch]) -> Sensors:
    """Of many conditions: the lowest trigger of each pressure, the shortest wait."""
    psi: dict[tuple[str, str, str], PsiWatch] = {}
    events: dict[EventsWatch, None] = {}
    waits: list[WaitWatch] = []
    for watch in watches:
        match watch:
            case PsiWatch():
                key = (watch.scope, watch.resource, watch.kind)
                if key not in psi or watch.stall_us < psi[key].stall_us:
                    psi[key] = watch
            case EventsWatch():
                events[watch] = None
            case WaitWatch():
                waits.append(watch)
    return Sensors(
        tuple(psi.values()),
        tuple(events),
        min((watch.ms for watch in waits), default=None),
        min((watch.level_ms for watch in waits if watch.level_ms is not None), default=None),
        min((watch.ms for watch in waits if watch.level_ms is None), default=None),
    )


def watches(root: Node, look: Look, memory: Memory) -> tuple[Watch, ...]:
    """What could make the condition true after this look; nothing where it is true already.

    memory is what it remembers of this look. What has begun to last is looked at regularly: that it has been true all
    the time is only known if somebody looked.
    """
    judging = Judging(look, memory)
    if judging.truth(root) is True:
        return ()
    return (*_waits(root, judging), *(WaitWatch(ms) for ms in _lasting(root, judging)))


def _pace_ms(span_ms: int) -> int:
    return min(max(span_ms // 4, SOONEST_MS), REGULAR_MS)


def _lasting(node: Node, judging: Judging) -> Iterable[int]:
    """How soon to look again at what has begun to last.

    `not lasts()` whose part has lasted long enough is false: an interruption that nobody sees leaves it so, and it need
    only be seen often enough not to begin anew.
    """
    match node:
        case AllOf() | AnyOf():
            for part in node.parts:
                yield from _lasting(part, judging)
        case Lasts():
            if judging.has_begun(node):
                is_settled = node.negated and judging.truth(node) is False
                yield GAP_MS // 2 if is_settled else _pace_ms(node.span_ms)
            yield from _lasting(node.part, judging)
        case Of(part=part) if part is not None:
            for other in judging.others(node).values():
                yield from _lasting(part, other)


def _waits(node: Node, judging: Judging) -> tuple[Watch, ...]:
    match node:
        case Compare():
            found = _of_compare(node, judging)
            return () if found is None else (found,)
        case AllOf():
            false = [_waits(part, judging) for part in node.parts if judging.truth(part) is not True]
            return min(false, key=_cost, default=())
        case AnyOf():
            false = [_waits(part, judging) for part in node.parts if judging.truth(part) is not True]
            return tuple(watch for found in false for watch in found)
        case Lasts(negated=True):
            return (WaitWatch(_pace_ms(node.span_ms)),)
        case Lasts():
            # Where its part is true already, time alone is wanting: that is the answer's due_ms.
            return () if judging.truth(node.part) is True else _waits(node.part, judging)
        case Of(negated=True):
            return (WaitWatch(REGULAR_MS),)
        case Of(part=None):
            return ()  # of cgroups that come the tree of cgroups tells
        case Of(part=part):
            assert part is not None
            return tuple(watch for other in judging.others(node).values() for watch in _waits(part, other))


def _cost(found: tuple[Watch, ...]) -> float:
    """Looks a second, about; nothing at all to wait for is the best."""
    waits = (watch for watch in found if isinstance(watch, WaitWatch))
    return sum(1000 / watch.ms * (1 if watch.level_ms is None else GLANCE_COST) for watch in waits)


def _of_compare(node: Compare, judging: Judging) -> Watch | None:
    """None: it is false for ever, as it is of a file that this hierarchy does not have."""
    left, op, right, look = node.left, node.op, node.right, judging.look
    if constant(left) is not None:
        left, op, right = right, _MIRRORED[op], left
    limit = constant(right)
    if limit is None or not isinstance(left, Reads | Rate | Growth):
        away_ms = meet_in_ms((left, judging.value(left)), (right, judging.value(right)), look)
        return WaitWatch(REGULAR_MS if away_ms is None else _within_bounds(away_ms))
    field = left.field
    if _is_never_known(field, look):
        return None
    if field.read(look) is None and not (field.over_time and look.is_first(field.is_of_cgroup)):
        return WaitWatch(RARE_MS)
    is_up = op[0] == ">"
    if is_up and field.files[0] in TOLD:
        return EventsWatch(look.scope, field.files[0])
    if not isinstance(left, Reads):
        return WaitWatch(REGULAR_MS if isinstance(left, Rate) else _pace_ms(left.span_ms))
    if field.psi is not None:
        return _of_pressure(field.psi, look.scope if field.is_of_cgroup else "/", limit) if is_up else _AVERAGES
    if field.mib_per_s is not None:
        return _of_level(field, look, limit)
    return WaitWatch(SLOW_MS if field.files == ("cgroup.stat",) else REGULAR_MS)


# 3 < x is x > 3.
_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_AVERAGES: Final = WaitWatch(AVERAGES_MS)


def _is_never_known(field: Field, look: Look) -> bool:
    """Of cgroup v1 there is no pressure, for one."""
    return field.is_of_cgroup and look.cgroup is not None and not look.cgroup.never.isdisjoint(field.files)


def _of_pressure(psi: Psi, scope: str, percent: float) -> PsiWatch:
    """The average of any span gets above a limit only in a period of 2 s whose own share is above it.

    Any such period lies in three windows of 1 s, one of which then has two thirds of the limit: half of it is safe.
    """
    stall_us = min(max(int(percent / 100 * WINDOW_US / 2), LEAST_STALL_US), WINDOW_US)
    return PsiWatch(scope, psi.resource, psi.kind, stall_us)


def _of_level(field: Field, look: Look, limit: float) -> WaitWatch:
    now = field.read(look)
    whole = 100.0 if field.whole is None else field.whole(look)
    assert field.mib_per_s is not None
    if now is None or whole is None:
        return WaitWatch(RARE_MS)
    away_mib = abs(limit - now) * whole / 100
    away_ms = away_mib * 1000 / field.mib_per_s
    # The machine's own amounts alone can tell how much nearer this has come; what is in another file they cannot.
    is_of_amounts = field.files == ("meminfo",)
    return WaitWatch(_within_bounds(away_ms), away_ms if is_of_amounts else None)


def _within_bounds(away_ms: float) -> int:
    return min(max(int(away_ms), SOONEST_MS), RARE_MS)
