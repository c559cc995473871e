"""What an attachment has recorded is told of once, up to the moment in which another took over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from oompolicy.backends.hook.abi import NAME_KEY, RECORD, RECORDS, ControlWord, RecordKind, Source
from oompolicy.backends.hook.attachment import Attachment
from oompolicy.backends.hook.news import News, forget, news

from worlds import machine

HERE = machine()


def recorded(*ended_ns: int, going_on: bool = False) -> Attachment:
    """A ring with one OOM for each time, of a process named after it, and perhaps one that has not ended."""
    ring, seq = bytearray(RECORDS * RECORD.size), 0

    def write(time_ns: int, kind: RecordKind, pid: int, number: int, second: int, task: int) -> None:
        nonlocal seq
        comm = f"at{time_ns}".encode()
        record = RECORD.pack(seq, time_ns, kind, pid, pid, number, comm, 0, 5, second, task, 1)
        ring[seq * RECORD.size : (seq + 1) * RECORD.size] = record
        seq += 1

    for time_ns in (*ended_ns, *([99] if going_on else [])):
        write(time_ns, RecordKind.BEGIN, 7, 0, 1, 0)
        write(time_ns, RecordKind.CANDIDATE, time_ns, Source.NONE, 0, time_ns)
        if time_ns != 99:
            write(time_ns, RecordKind.END, 0, 0, 5, time_ns)
    control = {ControlWord.READ_SEQ: 0, ControlWord.NEXT_SEQ: seq}
    names = {NAME_KEY.pack(1): b"mine".ljust(64, b"\0")}
    return cast(Attachment, SimpleNamespace(control=control, ring=ring, maps=SimpleNamespace(names=names, faults={})))


def chosen(found: News) -> list[str]:
    told = [line.partition("chose ")[2].partition(" ")[0] for line in found.lines]
    assert [kill.comm for kill in found.kills] == told
    return told


def test_each_is_told_once() -> None:
    held = recorded(10, 20)
    found = news(held, HERE)
    assert chosen(found) == ["at10", "at20"]
    assert all(line.endswith("policy mine (00000001)") for line in found.lines)
    assert [(kill.pid, kill.by) for kill in found.kills] == [(10, "kernel"), (20, "kernel")]
    assert [kill.why for kill in found.kills] == list(found.lines)
    assert {kill.scope for kill in found.kills} == {"/"}
    assert news(held, HERE) == ((), ())


def test_who_hands_over_and_who_takes_over_tell_of_all_and_of_none_twice() -> None:
    """Both have recorded the OOM at 20; the handing over was at 25."""
    old, new = recorded(10, 20), recorded(20, 30, going_on=True)
    forget(new, 25)
    assert chosen(news(old, HERE, 25)) + chosen(news(new, HERE)) == ["at10", "at20", "at30"]


def test_what_ends_after_the_handing_over_is_left_to_the_other() -> None:
    old, new = recorded(10, 30), recorded(30)
    forget(new, 25)
    assert chosen(news(old, HERE, 25)) == ["at10"]
    assert chosen(news(new, HERE)) == ["at30"]
    forget(new, 25)
    assert news(new, HERE) == ((), ())


def test_what_goes_on_is_told_whole_when_it_has_ended() -> None:
    held = recorded(10, going_on=True)
    assert chosen(news(held, HERE)) == ["at10"]
    assert held.control[ControlWord.READ_SEQ] == 3
