"""Cgroups compared with each other: by which numbers, and who is the worst of them. Pure.

Belongs here: which cgroups are compared, their numbers at each look, their order. Must not know: who among a cgroup's
processes is chosen, how one is killed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeAlias

from oompolicy.rules.condition import Judging, Memory
from oompolicy.rules.fields import Field
from oompolicy.rules.look import MACHINE, Look
from oompolicy.rules.preference import Preference, Preferences
from oompolicy.rules.readings import Readings
from oompolicy.rules.rule import Rule
from oompolicy.rules.scopes import is_under, named
from oompolicy.rules.syntax import parse_number
from oompolicy.rules.tree import Growth, Number, OfPeers, numbers_in

Numbers: TypeAlias = tuple[float | None, ...]
# By a cgroup's path, what each of its numbers remembers.
Memories: TypeAlias = Mapping[str, tuple[Memory, ...]]


@dataclass(frozen=True, slots=True)
class Ranking:
    """among: patterns of the cgroups that are compared, by numbers of which the first that differs decides."""

    among: tuple[str, ...]
    texts: tuple[str, ...]
    numbers: tuple[Number, ...]
    is_recursive: bool = False

    @property
    def fields(self) -> tuple[Field, ...]:
        """What it reads."""
        return tuple({read.field.name: read.field for one in self.numbers for read in numbers_in(one)}.values())

    @property
    def remembers(self) -> bool:
        """Is anything in it told from more than two looks, so that it must be seen at each?"""
        return any(self._growths)

    @property
    def _growths(self) -> tuple[tuple[Growth, ...], ...]:
        """Of each number."""
        return tuple(tuple(read for read in numbers_in(one) if isinstance(read, Growth)) for one in self.numbers)

    @property
    def patterns(self) -> tuple[str, ...]:
        """Of all the cgroups that it reads."""
        below = (f"{pattern}/**" for pattern in self.among) if self.is_recursive else ()
        return (*self.among, *below)

    def remembered(self, now: Readings, before: Readings | None, memories: Memories) -> Memories:
        """What to remember of this look: growths alone, of each cgroup."""
        growths, blank = self._growths, (Memory(),) * len(self.numbers)
        kept = {}
        for path in named(self.patterns, now.cgroups):
            look, known = Look(now, path, before), memories.get(path, blank)
            kept[path] = tuple(_seen(look, memory, each) for memory, each in zip(known, growths, strict=True))
        return kept

    def judge(self, now: Readings, before: Readings | None, memories: Memories) -> dict[str, Numbers]:
        """The numbers of each cgroup; memories are of the look before."""
        blank = (Memory(),) * len(self.numbers)
        found: dict[str, Numbers] = {}
        for family in self._families(named(self.patterns, now.cgroups)):
            peers = [_Peers({}) for _ in self.numbers]
            for path in family:
                for memory, each in zip(memories.get(path, blank), peers, strict=True):
                    each.members[path] = Judging(Look(now, path, before), memory, each)
            for path in family:
                values = (each.members[path].value(number) for each, number in zip(peers, self.numbers, strict=True))
                found[path] = tuple(values)
        return found

    def _families(self, paths: Sequence[str]) -> list[list[str]]:
        """Those that are compared with each other; recursive: those that are named, and the children of each."""
        if not self.is_recursive:
            return [innermost(paths)]
        first = outermost(paths)
        others = sorted(set(paths) - set(first))
        return [first, *(list(children) for _, children in groupby(sorted(others, key=_parent), key=_parent))]


def _seen(look: Look, memory: Memory, growths: tuple[Growth, ...]) -> Memory:
    if not growths:
        return memory
    judging = Judging(look, memory)
    for growth in growths:
        judging.value(growth)
    return judging.memory()


def ranking_of(rule: Rule) -> Ranking | None:
    """How a rule compares cgroups; None where it does not. Raises ConfigError."""
    if not rule.among:
        return None
    return Ranking(rule.among, rule.by, tuple(parse_number(text) for text in rule.by), rule.is_recursive)


@dataclass(slots=True)
class _Peers:
    """The cgroups of one family for one number, and what has been reckoned from all of them."""

    members: dict[str, Judging]
    known: dict[int, float | None] = field(default_factory=dict)

    def value(self, of: OfPeers) -> float | None:
        key = id(of)
        if key not in self.known:
            values = [value for each in self.members.values() if (value := each.value(of.number)) is not None]
            self.known[key] = _percentile(values, of.percent) if of.percent is not None else sum(values)
        return self.known[key]


def _percentile(values: list[float], percent: float) -> float | None:
    """The least of the largest 100 - percent %, which are one at least.

    >>> _percentile([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 80), _percentile([7.0], 80)
    (5.0, 7.0)
    """
    if not values:
        return None
    count = math.ceil(len(values) * (100 - percent) / 100)
    return sorted(values, reverse=True)[max(count, 1) - 1]


def innermost(paths: Iterable[str]) -> list[str]:
    """Those without another of them below: what a cgroup uses is what those below it use.

    >>> innermost(["/a", "/a/b", "/a/c/d", "/ab"])
    ['/a/b', '/a/c/d', '/ab']
    """
    ordered = sorted(set(paths), key=lambda path: path.split("/"))
    followed = zip(ordered, [*ordered[1:], ""], strict=False)
    return [path for path, after in followed if not after.startswith(f"{path}/")]


def outermost(paths: Iterable[str]) -> list[str]:
    """Those without another of them above.

    >>> outermost(["/a/b", "/a", "/a/c/d", "/ab"])
    ['/a', '/ab']
    """
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda path: path.split("/")):
        if not kept or not path.startswith(f"{kept[-1]}/"):
            kept.append(path)
    return kept


def within(numbers: Mapping[str, Numbers], scope: str) -> dict[str, Numbers]:
    """Of the cgroups that are in a scope."""
    return {
        path: found for path, found in numbers.items() if scope == MACHINE or path == scope or is_under(path, scope)
    }


def worst_first(
    numbers: Mapping[str, Numbers],
    preferences: Preferences,
    is_recursive: bool,
    is_whole: Callable[[str], bool],
) -> list[str]:
    """The cgroups in the order in which they go. What their owners have asked for goes before numbers.

    recursive: the worst of those that are named, and in its place the worst of its children, and so on, down to one
    that has none or goes whole (memory.oom.group).
    """

    def place(path: str) -> tuple[Preference, tuple[float, ...]]:
        found = (-math.inf if number is None else number for number in numbers[path])
        return preferences.get(path, Preference.NONE), tuple(-number for number in found)

    if not is_recursive:
        return sorted(numbers, key=place)
    children: dict[str, list[str]] = {}
    for path in numbers:
        children.setdefault(_parent(path), []).append(path)
    ordered: list[str] = []
    waiting = sorted(outermost(numbers), key=place, reverse=True)
    while waiting:
        path = waiting.pop()
        below = children.get(path, [])
        if below and not is_whole(path):
            waiting += sorted(below, key=place, reverse=True)
        else:
            ordered.append(path)
    return ordered


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
