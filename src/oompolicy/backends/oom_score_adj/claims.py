"""What given adjustments hold of a ranking, measured with the kernel's own arithmetic.

Belongs here: how much of each scope's order holds, by what margin, and which orderings do not.
Must not know: how the adjustments were found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from oompolicy.backends.oom_score_adj.ranking import Member, Ranking, Scope
from oompolicy.backends.oom_score_adj.solve import Bounds
from oompolicy.mm.sched import Task


@dataclass(frozen=True, slots=True)
class Claim:
    """What holds in one scope.

    chosen is whom the kernel kills first. The first `held` of the `candidates` die in the policy's order, worst first
    (those of equal points in any order among themselves). first_margin_pages is the growth of one lower-ranked task
    that makes the kernel's first choice differ from the policy's, margin_pages that which changes any of the order
    that holds; None where no growth does.
    """

    scope: str | None
    totalpages: int
    candidates: int
    held: int
    chosen: Task | None
    first_margin_pages: int | None
    margin_pages: int | None

    @property
    def holds_first(self) -> bool:
        """Is the kernel's first choice the policy's?"""
        return self.held > 0 or self.candidates == 0


@dataclass(frozen=True, slots=True)
class Unmet:
    """An ordering of the policy's that the adjustments do not hold: in the scope, `above` should die before `below`.

    rank is the place of `above` in the policy's order, from 1. short_pages is how much smaller it is, before any
    adjustment; range_pages how much the widest adjustments allowed for the two would make up for.
    """

    scope: Scope
    rank: int
    above: Task
    below: Task
    short_pages: int
    range_pages: int

    @property
    def is_out_of_range(self) -> bool:
        """Could no adjustment of these two hold it? Otherwise other orderings are in the way."""
        return self.range_pages <= self.short_pages

    def in_words(self, page_size_bytes: int) -> str:
        """The sentence for people, sizes in MiB."""

        def mib(pages: int) -> str:
            return f"{pages * page_size_bytes / (1 << 20):,.0f} MiB"

        pair = f"cannot rank {_named(self.above)} above {_named(self.below)} in {self.scope.name}: {_named(self.above)}"
        if self.scope.unit_pages == 0:
            return (
                f"{pair} is {mib(self.short_pages)} smaller, and in {mib(self.scope.totalpages)} no adjustment counts"
            )
        if self.is_out_of_range:
            return f"{pair} is {mib(self.short_pages)} smaller, the range gives {mib(self.range_pages)}"
        size = f"{mib(abs(self.short_pages))} {'smaller' if self.short_pages > 0 else 'larger'}"
        return f"{pair} is {size}, but other orderings need the range that this one would take"


def _named(task: Task) -> str:
    return f"{task.comm} ({task.process_id})"


def measure(ranking: Ranking, values: Sequence[int]) -> tuple[Claim, ...]:
    """What adjustments, one for each of the ranking's tasks, hold in each scope."""
    return tuple(_claim(ranking, scope, values) for scope in ranking.scopes)


def _claim(ranking: Ranking, scope: Scope, values: Sequence[int]) -> Claim:
    points = {member.number: scope.kernel_points(member, values[member.number]) for member in _members(scope.classes)}
    held_classes = 0
    for above, rest in zip(scope.classes, _most_of_the_rest(scope, points), strict=True):
        if min(points[member.number] for member in above) <= rest:
            break
        held_classes += 1
    held = scope.classes[:held_classes]
    last = max(points.values(), default=None)
    chosen = [number for number, found in points.items() if found == last]
    first = None if not held else _margin(points, held[0], _members(scope.classes[1:]))
    margins = [_margin(points, above, below) for above, below in pairwise(held)]
    if held:
        margins.append(_margin(points, held[-1], _members(scope.classes[held_classes:])))
    return Claim(
        scope.path,
        scope.totalpages,
        len(points),
        sum(map(len, held)),
        ranking.tasks[chosen[-1]] if chosen else None,
        first,
        min((margin for margin in (first, *margins) if margin is not None), default=None),
    )


def _members(classes: Iterable[tuple[Member, ...]]) -> Iterator[Member]:
    return (member for members in classes for member in members)


def _most_of_the_rest(scope: Scope, points: dict[int, int]) -> list[int]:
    """For each class, the most points of all lower classes; less than any points for the last class."""
    most = -(1 << 63)
    rest = []
    for members in reversed(scope.classes):
        rest.append(most)
        most = max(most, *(points[member.number] for member in members))
    return rest[::-1]


def _margin(points: dict[int, int], above: tuple[Member, ...], below: Iterable[Member]) -> int | None:
    """How much one of `below` may grow before the kernel's order and the policy's differ; None for any amount.

    Where its policy points move with its badness, the policy changes its order, too, after some growth: if the kernel
    does so after just as much, they never differ; otherwise they do once the first of them has.
    """
    lowest = min(above, key=lambda member: points[member.number])
    is_level = len({points[member.number] for member in above}) == 1
    margin: int | None = None
    for member in below:
        here = points[lowest.number] - points[member.number]
        if member.offset is not None:
            of_policy = lowest.points - member.points
            if is_level and of_policy == here:
                continue
            here = min(here, of_policy)
        margin = here if margin is None else min(margin, here)
    return margin


def unmet(ranking: Ranking, values: Sequence[int], claims: Sequence[Claim], bounds: Bounds) -> tuple[Unmet, ...]:
    """The orderings that adjustments do not hold, for each class its most wrong one; bounds are for the words."""
    found = []
    for scope, claim in zip(ranking.scopes, claims, strict=True):
        if claim.held == claim.candidates:
            continue
        of_scope = []
        highest: Member | None = None  # of all below the class at hand
        rank = 1 + sum(map(len, scope.classes))
        for members in reversed(scope.classes):
            rank -= len(members)
            by_points = sorted(members, key=lambda member: scope.kernel_points(member, values[member.number]))
            above = by_points[0]
            if highest is not None and (
                scope.kernel_points(above, values[above.number]) <= scope.kernel_points(highest, values[highest.number])
            ):
                of_scope.append(_unmet(ranking, scope, bounds, rank, above, highest))
            candidates = (by_points[-1], *(() if highest is None else (highest,)))
            highest = max(candidates, key=lambda member: scope.kernel_points(member, values[member.number]))
        found += of_scope[::-1]
    return tuple(found)


def _unmet(ranking: Ranking, scope: Scope, bounds: Bounds, rank: int, above: Member, below: Member) -> Unmet:
    return Unmet(
        scope,
        rank,
        ranking.tasks[above.number],
        ranking.tasks[below.number],
        below.base_pages - above.base_pages,
        (bounds.highest[above.number] - bounds.lowest[below.number]) * scope.unit_pages,
    )
