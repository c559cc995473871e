"""What each process's oom_score_adj would be without us.

Belongs here: telling our values from those of others, by identity, inheritance and history. Pure.
Must not know: files, plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple, TypeAlias

from oompolicy.mm.sched import OOM_SCORE_ADJ_MIN, Task, is_global_init

Drift: TypeAlias = Literal["correct", "leave"]

# /proc/PID/stat counts start times in clock ticks of USER_HZ, 100 a second on every architecture with oom_score_adj
# that a distribution still builds (include/asm-generic/param.h).
TICK_NS: Final = 10_000_000
# A child may still be born with any of the values that its parent had since our last look; more are not kept.
WRITTEN_MAX: Final = 8


class Identity(NamedTuple):
    """A process, told from others that had or will have its pid: by its start time, which exec does not change."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a process that has, or may have inherited, a value of ours.

    written are the values it may have from us, the present one last, since_ticks is when it can have had the first of
    them. is_left: somebody else has set it since, and it is not ours to change or to put back any more. cgroup is the
    path of its memcg, None where unknown.
    """

    identity: Identity
    comm: str
    original: int
    written: tuple[int, ...]
    since_ticks: int
    cgroup: str | None = None
    is_left: bool = False

    def may_have_handed_down(self, adj: int, child: Identity) -> bool:
        """Can a process born then have that value from this one, and so from us?"""
        # From one that is left alone by now, too: its child may be older than that.
        return adj in self.written and child.start_ticks >= self.since_ticks

    def with_written(self, adj: int) -> Entry:
        """The same after that value has been written."""
        values = (*(value for value in self.written if value != adj), adj)
        return replace(self, written=values[-WRITTEN_MAX:])


Entries: TypeAlias = Mapping[Identity, Entry]


@dataclass(frozen=True, slots=True)
class Seen:
    """The processes of a snapshot, with what they would have without us.

    entries: of those alive. ghosts: of those that have gone or were let go of since the last look, whose children may
    only be seen at the next. originals: by process id, for all. fixed: process ids that are not ours to change.
    inherited, drifted and left: entries that are new or changed for that reason.
    """

    entries: dict[Identity, Entry] = field(default_factory=dict)
    ghosts: dict[Identity, Entry] = field(default_factory=dict)
    originals: dict[int, int] = field(default_factory=dict)
    fixed: set[int] = field(default_factory=set)
    inherited: list[Entry] = field(default_factory=list)
    drifted: list[Entry] = field(default_factory=list)
    left: list[Entry] = field(default_factory=list)


def identity_of(task: Task) -> Identity | None:
    """The process's identity; None where its start time is unknown."""
    if task.start_time_ns is None:
        return None
    return Identity(task.process_id, task.start_time_ns // TICK_NS)


def see(entries: Entries, tasks: Iterable[Task], drift: Drift, ghosts: Entries | None = None) -> Seen:
    """Compare what is with what was written, as known from the last look."""
    alive = {identity: task for task in tasks if (identity := identity_of(task)) is not None and not task.is_kthread}
    seen = Seen(ghosts={identity: entry for identity, entry in entries.items() if identity not in alive})
    family = _Family(alive, {identity.pid: identity for identity in alive}, {**(ghosts or {}), **seen.ghosts}, seen)
    # Parents before their children: a child may have inherited what its parent has inherited.
    for identity in sorted(alive, key=lambda identity: (identity.start_ticks, identity.pid)):
        task = alive[identity]
        known = entries.get(identity)
        entry = family.inherited(identity, task) if known is None else _compared(known, task, drift, seen)
        seen.originals[identity.pid] = task.oom_score_adj if entry is None else entry.original
        if entry is not None:
            seen.entries[identity] = entry
            if entry.is_left:
                seen.fixed.add(identity.pid)
    return seen


def _compared(known: Entry, task: Task, drift: Drift, seen: Seen) -> Entry | None:
    """The entry of a process that we know, in the light of its present value; None where it is let go of."""
    adj = task.oom_score_adj
    if adj in known.written and not known.is_left:
        return known
    if known.is_left:
        return replace(known, original=adj)
    theirs = replace(known, original=adj)
    if adj == OOM_SCORE_ADJ_MIN:  # it has been made unkillable: the kernel will not choose it, whatever we write
        seen.left.append(replace(theirs, is_left=True))
        return None
    if drift == "leave":
        theirs = replace(theirs, is_left=True)
        seen.left.append(theirs)
        return theirs
    seen.drifted.append(theirs)
    return theirs


@dataclass(frozen=True, slots=True)
class _Family:
    """Who can have inherited from whom: those alive, and the ghosts that may have left children behind."""

    alive: Mapping[Identity, Task]
    by_pid: Mapping[int, Identity]
    ghosts: Entries
    seen: Seen

    def inherited(self, identity: Identity, task: Task) -> Entry | None:
        """An entry for a process that has none, if it was born with a value of ours; see docs/oom_score_adj.md."""
        adj = task.oom_score_adj
        parent = None if task.ppid is None else self.by_pid.get(task.ppid)
        if parent is None or is_global_init(task):
            return None
        source = self.seen.entries.get(parent) or self.ghosts.get(parent)
        if source is None or not source.may_have_handed_down(adj, identity):
            if self.alive[parent].oom_score_adj == adj:
                return None  # born with what its parent has, which is not from us
            source = self._orphaned_from(identity, task)
        if source is None:
            return None
        cgroup = None if task.memcg is None else task.memcg.path
        entry = Entry(identity, task.comm, source.original, (adj,), identity.start_ticks, cgroup)
        self.seen.inherited.append(entry)
        return entry

    def _orphaned_from(self, identity: Identity, task: Task) -> Entry | None:
        """Where the parent has gone and the child been given to init: an older one of the cgroup with that value.

        A guess, and so not made for 0, which most processes have anyway, nor for what the new parent itself has.
        """
        if task.memcg is None or task.oom_score_adj == 0:
            return None
        older = (
            entry
            for entry in (*self.ghosts.values(), *self.seen.entries.values())
            if entry.cgroup == task.memcg.path
            and entry.identity.start_ticks <= identity.start_ticks
            and entry.may_have_handed_down(task.oom_score_adj, identity)
        )
        return max(older, key=lambda entry: entry.identity, default=None)


def taken_over(entries: Entries, tasks: Iterable[Task]) -> Seen:
    """What a daemon that was killed has left; who has its original is let go of, or was only about to be changed."""
    now = {identity_of(task): task.oom_score_adj for task in tasks}
    seen = Seen()
    for identity, entry in entries.items():
        is_ours = identity in now and (now[identity] != entry.original or entry.is_left)
        (seen.entries if is_ours else seen.ghosts)[identity] = entry
    return seen


def to_restore(seen: Seen, tasks: Iterable[Task], within: str | None = None) -> list[tuple[Identity, str, int]]:
    """Whom to give which value so that nothing of ours is left: those that still have it, and who inherited it.

    What somebody else has set since stays. Within a cgroup: who is only taken to have inherited it must be in there.
    """
    now = {identity: task for task in tasks if (identity := identity_of(task)) is not None}
    left = see(seen.entries, now.values(), "leave", seen.ghosts).entries
    return [
        (identity, entry.comm, entry.original)
        for identity, entry in left.items()
        if not entry.is_left
        and now[identity].oom_score_adj != entry.original
        and (identity in seen.entries or is_within(now[identity], within))
    ]


def is_within(task: Task, within: str | None) -> bool:
    """Is the task in that cgroup or below it? Everyone is in None."""
    path = None if within is None else "/" + within.strip("/")
    if path in (None, "/"):
        return True
    return task.memcg is not None and (task.memcg.path == path or task.memcg.path.startswith(f"{path}/"))
