"""From a policy to entries: what is published so that the program in the kernel answers as the policy would.

Belongs here: asking the policy in every scope, and what of its answers holds for whom. Pure.
Must not know: maps, when it is published.

A task gets an entry of its own, and one more for each scope in which the answer is another. A memcg gets one where a
task that nobody has seen yet would get the same answer whatever it is: the policy is asked about two made-up tasks, of
different sizes, and must have read nothing of them but their memcg and badness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from oompolicy.backends.hook.abi import TICK_NS, Entries, Entry, EntryFlag, memcg_key, task_key
from oompolicy.backends.scopes import choosable, scopes_of
from oompolicy.mm.memcontrol import MemCgroup, ancestors, mem_cgroup_is_descendant, mem_cgroup_is_root
from oompolicy.mm.oom import Kernel, OomControl
from oompolicy.mm.sched import Mm, Task
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit, Candidate, Decision, Fault, ask_about, decide
from oompolicy.policy.verdict import POINTS, Band, Verdict
from oompolicy.snapshot import Snapshot

_PHANTOM_PID: Final = -1
_PHANTOM_PAGES: Final = (1, 1 << 18)
_GROWTH_PAGES: Final = 977  # what a task is made larger by, to see whether its score moves with its badness
# Fields of an mm of which badness is the sum, the least read first.
_PARTS: Final = (("task.pgtables", "pgtables_pages"), ("task.swap", "swap_pages"), ("task.rss", "rss_pages"))
_UNKNOWN_BEFORE: Final = ("oc.trigger", "oc.order", "oc.gfp_mask")
# What the memcgs below share with a memcg; is_under() only where it holds.
_INHERITED: Final = ("task.badness", "task.memcg.value", "task.memcg.is_under(")


@dataclass(frozen=True, slots=True)
class ScopeOfAnswers:
    """One scope: its path (None: the machine), its size and how many candidates it has."""

    path: str | None
    totalpages: int
    candidates: int


@dataclass(frozen=True, slots=True)
class Answers:
    """All that is published for one look at the machine."""

    entries: Entries
    scopes: tuple[ScopeOfAnswers, ...]
    crowd: int
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Asking:
    """The policy, and on what terms it is asked."""

    policy: Policy
    now_ns: int | None
    limit: CallLimit


def answers(snapshot: Snapshot, policy: Policy, within: str | None = None, limit: CallLimit = nullcontext) -> Answers:
    """Ask the policy about every candidate in every scope; within a cgroup, only about what is at and below it.

    Raises GoneError where there is no such cgroup.
    """
    root = None if within is None else snapshot.memcg(within)
    machine = choosable(snapshot.kernel, root)
    asking = _Asking(policy, snapshot.taken_boottime_ns, limit)
    notes: list[str] = []
    faults: list[Fault] = []
    scopes: list[ScopeOfAnswers] = []
    entries: Entries = {}
    crowd: set[tuple[int, int]] = set()
    for memcg, kernel in scopes_of(machine, notes):
        oc = OomControl(kernel, memcg=memcg)
        decision = decide(oc, policy, asking.now_ns, limit)
        faults += decision.faults
        scopes.append(
            ScopeOfAnswers(None if memcg is None else memcg.path, decision.totalpages, len(decision.candidates))
        )
        notes += _notes(policy, decision)
        for ticks, tgid, entry in _task_entries(decision, kernel, memcg, asking):
            crowd.add((ticks, tgid))
            _publish(entries, entry, partial(task_key, ticks, tgid), memcg)
    for memcg in machine.memcgs:
        if memcg.id is not None and (root is None or mem_cgroup_is_descendant(memcg, root)):
            _publish_memcg(entries, memcg, machine, asking)
    return Answers(
        _without_barriers_to_nothing(entries), tuple(scopes), hash(frozenset(crowd)), tuple(faults), tuple(notes)
    )


def _publish(entries: Entries, entry: Entry, key: Callable[[int], bytes], scope: MemCgroup | None) -> None:
    """Under its scope, but where that says the same as the entry for all scopes."""
    if scope is None:
        entries[key(0)] = entry
    elif scope.id is not None and entries.get(key(0)) != entry:
        entries[key(scope.id)] = entry


def _task_entries(
    decision: Decision, kernel: Kernel, memcg: MemCgroup | None, asking: _Asking
) -> Iterator[tuple[int, int, Entry]]:
    """(start in ticks, tgid, entry) of every candidate that can be told from others by its start."""
    movable = [one for one in decision.candidates if _may_move(one)]
    grown = [_grown(one) for one in movable]
    asked = (
        ask_about(grown, OomControl(kernel, memcg=memcg), asking.policy, asking.now_ns, asking.limit) if grown else ()
    )
    by_task = {larger.task: larger for larger in asked}
    moves = {
        one.task: _moves_with_badness(one, by_task.get(larger)) for one, larger in zip(movable, grown, strict=True)
    }
    for one in decision.candidates:
        ticks = (one.task.start_time_ns or 0) // TICK_NS
        if ticks:
            yield ticks, one.task.process_id, entry_of(one, moves.get(one.task, False))


def entry_of(one: Candidate, moves_with_badness: bool) -> Entry:
    """The entry that makes the program answer as the policy did."""
    if one.band not in (Band.SCORE, Band.PRESELECTED):
        return Entry(one.band)
    if isinstance(one.verdict, Verdict):  # preselected, and no score of its own: its badness orders it
        return Entry(one.band, 0, EntryFlag.ADDS_BADNESS)
    score = one.points - POINTS[one.band].base if not moves_with_badness else one.verdict - one.badness
    return Entry(one.band, score, EntryFlag.ADDS_BADNESS if moves_with_badness else EntryFlag.NONE)


def _may_move(one: Candidate) -> bool:
    return not isinstance(one.verdict, Verdict) and "task.badness" in one.reads and _part(one) is not None


def _part(one: Candidate) -> str | None:
    """A field that can be made larger without the policy's seeing it but in badness; None where it reads them all."""
    return next((field for read, field in _PARTS if read not in one.reads), None)


def _grown(one: Candidate) -> Task:
    part, mm = _part(one), one.task.mm
    assert part is not None
    assert mm is not None
    return replace(one.task, mm=replace(mm, **{part: getattr(mm, part) + _GROWTH_PAGES}))


def _moves_with_badness(one: Candidate, larger: Candidate | None) -> bool:
    """Is the score so much larger as the badness is?"""
    if larger is None or isinstance(larger.verdict, Verdict) or isinstance(one.verdict, Verdict):
        return False
    return larger.verdict - one.verdict == larger.badness - one.badness


def _publish_memcg(entries: Entries, memcg: MemCgroup, machine: Kernel, asking: _Asking) -> None:
    """For the tasks that may yet be born in it: in all scopes, and in each above it that has a limit."""
    anywhere, reads_oc = _memcg_entry(memcg, OomControl(machine), asking)

    key = partial(memcg_key, memcg.id or 0)
    _publish(entries, anywhere, key, None)
    if not reads_oc:
        return
    for scope in ancestors(memcg):
        if scope.max_pages is not None and not mem_cgroup_is_root(scope):
            _publish(entries, _memcg_entry(memcg, OomControl(machine, memcg=scope), asking)[0], key, scope)


def _memcg_entry(memcg: MemCgroup, oc: OomControl, asking: _Asking) -> tuple[Entry, bool]:
    """(entry, is it this scope's alone). DEFER where the policy would want to know more of the task."""
    small, large = ask_about(_phantoms(memcg), oc, asking.policy, asking.now_ns, asking.limit)
    reads = {**small.reads, **large.reads}
    # A preselection has seen the whole scope; totalpages show in badness only by an adjustment, which is 0 here.
    is_scope_s = asking.policy.preselection is not None or any(name.startswith("oc.") for name in reads)
    if small.fault or large.fault or not all(name.startswith(("task.memcg.", "task.badness", "oc.")) for name in reads):
        return Entry(Band.DEFER), is_scope_s
    entry = entry_of(small, _moves_with_badness(small, large))
    if entry != entry_of(large, _moves_with_badness(small, large)):
        return Entry(Band.DEFER), is_scope_s
    if all(
        name.startswith((*_INHERITED, "oc.")) and (value or "is_under(" not in name) for name, value in reads.items()
    ):
        entry = entry._replace(flags=entry.flags | EntryFlag.COVERS_BELOW)
    return entry, is_scope_s


def _phantoms(memcg: MemCgroup) -> Sequence[Task]:
    return [
        Task(_PHANTOM_PID, "", Mm(pages), ppid=1, memcg=memcg, start_time_ns=0, has_cap_sys_admin=False)
        for pages in _PHANTOM_PAGES
    ]


def _without_barriers_to_nothing(entries: Entries) -> Entries:
    """A memcg's DEFER only keeps the answer of a memcg above it away: where none has one, none is needed."""
    memcgs = {key for key in entries if _is_memcg(key)}
    if any(entries[key].band is not Band.DEFER for key in memcgs):
        return entries
    return {key: entry for key, entry in entries.items() if key not in memcgs}


def _is_memcg(key: bytes) -> bool:
    return key[8:16] == bytes(8)


def _notes(policy: Policy, decision: Decision) -> Iterable[str]:
    """What a snapshot cannot tell, worth saying once."""
    reads = {name for one in decision.candidates for name in one.reads}
    asked = sorted(name for name in _UNKNOWN_BEFORE if any(read.startswith(name) for read in reads))
    if asked:
        yield f"policy {policy.name} reads {', '.join(asked)}, known only when memory runs out: it gets 0 or None"
