"""What is true of a condition at one look.

Belongs here: the truth of each kind of node, and what must be remembered for it. A number that is not known makes what
is said of it neither true nor false, and in the end that is false: nobody dies of what is not known.
Must not know: how it is written (syntax.py), what follows from it (judge.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from oompolicy.rules.fields import Field
from oompolicy.rules.look import Look
from oompolicy.rules.tree import (
    ARITHMETIC,
    COMPARISONS,
    AllOf,
    AnyOf,
    Arithmetic,
    Compare,
    Fixed,
    Growth,
    Lasts,
    Node,
    Number,
    Rate,
    Reads,
    numbers_in,
)
from oompolicy.rules.words import why

# After so long without a look, what was true before says nothing of the time between: the daemon was stopped, or
# the machine was asleep.
GAP_MS: Final = 30_000

# A growth is told from at most about so many points of its span.
_POINTS: Final = 32

Series: TypeAlias = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """What a condition remembers of one scope: by index, since when it lasts, and points (at_ms, value) of a growth."""

    since: Mapping[int, int] = field(default_factory=dict)
    series: Mapping[int, Series] = field(default_factory=dict)
    seen_ms: int | None = None

    def restarted(self) -> Memory:
        """Nothing has lasted yet; growths stay known."""
        return Memory({}, self.series, self.seen_ms)


@dataclass(frozen=True, slots=True)
class Answer:
    """Is it true, and why, in words with numbers (empty where it is not).

    unknown: the fields that could not be read. due_ms: when something that lasts will have lasted long enough, if
    nothing changes till then. faults: what went wrong in a function (python_rule.py).
    """

    holds: bool
    why: str = ""
    unknown: tuple[str, ...] = ()
    due_ms: int | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Condition:
    """A whole condition. text is what was written."""

    text: str
    root: Node

    @property
    def fields(self) -> tuple[Field, ...]:
        """Those it reads, each once."""
        return tuple({number.field.name: number.field for number in numbers_in(self.root)}.values())

    @property
    def is_of_cgroup(self) -> bool:
        """Does it read anything of the scope's cgroup?"""
        return any(found.is_of_cgroup for found in self.fields)

    def judge(self, look: Look, memory: Memory) -> tuple[Answer, Memory]:
        """What is true now, and what to remember for the next look."""
        return Judging(look, memory).answer(self.root)


class Judging:
    """One look. Every node is visited, also where the outcome is settled: what lasts must be seen at each look."""

    def __init__(self, look: Look, memory: Memory) -> None:
        self._look = look
        self._now_ms = look.now.at_ms
        gap_ms = 0 if memory.seen_ms is None else self._now_ms - memory.seen_ms
        self._before = Memory() if gap_ms > GAP_MS else memory
        self._since: dict[int, int] = {}
        self._series: dict[int, Series] = {}
        self._truths: dict[int, bool | None] = {}
        self._unknown: dict[str, None] = {}
        self._due_ms: list[int] = []

    def answer(self, root: Node) -> tuple[Answer, Memory]:
        """Of the whole condition."""
        holds = self.truth(root) is True
        words = why(root, self._value, lambda node: self._truths.get(id(node)) is True) if holds else ""
        answer = Answer(holds, words, tuple(self._unknown), min(self._due_ms, default=None))
        return answer, Memory(self._since, self._series, self._now_ms)

    def truth(self, node: Node) -> bool | None:
        """True, false, or None: not known."""
        match node:
            case Compare():
                left, right = self._value(node.left), self._value(node.right)
                found = None if left is None or right is None else COMPARISONS[node.op](left, right)
            case AllOf():
                found = _settled([self.truth(part) for part in node.parts], against=False)
            case AnyOf():
                found = _settled([self.truth(part) for part in node.parts], against=True)
            case Lasts():
                found = self._lasts(node)
        self._truths[id(node)] = found
        return found

    def _lasts(self, node: Lasts) -> bool | None:
        truth = self.truth(node.part)
        if truth:
            since = min(self._before.since.get(node.index, self._now_ms), self._now_ms)
            self._since[node.index] = since
            if self._now_ms < since + node.span_ms:
                self._due_ms.append(since + node.span_ms)
                truth = False
        return truth if truth is None or not node.negated else not truth

    def _value(self, number: Number) -> float | None:
        match number:
            case Fixed():
                return number.value
            case Arithmetic():
                left, right = self._value(number.left), self._value(number.right)
                if left is None or right is None or (number.op == "/" and right == 0):
                    return None
                return ARITHMETIC[number.op](left, right)
            case Reads():
                found = number.field.read(self._look)
            case Rate():
                found = self._rate(number.field)
            case Growth():
                found = self._growth(number)
        if found is None:
            self._note_unknown(number.field)
        return found

    def _note_unknown(self, of: Field) -> None:
        """What is told from two looks cannot be known at the first one: that is nothing to tell anybody."""
        is_too_early = of.over_time and self._look.is_first(of.is_of_cgroup)
        if not is_too_early and of.read(self._look) is None:
            self._unknown[of.name] = None

    def _rate(self, of: Field) -> float | None:
        earlier = self._look.earlier
        before = None if earlier is None else of.read(earlier)
        now = of.read(self._look)
        return None if before is None or now is None else (now - before) / self._look.span_s

    def _growth(self, number: Growth) -> float | None:
        """Against the last point that is old enough; None as long as there is none."""
        now = number.field.read(self._look)
        if now is None:
            return None
        series = self._before.series.get(number.index, ())
        old = [point for point in series if point[0] <= self._now_ms - number.span_ms]
        kept = series[max(len(old) - 1, 0) :]
        if not kept or self._now_ms - kept[-1][0] >= number.span_ms // _POINTS:
            kept = (*kept, (self._now_ms, now))
        self._series[number.index] = kept
        if not old:
            return None
        at_ms, value = old[-1]
        # Where looks were rare, the growth of a longer time, brought down to the span.
        return (now - value) * number.span_ms / (self._now_ms - at_ms)


def _settled(truths: list[bool | None], against: bool) -> bool | None:
    """One that is `against` settles it, else one that is not known leaves it open."""
    if against in truths:
        return against
    return None if None in truths else not against
