"""What of a ranking is worth which margin.

Belongs here: the runs of a scope, in which growth cannot make the kernel disagree with the policy, and the
boundaries between them, where it can. Must not know: adjustments.
"""

from __future__ import annotations

from dataclasses import dataclass

from oompolicy.backends.oom_score_adj.ranking import Member, Offset, Scope


@dataclass(frozen=True, slots=True)
class Boundary:
    """Between a run and those below it.

    share is what the margin asked for is divided by: the first boundary, which decides the next victim, gets all
    of it, the second a half, the third a third. most_pages bounds it where the policy itself would change its order
    after so much growth; 0 inside a group of tasks that differ by badness alone, None where there is no bound.
    """

    share: int
    most_pages: int | None

    def margin_pages(self, asked_pages: int) -> int:
        """The margin to keep here when so much is asked for at the first boundary."""
        margin = asked_pages // self.share
        return margin if self.most_pages is None else min(margin, self.most_pages)


@dataclass(frozen=True, slots=True)
class Runs:
    """of_class is the run of each class, from 1 (the worst); boundaries[run - 1] is the one below a run."""

    of_class: tuple[int, ...]
    boundaries: tuple[Boundary, ...]

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self.boundaries) + 1 if self.of_class else 0

    @property
    def first_margin_run(self) -> int:
        """The run below which the first boundary with a margin lies; the last run where none has one."""
        bearing = (run for run, boundary in enumerate(self.boundaries, start=1) if boundary.most_pages != 0)
        return next(bearing, self.number)


def runs_of(scope: Scope) -> Runs:
    """Classes whose points differ by badness alone make one run; the worst class is always one of its own."""
    of_class: list[int] = []
    boundaries: list[Boundary] = []
    share = 1
    for index, members in enumerate(scope.classes):
        if index == 0:
            of_class.append(1)
            continue
        above = scope.classes[index - 1]
        is_same = _common_offset(above) is not None and _common_offset(above) == _common_offset(members)
        if is_same and index > 1:
            of_class.append(of_class[-1])
            continue
        boundaries.append(Boundary(share, 0 if is_same else _most_pages(above[0], members)))
        of_class.append(of_class[-1] + 1)
        share += not is_same
    return Runs(tuple(of_class), tuple(boundaries))


def _common_offset(members: tuple[Member, ...]) -> Offset | None:
    first = members[0].offset
    return first if all(member.offset == first for member in members) else None


def _most_pages(above: Member, below: tuple[Member, ...]) -> int | None:
    """How much one below may grow before the policy, too, puts it on a par with those above; None for any amount."""
    if any(member.offset is None for member in below):
        return None
    return above.points - below[0].points - 1
