"""From records to sentences: whole events, events with a part overwritten, events that go on, shadows and faults."""

from __future__ import annotations

from oompolicy.backends.hook.abi import BAND_NUMBERS, SOURCE_BITS, Record, RecordKind, Source
from oompolicy.backends.hook.events import CHOSEN_ABORTED, Event, Known, events_of, in_words
from oompolicy.policy.verdict import Band

POLICY, SHADOW = 0x77, 0x88
KNOWN = Known(
    {POLICY: "memcg_priority", SHADOW: "newest_first"}, {5: "/shop"}, {(POLICY, 3): "mine.py:7:12: division by zero"}
)


def begins(seq: int, scope: int = 5) -> Record:
    return Record(seq, 1000, RecordKind.BEGIN, 301, 300, 0, b"asks\0", scope, 0xCC0, 1, 0, POLICY)


def weighs(
    seq: int,
    pid: int,
    comm: str,
    badness: int,
    answer: int,
    source: int = Source.TASK,
    kind: RecordKind = RecordKind.CANDIDATE,
    policy: int = POLICY,
) -> Record:
    name = comm.encode().ljust(16, b"\0")
    return Record(seq, 1000, kind, pid, pid, source, name, 6, badness, answer, pid << 8, policy)


def ends(seq: int, chosen_task: int, points: int, scope: int = 5) -> Record:
    return Record(seq, 2000, RecordKind.END, 0, 1, 3, bytes(16), scope, 131072, points, chosen_task)


def score(points: int) -> int:
    return points << 3 | BAND_NUMBERS[Band.SCORE]


ONE = [begins(0), weighs(1, 10, "sort", 500, score(-7)), weighs(2, 11, "db", 9000, score(-9000)), ends(3, 10 << 8, -7)]


def test_one_line_says_who_why_and_who_would_have_been_next() -> None:
    (event,) = events_of(ONE)
    assert in_words(event, KNOWN) == (
        "OOM in /shop (asked for by asks, 300): chose sort (10): score for itself; -7 points, badness 500; "
        "next would be db (11) with -9,000 points; of 2 candidates; policy memcg_priority (00000077)"
    )
    assert event.ended_seq == 3


def test_bands_show_as_the_distance_from_their_base() -> None:
    kill = BAND_NUMBERS[Band.KILL]
    (event,) = events_of([begins(0, 0), weighs(1, 10, "sort", 500, kill, Source.MEMCG), ends(2, 10 << 8, 0, 0)])
    line = in_words(event, Known())
    assert "OOM in the machine" in line
    assert "chose sort (10): KILL for its memcg; points KILL +500" in line
    assert "there was nobody else" in line
    assert "policy unknown" in line


def test_expired_and_unpublished_are_told_apart_from_defer() -> None:
    records = [weighs(number, number, "x", 5, 0, source) for number, source in enumerate(Source, start=1)]
    (event,) = events_of([begins(0), *records, ends(len(records) + 1, 0, 0)])
    reasons = {each.source: each.reason for each in event.weighed}
    assert "expired" in reasons[Source.EXPIRED]
    assert "nothing was published" in reasons[Source.NONE]
    assert reasons[Source.TASK] == "the kernel's badness"


def test_an_event_that_goes_on_is_left_for_the_next_time() -> None:
    assert [event.ended_seq for event in events_of([*ONE, begins(4), weighs(5, 12, "new", 1, 0)])] == [3]


def test_what_was_overwritten_shows() -> None:
    (event,) = events_of(ONE[2:])
    assert not event.is_whole
    assert event.scope == 5
    assert "somebody was chosen with -7 points, whose record was overwritten" in in_words(event, KNOWN)


def test_a_gap_ends_the_event_before_it() -> None:
    later = [record._replace(seq=record.seq + 100) for record in ONE]
    assert [event.ended_seq for event in events_of([*ONE[:2], *later])] == [103]


def test_nobody_chosen_says_why() -> None:
    (event,) = events_of([begins(0), ends(1, CHOSEN_ABORTED, 0)])
    assert "an earlier victim was still on its way out" in in_words(event, KNOWN)
    (event,) = events_of([begins(0), ends(1, 0, 0)])
    assert "nobody was asked about" in in_words(event, KNOWN)
    (event,) = events_of([begins(0), ends(1, 10 << 8, 9)])
    assert "somebody was chosen with 9 points, nothing was in force yet" in in_words(event, KNOWN)


def shadows(seq: int, pid: int, comm: str, badness: int, answer: int) -> Record:
    return weighs(seq, pid, comm, badness, answer, Source.POLICY, RecordKind.SHADOW, SHADOW)


def with_shadow(*answers: int) -> Event:
    """sort is chosen by the live policy; the shadow gives these answers for sort and db."""
    sort, db = answers
    records = [
        *(begins(0), shadows(1, 10, "sort", 500, sort), weighs(2, 10, "sort", 500, score(-7))),
        *(shadows(3, 11, "db", 9000, db), weighs(4, 11, "db", 9000, score(-9000)), ends(5, 10 << 8, -7)),
    ]
    (event,) = events_of(records)
    return event


def test_a_shadow_that_disagrees_is_told_with_its_choice() -> None:
    event = with_shadow(score(1), score(2))
    assert {each: one.comm for each, one in event.disagreements.items()} == {SHADOW: "db"}
    assert in_words(event, KNOWN).endswith(
        "policy memcg_priority (00000077); shadow newest_first (00000088) would have chosen db (11) with 2 points"
    )


def test_a_shadow_that_agrees_is_not_told() -> None:
    event = with_shadow(score(2), score(1))
    assert event.disagreements == {}
    assert event.choice_of_shadow(SHADOW) is not None
    assert "shadow" not in in_words(event, KNOWN)


def test_of_equals_a_shadow_would_have_chosen_the_last_as_the_kernel_does() -> None:
    assert [one.comm for one in with_shadow(score(2), score(2)).disagreements.values()] == ["db"]


def test_a_fault_is_told_with_its_place_and_is_the_kernels_badness() -> None:
    faulted = Source.FAULT | 3 << SOURCE_BITS
    (event,) = events_of([begins(0), weighs(1, 10, "sort", 500, 0, faulted), ends(2, 10 << 8, 500)])
    assert event.weighed[0].points == 500
    assert event.policy_ids == {POLICY}
    line = in_words(event, KNOWN)
    assert "the kernel's badness: the policy faulted" in line
    assert line.endswith("it faulted for 1, first for sort (10): mine.py:7:12: division by zero")
