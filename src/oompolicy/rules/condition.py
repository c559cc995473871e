"""What is true of a condition at one look.

Belongs here: the truth of each kind of node, and what must be remembered for it. A number that is not known makes what
is said of it neither true nor false, and in the end that is false: nobody dies of what is not known.
Must not know: how it is written (syntax.py), what follows from it (judge.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from oompolicy.rules.fields import Field
from oompolicy.rules.look import Look
from oompolicy.rules.scopes import named
from oompolicy.rules.tree import (
    ARITHMETIC,
    COMPARISONS,
    AllOf,
    AnyOf,
    Arithmetic,
    Choose,
    Compare,
    Fixed,
    Growth,
    Lasts,
    Node,
    Number,
    Of,
    OfPeers,
    Rate,
    Reads,
    numbers_in,
    others_in,
)
from oompolicy.rules.words import why

# After so long without a look, what was true before says nothing of the time between: the daemon was stopped, or
# memory was so far from any threshold that only amounts were looked at. Of a growth what was known stays known.
GAP_MS: Final = 30_000

# A growth is told from at most about so many points of its span.
_POINTS: Final = 32

Series: TypeAlias = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """What a condition remembers of one scope: by index, since when it lasts, and points (at_ms, value) of a growth.

    others: the same of each other cgroup that it asks about, by the index of its of() and the cgroup's path.
    """

    since: Mapping[int, int] = field(default_factory=dict)
    series: Mapping[int, Series] = field(default_factory=dict)
    seen_ms: int | None = None
    others: Mapping[tuple[int, str], Memory] = field(default_factory=dict)

    def restarted(self) -> Memory:
        """Nothing has lasted yet; growths stay known."""
        others = {key: memory.restarted() for key, memory in self.others.items()}
        return Memory({}, self.series, self.seen_ms, others)


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
    def of_scope(self) -> Field | None:
        """One that it reads of the scope's own cgroup; None where it reads none."""
        own = numbers_in(self.root, in_others=False)
        return next((number.field for number in own if number.field.is_of_cgroup), None)

    @property
    def others(self) -> tuple[str, ...]:
        """The patterns of the other cgroups that it asks about."""
        return tuple(dict.fromkeys(pattern for found in others_in(self.root) for pattern in found.patterns))

    def judge(self, look: Look, memory: Memory) -> tuple[Answer, Memory]:
        """What is true now, and what to remember for the next look."""
        return Judging(look, memory).answer(self.root)


class Peers(Protocol):
    """The cgroups that one is compared with (ranking.py)."""

    def value(self, of: OfPeers) -> float | None:
        """What is reckoned from the numbers of all of them."""


class Judging:
    """One look. Every node is visited, also where the outcome is settled: what lasts must be seen at each look."""

    def __init__(self, look: Look, memory: Memory, peers: Peers | None = None) -> None:
        self.look = look
        self._peers = peers
        self._now_ms = look.now.at_ms
        gap_ms = 0 if memory.seen_ms is None else self._now_ms - memory.seen_ms
        self._before = memory.restarted() if gap_ms > GAP_MS else memory
        self._since: dict[int, int] = {}
        self._series: dict[int, Series] = {}
        self._truths: dict[int, bool | None] = {}
        self._others: dict[int, dict[str, Judging]] = {}
        self._unknown: dict[str, None] = {}
        self._due_ms: list[int] = []

    def answer(self, root: Node) -> tuple[Answer, Memory]:
        """Of the whole condition."""
        holds = self.truth(root) is True
        words = why(root, self) if holds else ""
        return Answer(holds, words, tuple(self._unknown), min(self._due_ms, default=None)), self.memory()

    def memory(self) -> Memory:
        """What to remember of this look."""
        others = {
            (index, path): other.memory() for index, found in self._others.items() for path, other in found.items()
        }
        return Memory(self._since, self._series, self._now_ms, others)

    def is_true(self, node: Node) -> bool:
        """Was it found to be?"""
        return self._truths.get(id(node)) is True

    def has_begun(self, node: Lasts) -> bool:
        """Is its part true, so that it has begun to last?"""
        return node.index in self._since

    def others(self, node: Of) -> Mapping[str, Judging]:
        """The look at each of the other cgroups, by path, once the truth was asked for."""
        return self._others[node.index]

    def truth(self, node: Node) -> bool | None:
        """True, false, or None: not known."""
        match node:
            case Compare():
                left, right = self.value(node.left), self.value(node.right)
                found = None if left is None or right is None else COMPARISONS[node.op](left, right)
            case AllOf():
                found = _settled([self.truth(part) for part in node.parts], against=False)
            case AnyOf():
                found = _settled([self.truth(part) for part in node.parts], against=True)
            case Lasts():
                found = self._lasts(node)
            case Of():
                found = self._of(node)
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

    def _of(self, node: Of) -> bool | None:
        """Each of the others is judged as if it were the scope, with a memory of its own."""
        paths = named(node.patterns, self.look.now.cgroups)
        others = self._others[node.index] = {
            path: Judging(
                Look(self.look.now, path, self.look.before), self._before.others.get((node.index, path), Memory())
            )
            for path in paths
        }
        truth = _settled([True if node.part is None else each.truth(node.part) for each in others.values()], True)
        for each in others.values():
            self._due_ms += each._due_ms
            for name in each._unknown:
                self._unknown[f"{name} of {', '.join(node.patterns)}"] = None
        return truth if truth is None or not node.negated else not truth

    def value(self, number: Number) -> float | None:
        """A number; None: not known."""
        match number:
            case Fixed():
                return number.value
            case Arithmetic():
                left, right = self.value(number.left), self.value(number.right)
                if left is None or right is None or (number.op == "/" and right == 0):
                    return None
                return ARITHMETIC[number.op](left, right)
            case Choose():
                truth = self.truth(number.part)
                then, otherwise = self.value(number.then), self.value(number.otherwise)
                return then if truth is True else otherwise
            case OfPeers():
                return None if self._peers is None else self._peers.value(number)
            case Reads():
                found = number.field.read(self.look)
            case Rate():
                found = self._rate(number.field)
            case Growth():
                found = self._growth(number)
        if found is None:
            self._note_unknown(number.field)
        return found

    def _note_unknown(self, of: Field) -> None:
        """What is told from two looks cannot be known at the first one: that is nothing to tell anybody."""
        is_too_early = of.over_time and self.look.is_first(of.is_of_cgroup)
        if not is_too_early and of.read(self.look) is None:
            self._unknown[of.name] = None

    def _rate(self, of: Field) -> float | None:
        earlier = self.look.earlier
        before = None if earlier is None else of.read(earlier)
        now = of.read(self.look)
        return None if before is None or now is None else (now - before) / self.look.span_s

    def _growth(self, number: Growth) -> float | None:
        """Against what it was span_ms ago; None as long as no point is old enough."""
        now = number.field.read(self.look)
        if now is None:
            return None
        series = self._before.series.get(number.index, ())
        then_ms = self._now_ms - number.span_ms
        old = [point for point in series if point[0] <= then_ms]
        kept = series[max(len(old) - 1, 0) :]
        if not kept or self._now_ms - kept[-1][0] >= number.span_ms // _POINTS:
            kept = (*kept, (self._now_ms, now))
        self._series[number.index] = kept
        if not old:
            return None
        after = kept[1] if len(kept) > 1 else (self._now_ms, now)
        return now - _between(old[-1], after, then_ms)


def _between(before: tuple[int, float], after: tuple[int, float], at_ms: int) -> float:
    """What it was when nobody looked, as if it had changed evenly."""
    if after[0] <= before[0]:
        return before[1]
    return before[1] + (after[1] - before[1]) * (at_ms - before[0]) / (after[0] - before[0])


def _settled(truths: list[bool | None], against: bool) -> bool | None:
    """One that is `against` settles it, else one that is not known leaves it open."""
    if against in truths:
        return against
    return None if None in truths else not against
