"""What is made of a trial: who was killed by whom, what a heartbeat noted, when all was right.

Belongs here: the forms that cross from the guest, as literals. Must not know: guests.
"""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path

from lab.early.contenders import CONTENDERS, OURS
from lab.early.loads import LOADS
from lab.early.seen import NOTES_BYTES, Sample, Seen, felt, in_a_row, seen
from lab.early.trace import victims

EARLY = Path(__file__).parents[2] / "lab" / "early"
GONE = Seen(
    OURS,
    "leak",
    killed=(("leak", 1, OURS),),
    lives={"database": True, "shell": True},
    gone_s=9.5,
    course=(Sample(1.0, 300.5, 256.0, 0.0, 0.0, 0.0, 0, 1),),
)
TRACED = """
# tracer: nop
        earlyoom-186     [000] d..2.    44.101: signal_generate: sig=15 errno=0 code=0 comm=a leak pid=189 grp=1 res=0
        earlyoom-186     [000] d..2.    44.201: signal_generate: sig=9 errno=0 code=0 comm=a leak pid=189 grp=1 res=0
 kworker/u:1 x-77      [001] d..2.    45.300: signal_generate: sig=9 errno=0 code=128 comm=database pid=181 grp=1 res=0
 kworker/u:1 x-77      [001] d..2.    45.301: mark_victim: pid=181 comm=database total-vm:62000kB uid=0 oom_score_adj=0
"""


def test_a_victim_counts_once_and_the_kernels_own_are_told_apart() -> None:
    """The kernel kills in the name of whoever needs memory, and says afterwards that it was a victim."""
    assert victims(TRACED) == (("a leak", "earlyoom"), ("database", "kernel"))


def test_those_alike_are_counted_in_a_row() -> None:
    found = [("bomb", "us"), ("bomb", "us"), ("browser", "us"), ("bomb", "us")]
    assert in_a_row(found) == (("bomb", 2, "us"), ("browser", 1, "us"), ("bomb", 1, "us"))


def test_what_is_sent_is_what_was_seen() -> None:
    assert seen(GONE.line()) == GONE


def test_it_is_right_when_the_load_has_gone_and_nobody_else() -> None:
    assert GONE.is_right
    assert not replace(GONE, gone_s=None).is_right
    assert not replace(GONE, killed=(*GONE.killed, ("browser", 1, OURS))).is_right
    assert not replace(GONE, lives={"database": False, "shell": True}).is_right
    assert not replace(GONE, problem="the machine died").is_right


def test_notes_are_read_as_they_are_written() -> None:
    """Of struct notes in pulse.c."""
    notes = struct.pack("=QQQQIIII", 500, 1200, 2, 2, 10_000, 150, 20_000, 1200).ljust(NOTES_BYTES, b"\0")
    found = felt(notes)
    assert (found.beats, found.longest_ms, found.failed_forks) == (500, 1200, 2)
    assert found.late == ((10_000, 150), (20_000, 1200))
    assert found.stalls == 1


def test_each_load_is_one_that_the_program_has() -> None:
    known = set(re.findall(r'strcmp\(what, "(\w+)"\)', (EARLY / "load.c").read_text()))
    assert {load.arguments[0] for load in LOADS.values()} <= known


def test_whoever_watches_is_told_who_must_live() -> None:
    """Nobody may lose for want of having been told: by name, by attribute, or in the files of peers.py."""
    told = {"earlyoom": CONTENDERS["earlyoom"].command[-1], "nohang": (EARLY / "peers.py").read_text()}
    assert all(re.search(r"\^\(database\|shell\)\$", text) for text in told.values())
    assert len(CONTENDERS["oomd"].avoid) == 2
