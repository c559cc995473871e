"""What is in force in the kernel at this moment, read back from the live maps.

Belongs here: reading, and which entry answers for whom, as the program looks it up (program.py).
Must not know: policies' meanings, how it is printed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from oompolicy.backends.hook import generation, pins
from oompolicy.backends.hook.abi import (
    BANDS,
    KEY,
    LEVELS,
    NAME_KEY,
    TICK_NS,
    VALUE,
    ControlWord,
    Entry,
    EntryFlag,
    Form,
    memcg_key,
    task_key,
)
from oompolicy.bpf.map_kinds import MapOfMaps
from oompolicy.bpf.maps import Map
from oompolicy.bpf.pins import open_pinned
from oompolicy.mm.memcontrol import MemCgroup, ancestors
from oompolicy.mm.sched import Task
from oompolicy.policy.verdict import Band


@dataclass(frozen=True, slots=True)
class Answer:
    """What the kernel is answered for a memcg: its entry, and of which memcg that is (itself, or one above it)."""

    entry: Entry
    of: MemCgroup


@dataclass(frozen=True)
class InForce:
    """What is published, for whom, and how long it counts.

    policy: its name, None where nothing was published yet. age_ms: since the look that it is of, None likewise.
    form: how the policy answers; where it is compiled, the entries are values, and the answer is known to the kernel
    alone.
    """

    policy: str | None
    age_ms: int | None
    ttl_ms: int
    entries: Mapping[bytes, Entry]
    form: Form = Form.PUBLISHED

    @property
    def is_compiled(self) -> bool:
        """Is the policy itself asked in the kernel?"""
        return self.form in (Form.COMPILED, Form.COMPILED_WITH_VALUES)

    @property
    def is_fresh(self) -> bool:
        """Does the program go by it? Else the kernel's badness decides alone."""
        return self.age_ms is not None and self.age_ms <= self.ttl_ms

    def for_memcg(self, memcg: MemCgroup) -> Answer | None:
        """What counts for a task of the memcg that has no entry of its own, in an OOM of the machine; None: nothing.

        The nearest entry decides; one of a memcg above only where it says that it covers those below.
        """
        for above in islice(ancestors(memcg), LEVELS):
            entry = None if above.id is None else self.entries.get(memcg_key(above.id))
            if entry is not None:
                return Answer(entry, above) if above is memcg or entry.flags & EntryFlag.COVERS_BELOW else None
        return None

    def value_of(self, memcg: MemCgroup) -> int | None:
        """The value that a compiled policy reads: by the entry of the memcg, or of the nearest above it."""
        for above in islice(ancestors(memcg), LEVELS):
            entry = None if above.id is None else self.entries.get(memcg_key(above.id))
            if entry is not None:
                return entry.score if entry.flags & EntryFlag.HAS_VALUE else None
        return None

    def has_another(self, task: Task, answer: Answer | None) -> bool:
        """Has a task an entry of its own, and one that does not answer as its memcg's does?"""
        own = self.entries.get(task_key((task.start_time_ns or 0) // TICK_NS, task.process_id))
        return own is not None and _said(own) != _said(None if answer is None else answer.entry)

    @cached_property
    def other_scopes(self) -> Mapping[int, frozenset[int]]:
        """Cgroup id of a memcg -> those of the memcgs in whose OOM it has another entry."""
        scopes: dict[int, set[int]] = {}
        for scope, start_ticks, owner in map(KEY.unpack, self.entries):
            if scope and not start_ticks:
                scopes.setdefault(owner, set()).add(scope)
        return {owner: frozenset(found) for owner, found in scopes.items()}


def read_in_force(folder: Path = pins.FOLDER) -> InForce | None:
    """What is in force now; None where nothing is attached, or where it is not ours to see.

    While one set of programs takes over from another there are two: the one that was fed last is what counts.
    Raises BpfError where it cannot be read, as in the moment in which it is detached.
    """
    found = [_read(path) for path in pins.sets(folder) if path.name.startswith(pins.WHOLE)]
    return min(found, key=lambda one: float("inf") if one.age_ms is None else one.age_ms, default=None)


def is_hidden(folder: Path = pins.FOLDER) -> bool:
    """May something be in force that this process is not allowed to see?"""
    if os.geteuid() == 0:
        return False
    try:
        return folder.exists()
    except PermissionError:
        return True


def _said(entry: Entry | None) -> tuple[Band, int, EntryFlag]:
    """What the program answers by it: no entry is DEFER; whom an entry covers is not part of it."""
    if entry is None or entry.band not in (Band.SCORE, Band.PRESELECTED):
        return Band.DEFER if entry is None else entry.band, 0, EntryFlag.NONE
    return entry.band, entry.score, entry.flags & EntryFlag.ADDS_BADNESS


def _read(path: Path) -> InForce:
    with contextlib.closing(pins.open_control(path)) as control:
        heartbeat_ns, ttl_ns = control[ControlWord.HEARTBEAT_NS], control[ControlWord.TTL_NS]
        policy_id, slot = control[ControlWord.POLICY_ID], control[ControlWord.LIVE_SLOT]
        form = Form(control.of_slot(ControlWord.SLOT_FORM, slot))
    with open_pinned(path / "names", Map) as names, open_pinned(path / "generation", MapOfMaps) as published:
        name = names.lookup(NAME_KEY.pack(policy_id))
        entries = _entries(generation.in_force(published, slot).items())
    age_ms = (time.monotonic_ns() - heartbeat_ns) // 1_000_000 if heartbeat_ns else None
    policy = None if name is None else name.partition(b"\0")[0].decode(errors="replace")
    return InForce(policy, age_ms, ttl_ns // 1_000_000, entries, form)


def _entries(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, Entry]:
    entries = {}
    for key, value in raw:
        score, band, flags = VALUE.unpack(value)
        entries[key] = Entry(BANDS.get(band, Band.DEFER), score, EntryFlag(flags))
    return entries
