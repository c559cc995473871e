"""When to look next, so that nothing is missed and nothing is polled while memory is fine. Pure.

Belongs here: the bounds of the pace, and why each is what it is. Must not know: clocks, what is read at a look.

Three reasons to look: somebody has told (a pressure trigger, a cgroup's events), and for a while after that; amounts
may have crossed a threshold by now, at the fastest that memory can fill, and not a moment before; something that
lasts will have lasted long enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeAlias

from oompolicy.rules.marks import Marks, marked

# How fast memory and swap can fill, as earlyoom reckons (main.c): DDR3 at its best, and an NVMe disk.
MEMORY_BYTES_PER_MS: Final = 6000 * (1 << 20) // 1000
SWAP_BYTES_PER_MS: Final = 800 * (1 << 20) // 1000

# The least between two looks where a threshold is near: earlyoom's own (100 ms, main.c). Where memory is going down
# so fast that it will be there within a second, looks are closer: the signal is to follow the crossing by 30 ms.
NEAR_MS: Final = 100
CLOSE_MS: Final = 10
FALLS_WITHIN_MS: Final = 1_000

# The longest: earlyoom's is 1 s; with a reckoned time there is no reason to look before it, but the reckoning trusts
# that nobody takes memory out of the machine (a balloon, memory hotplug) faster than programs fill it.
FAR_MS: Final = 10_000

# Averages of pressure are made every 2 s (PSI_FREQ, kernel/sched/psi.c). One more such step after the last time that
# somebody told of stalls, they go down.
ALERT_FOR_MS: Final = 3_000
ALERT_EVERY_MS: Final = 500
# Told of again within so long, it is no hiccup: what stalls for real is looked at as closely as falling memory.
SUSTAINED_WITHIN_MS: Final = 1_500
SUSTAINED_EVERY_MS: Final = 50

# Where the kernel tells of nothing (no PSI triggers granted), by the clock.
BLIND_EVERY_MS: Final = 1_000

# A look must not become the load: at most this part of the time is spent looking, when calm and when not. What counts
# is time on a CPU: a look that is long because the machine stalls, or because it was stopped, is to be followed soon.
CALM_SHARE: Final = 100
ALERT_SHARE: Final = 10
RESTS_AT_MOST_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Pace:
    """What is remembered of looks.

    marks: when some look was, and what was reckoned then, the older first; they are NEAR_MS apart at least, because
    MemAvailable goes in steps: what CPUs have taken is folded into it in batches (mm/vmstat.c, stat_threshold).
    """

    marks: tuple[tuple[int, float], ...] = ()
    told_at_ms: int | None = None
    is_sustained: bool = False
    is_falling: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A look's outcome, as far as the pace goes by it.

    earliest_ms: how long until some rule can become true because memory or swap is used, at the fastest; None: never.
    due_ms: when a rule that waits for time to pass is to be judged. is_blind: something is wanted of which the kernel
    does not tell. took_ms: the time on a CPU that the look took. is_ebbing: memory is going fast (ebb.py).
    """

    earliest_ms: float | None = None
    due_ms: int | None = None
    is_blind: bool = False
    took_ms: float = 0.0
    is_ebbing: bool = False


def told(pace: Pace, now_ms: int) -> Pace:
    """Somebody has told of stalls or of a limit that was hit: look now, and for a while."""
    before = pace.told_at_ms
    is_sustained = before is not None and now_ms - before <= SUSTAINED_WITHIN_MS
    return replace(pace, told_at_ms=now_ms, is_sustained=is_sustained)


def looked(pace: Pace, seen: Seen, now_ms: int) -> tuple[Pace, int | None]:
    """What to remember of a look, and when the next one is; None: not before somebody tells."""
    is_alert = pace.told_at_ms is not None and now_ms - pace.told_at_ms < ALERT_FOR_MS
    is_falling = _is_falling(pace, seen, now_ms)
    pace = replace(
        pace,
        marks=_marks(pace.marks, seen.earliest_ms, now_ms),
        is_sustained=pace.is_sustained and is_alert,
        is_falling=is_falling,
    )
    waits: list[float] = []
    if seen.earliest_ms is not None:
        waits.append(min(max(seen.earliest_ms, CLOSE_MS if is_falling else NEAR_MS), FAR_MS))
    if is_alert:
        waits.append(SUSTAINED_EVERY_MS if pace.is_sustained else ALERT_EVERY_MS)
    if seen.is_ebbing:
        waits.append(SUSTAINED_EVERY_MS)
    if seen.is_blind:
        waits.append(BLIND_EVERY_MS)
    if seen.due_ms is not None:
        waits.append(max(seen.due_ms - now_ms, 0))
    if not waits:
        return pace, None
    is_calm = not (is_alert or is_falling or seen.is_ebbing)
    least = min(seen.took_ms * (CALM_SHARE if is_calm else ALERT_SHARE), RESTS_AT_MOST_MS)
    return pace, now_ms + round(max(min(waits), least, 1))


# MemTotal, MemAvailable, MemFree, SwapTotal, SwapFree, in bytes.
Amounts: TypeAlias = tuple[int, int, int, int, int]


def left_ms(earliest_ms: float, before: Amounts, now: Amounts) -> float:
    """What is left of the time reckoned from the amounts before, reckoned from amounts alone; 0: a look is due.

    How far an amount has come tells how much nearer the nearest threshold can be, whichever it is.
    """
    if before[0] != now[0] or before[3] != now[3]:  # memory or swap was added or taken away
        return 0.0
    memory = max(abs(before[1] - now[1]), abs(before[2] - now[2]))
    come_ms = max(memory / MEMORY_BYTES_PER_MS, abs(before[4] - now[4]) / SWAP_BYTES_PER_MS)
    return max(earliest_ms - come_ms, 0.0)


class Glances(NamedTuple):
    """What is remembered of glances: what was left when, and whether the threshold would be crossed within a second."""

    marks: Marks = ()
    is_falling: bool = False


def glanced(glances: Glances, left_ms: float, now_ms: int) -> Glances:
    """What is left now.

    >>> glanced(Glances(((0, 300),)), 200, 100).is_falling, glanced(Glances(((0, 300),)), 299, 100).is_falling
    (True, False)
    """
    before, marks = marked(glances.marks, left_ms, now_ms)
    if before is None:
        return Glances(marks, glances.is_falling)
    shrunk = before[1] - left_ms
    return Glances(marks, shrunk > 0 and left_ms * (now_ms - before[0]) < FALLS_WITHIN_MS * shrunk)


def glance_wait_ms(left_ms: float, is_falling: bool) -> float:
    """How long a glance at the amounts is good for."""
    return min(max(left_ms, CLOSE_MS if is_falling else NEAR_MS), FAR_MS)


def _marks(
    before: tuple[tuple[int, float], ...], earliest_ms: float | None, now_ms: int
) -> tuple[tuple[int, float], ...]:
    """With this look, where the last mark is old enough."""
    if earliest_ms is None:
        return ()
    if before and now_ms - before[-1][0] < NEAR_MS:
        return before
    return (*before[-1:], (now_ms, earliest_ms))


def _is_falling(pace: Pace, seen: Seen, now_ms: int) -> bool:
    """Will the threshold be crossed within a second, if it goes on as since the older mark?

    >>> fast = Pace(marks=((0, 300),))
    >>> _is_falling(fast, Seen(earliest_ms=200), 100), _is_falling(fast, Seen(earliest_ms=299), 100)
    (True, False)
    """
    if not pace.marks or seen.earliest_ms is None:
        return False
    at_ms, before_ms = pace.marks[0]
    if now_ms <= at_ms:
        return pace.is_falling
    shrunk = (before_ms - seen.earliest_ms) / (now_ms - at_ms)
    return shrunk > 0 and seen.earliest_ms / shrunk < FALLS_WITHIN_MS
