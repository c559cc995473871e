"""The OOMs of an attachment that nobody has told of yet, as lines for the log.

Belongs here: reading on where the last reader left, up to a moment. Must not know: which attachment is asked, or when.
"""

from __future__ import annotations

from oompolicy.backends.hook.abi import FAULT_KEY, FAULT_VALUE, NAME_KEY, ControlWord
from oompolicy.backends.hook.attachment import Attachment
from oompolicy.backends.hook.events import Known, events_of, in_words
from oompolicy.backends.hook.history import unread
from oompolicy.snapshot import Snapshot


def news(held: Attachment, snapshot: Snapshot, until_ns: int | None = None) -> tuple[str, ...]:
    """A line for each OOM that has ended since the last was told of, by CLOCK_MONOTONIC not later than until_ns."""
    found = unread(held.control, held.ring)
    events = events_of(found.records)
    told = [event for event in events if until_ns is None or event.time_ns <= until_ns]
    lines = [f"{found.dropped} records of OOMs were overwritten before they were read"] if found.dropped else []
    if told:
        known = known_in(held, snapshot)
        lines += [in_words(event, known) for event in told]
        held.control[ControlWord.READ_SEQ] = told[-1].ended_seq + 1
    elif found.dropped:
        held.control[ControlWord.READ_SEQ] += found.dropped
    return tuple(lines)


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
