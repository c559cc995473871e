"""OOMs as they happened, from records: who ran out, who was weighed, who was chosen, and why, in words.

Belongs here: putting records together, naming victim and runner-up. Must not know: maps, where lines go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from oompolicy.backends.hook.abi import (
    SOURCE_BITS,
    Record,
    RecordKind,
    Source,
    band_of_answer,
    points_of_answer,
    shown,
)
from oompolicy.policy.verdict import POINTS, Band

_SOURCE_MASK = (1 << SOURCE_BITS) - 1
CHOSEN_ABORTED = (1 << 64) - 1  # oc->chosen where an earlier victim is on its way out


@dataclass(frozen=True, slots=True)
class Weighed:
    """A candidate: the kernel's badness, the program's answer, and the points that came of it."""

    pid: int
    comm: str
    memcg: int
    badness: int
    answer: int
    source: Source
    task: int
    policy_id: int = 0
    place: int = 0  # of a fault

    @property
    def band(self) -> Band:
        """Where its points come from."""
        return band_of_answer(self.answer)

    @property
    def points(self) -> int:
        """What the kernel compared."""
        return points_of_answer(self.answer, self.badness)

    @property
    def reason(self) -> str:
        """Why it has these points."""
        if self.source is Source.FAULT and self.band is Band.PRESELECTED:
            return "preselected, by its badness: the policy faulted"
        if self.source in _REASONS:
            return _REASONS[self.source].format(self.band.value)
        if self.band is Band.DEFER:
            return "the kernel's badness" + ("" if self.source is not Source.NONE else ": nothing was published for it")
        by = "for its memcg" if self.source is Source.MEMCG else "for itself"
        return f"{self.band.value} {by}"


_REASONS = {
    Source.EXPIRED: "the kernel's badness: the published answers had expired",
    Source.FAULT: "the kernel's badness: the policy faulted",
    Source.POLICY: "{} by the policy",
    Source.POLICY_WITHOUT_VALUES: "{} by the policy, without values: they had expired",
}


@dataclass(frozen=True, slots=True)
class Known:
    """What numbers of records stand for: names of policies, paths of cgroups, and where and why a policy faults."""

    names: Mapping[int, str] = field(default_factory=dict)
    paths: Mapping[int, str] = field(default_factory=dict)
    faults: Mapping[tuple[int, int], str] = field(default_factory=dict)

    def policy(self, policy_id: int) -> str:
        """A policy's name and id."""
        return shown(self.names[policy_id], policy_id) if policy_id in self.names else "unknown"

    def fault(self, one: Weighed) -> str:
        """Where and why a policy faulted for a task."""
        return self.faults.get((one.policy_id, one.place), f"place {one.place}")


@dataclass(slots=True)
class Event:
    """One OOM. scope is a cgroup id, 0 for the machine; ended_seq is the number of its last record.

    is_whole: its beginning and all candidates are there. shadows: what other policies would have answered, by id.
    """

    scope: int
    order: int = 0
    trigger_pid: int = 0
    trigger_comm: str = ""
    policy_id: int = 0
    time_ns: int = 0
    is_whole: bool = False
    weighed: list[Weighed] = field(default_factory=list)
    shadows: dict[int, list[Weighed]] = field(default_factory=dict)
    totalpages: int = 0
    constraint: int = 0
    chosen_points: int = 0
    chosen_task: int = 0
    gfp_mask: int = 0
    found: bool = False
    ended_seq: int = 0

    @property
    def ranked(self) -> list[Weighed]:
        """The candidates, worst first."""
        return sorted(self.weighed, key=lambda one: one.points, reverse=True)

    @property
    def policy_ids(self) -> set[int]:
        """The policies that answered: one, for one ranks an OOM from its beginning to its end."""
        return {one.policy_id for one in self.weighed}

    @property
    def faulted(self) -> list[Weighed]:
        """The candidates for which the policy faulted."""
        return [one for one in self.weighed if one.source is Source.FAULT]

    def choice_of_shadow(self, policy_id: int) -> Weighed | None:
        """Whom another policy would have chosen: the last of those with most points, as kernels with the hook do."""
        return max(reversed(self.shadows[policy_id]), key=lambda one: one.points, default=None)

    @property
    def disagreements(self) -> dict[int, Weighed]:
        """The shadows that would have chosen another one, and whom."""
        chosen = self.chosen
        found = {policy_id: self.choice_of_shadow(policy_id) for policy_id in self.shadows}
        return {each: one for each, one in found.items() if one and chosen and one.task != chosen.task}

    @property
    def chosen(self) -> Weighed | None:
        """The one that was chosen; None where nobody was, or where its record is gone."""
        return next((one for one in self.weighed if one.task == self.chosen_task), None)


def events_of(records: Iterable[Record]) -> list[Event]:
    """The OOMs that have ended, in order; one that goes on is left for the next time."""
    events: list[Event] = []
    now: Event | None = None
    last_seq: int | None = None
    for record in records:
        if last_seq is not None and record.seq != last_seq + 1:
            now = None  # what was between is gone
        last_seq = record.seq
        if record.kind == RecordKind.BEGIN:
            now = Event(record.memcg, record.number, record.tgid, _text(record.comm), record.policy, is_whole=True)
            now.gfp_mask = record.first
        elif record.kind == RecordKind.CANDIDATE:
            now = now or Event(0)
            now.weighed.append(_weighed(record))
            now.policy_id = record.policy
        elif record.kind == RecordKind.SHADOW:
            now = now or Event(0)
            now.shadows.setdefault(record.policy, []).append(_weighed(record))
        elif record.kind == RecordKind.END:
            now = now or Event(record.memcg)
            _end(now, record)
            events.append(now)
            now = None
    return events


def in_words(event: Event, known: Known) -> str:
    """One line for the log: scope, victim, points, reason, runner-up, policy; faults, and shadows that disagree."""
    scope = "the machine" if event.scope == 0 else known.paths.get(event.scope, f"cgroup {event.scope}")
    asked = f" (asked for by {event.trigger_comm}, {event.trigger_pid})" if event.is_whole else ""
    where = f"OOM in {scope}{asked}"
    chosen = event.chosen
    if chosen is None:
        return f"{where}: {_why_nobody(event)}"
    ranked = event.ranked
    line = f"{where}: chose {_named(chosen)}: {chosen.reason}; {_points(chosen)}, badness {chosen.badness:,}"
    others = [one for one in ranked if one is not chosen]
    line += f"; next would be {_named(others[0])} with {_points(others[0])}" if others else "; there was nobody else"
    of = f"of {len(ranked)} candidates" if event.is_whole else f"of {len(ranked)} candidates whose records are left"
    return "; ".join((f"{line}; {of}; policy {known.policy(event.policy_id)}", *_remarks(event, known)))


def _remarks(event: Event, known: Known) -> Iterator[str]:
    faulted = event.faulted
    if faulted:
        yield f"it faulted for {len(faulted)}, first for {_named(faulted[0])}: {known.fault(faulted[0])}"
    for policy_id, one in event.disagreements.items():
        yield f"shadow {known.policy(policy_id)} would have chosen {_named(one)} with {_points(one)}"


def _why_nobody(event: Event) -> str:
    if event.chosen_task == CHOSEN_ABORTED:
        return "an earlier victim was still on its way out"
    if event.chosen_task:
        why = "nothing was in force yet" if not event.weighed and event.is_whole else "whose record was overwritten"
        return f"somebody was chosen with {event.chosen_points:,} points, {why}"
    return "nobody was chosen" + ("" if event.weighed else ": nobody was asked about")


def _named(one: Weighed) -> str:
    return f"{one.comm} ({one.pid})"


def _points(one: Weighed) -> str:
    """Those of the high bands by their distance from the base."""
    base = POINTS[one.band].base
    return f"{one.points:,} points" if not base else f"points {one.band.value} {one.points - base:+,}"


def _weighed(record: Record) -> Weighed:
    return Weighed(
        record.tgid,
        _text(record.comm),
        record.memcg,
        record.first,
        record.second,
        Source(record.number & _SOURCE_MASK),
        record.task,
        record.policy,
        record.number >> SOURCE_BITS,
    )


def _end(event: Event, record: Record) -> None:
    event.scope = record.memcg
    event.totalpages, event.constraint = record.first, record.number
    event.chosen_points, event.chosen_task = record.second, record.task
    event.found, event.ended_seq, event.time_ns = bool(record.tgid), record.seq, record.time_ns


def _text(comm: bytes) -> str:
    return comm.partition(b"\0")[0].decode(errors="backslashreplace")
