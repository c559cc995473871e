"""From records to sentences: whole events, events with a part overwritten, events that go on."""

from __future__ import annotations

from oompolicy.backends.hook.abi import BAND_NUMBERS, Record, RecordKind, Source
from oompolicy.backends.hook.events import CHOSEN_ABORTED, events_of, in_words
from oompolicy.policy.verdict import Band

POLICY = 77
NAMES = {POLICY: "memcg_priority"}
PATHS = {5: "/shop"}


def begins(seq: int, scope: int = 5) -> Record:
    return Record(seq, 1000, RecordKind.BEGIN, 301, 300, 0, b"asks\0", scope, 0xCC0, POLICY, 0)


def weighs(seq: int, pid: int, comm: str, badness: int, answer: int, source: Source = Source.TASK) -> Record:
    name = comm.encode().ljust(16, b"\0")
    return Record(seq, 1000, RecordKind.CANDIDATE, pid, pid, source, name, 6, badness, answer, pid << 8)


def ends(seq: int, chosen_task: int, points: int, scope: int = 5) -> Record:
    return Record(seq, 2000, RecordKind.END, 0, 1, 3, bytes(16), scope, 131072, points, chosen_task)


def score(points: int) -> int:
    return points << 3 | BAND_NUMBERS[Band.SCORE]


ONE = [begins(0), weighs(1, 10, "sort", 500, score(-7)), weighs(2, 11, "db", 9000, score(-9000)), ends(3, 10 << 8, -7)]


def test_one_line_says_who_why_and_who_would_have_been_next() -> None:
    (event,) = events_of(ONE)
    assert in_words(event, NAMES, PATHS) == (
        "OOM in /shop (asked for by asks, 300): chose sort (10): score for itself; -7 points, badness 500; "
        "next would be db (11) with -9,000 points; of 2 candidates; policy memcg_priority"
    )
    assert event.ended_seq == 3


def test_bands_show_as_the_distance_from_their_base() -> None:
    kill = BAND_NUMBERS[Band.KILL]
    (event,) = events_of([begins(0, 0), weighs(1, 10, "sort", 500, kill, Source.MEMCG), ends(2, 10 << 8, 0, 0)])
    line = in_words(event, {}, {})
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
    assert "somebody was chosen with -7 points, whose record was overwritten" in in_words(event, NAMES, PATHS)


def test_a_gap_ends_the_event_before_it() -> None:
    later = [record._replace(seq=record.seq + 100) for record in ONE]
    assert [event.ended_seq for event in events_of([*ONE[:2], *later])] == [103]


def test_nobody_chosen_says_why() -> None:
    (event,) = events_of([begins(0), ends(1, CHOSEN_ABORTED, 0)])
    assert "an earlier victim was still on its way out" in in_words(event, NAMES, PATHS)
    (event,) = events_of([begins(0), ends(1, 0, 0)])
    assert "nobody was asked about" in in_words(event, NAMES, PATHS)
