"""The OOMs of an attachment that nobody has told of yet, as lines for the log.

Belongs here: reading on where the last reader left, up to a moment. Must not know: which attachment is asked, or when.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from oompolicy.backends.hook.abi import FAULT_KEY, FAULT_VALUE, NAME_KEY, ControlWord
from oompolicy.backends.hook.attachment import Attachment
from oompolicy.backends.hook.events import Event, Known, events_of, in_words
from oompolicy.backends.hook.history import unread
from oompolicy.scoring.scene import PastKill
from oompolicy.snapshot import Snapshot


class News(NamedTuple):
    """Lines for the log, and whom the kernel has killed."""

    lines: tuple[str, ...] = ()
    kills: tuple[PastKill, ...] = ()


def news(held: Attachment, snapshot: Snapshot, until_ns: int | None = None) -> News:
    """A line for each OOM that has ended since the last was told of, by CLOCK_MONOTONIC not later than until_ns."""
    found = unread(held.control, held.ring)
    events = events_of(found.records)
    told = [event for event in events if until_ns is None or event.time_ns <= until_ns]
    lines = [f"{found.dropped} records of OOMs were overwritten before they were read"] if found.dropped else []
    kills: list[PastKill] = []
    if told:
        known = known_in(held, snapshot)
        for event in told:
            words = in_words(event, known)
            lines.append(words)
            kills += _kill(event, known, words)
        held.control[ControlWord.READ_SEQ] = told[-1].ended_seq + 1
    elif found.dropped:
        held.control[ControlWord.READ_SEQ] += found.dropped
    return News(tuple(lines), tuple(kills))


def _kill(event: Event, known: Known, words: str) -> Iterator[PastKill]:
    """Whom it has killed, if that is known."""
    one = event.chosen
    if one is not None:
        from_boot_ns = event.time_ns + time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
        cgroup, scope = known.paths.get(one.memcg), "/" if event.scope == 0 else known.paths.get(event.scope)
        yield PastKill(from_boot_ns // 1_000_000, one.pid, one.comm, cgroup, "kernel", scope, words)


def forget(held: Attachment, until_ns: int) -> None:
    """Leave out the OOMs that have ended until then: somebody else tells of them."""
    gone = [event for event in events_of(unread(held.control, held.ring).records) if event.time_ns <= until_ns]
    if gone:
        held.control[ControlWord.READ_SEQ] = gone[-1].ended_seq + 1


def known_in(held: Attachment, snapshot: Snapshot) -> Known:
    """What numbers of its records stand for."""
    return Known(
        {NAME_KEY.unpack(key)[0]: text_of(value) for key, value in held.maps.names.items()},
        {memcg.id: memcg.path for memcg in snapshot.kernel.memcgs if memcg.id is not None},
        {FAULT_KEY.unpack(key): text_of(FAULT_VALUE.unpack(value)[1]) for key, value in held.maps.faults.items()},
    )


def text_of(name: bytes) -> str:
    """A policy's name as it is in the map of names."""
    return name.partition(b"\0")[0].decode(errors="replace")
