"""The two sides of the ABI agree: the header's bands, the entries' bytes, the words of the maps."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from oompolicy.backends.hook.abi import (
    BAND_BITS,
    BAND_NUMBERS,
    CONTROL_BYTES,
    KEY,
    MEMO_BYTES,
    MEMO_WORD,
    RECORD,
    RECORDS,
    SLOTS,
    VALUE,
    ControlWord,
    Entry,
    EntryFlag,
    Record,
    answer_of,
    memcg_key,
    points_of_answer,
    task_key,
)
from oompolicy.backends.hook.target import MODULE_ABI
from oompolicy.policy.verdict import CLAMP, Band, clamp, points_of

HEADER = (Path(__file__).parents[3] / "kernel/oom_policy.h").read_text()


def test_bands_and_version_are_the_headers() -> None:
    found = {name: int(number) for name, number in re.findall(r"OOM_POLICY_([A-Z]+) = (\d+)", HEADER)}
    assert found == {band.name: number for band, number in BAND_NUMBERS.items()}
    assert f"#define OOM_POLICY_BAND_BITS\t{BAND_BITS}\n" in HEADER
    assert re.search(rf"#define OOM_POLICY_ABI\s+{MODULE_ABI}\b", HEADER)


@given(score=st.integers(-(1 << 63), (1 << 63) - 1), badness=st.integers(-(1 << 50), 1 << 50), adds=st.booleans())
def test_points_survive_the_trip(score: int, badness: int, adds: bool) -> None:
    """Through the map's 64 bits and the answer's 61: what comes out is what the policy meant."""
    entry = Entry(Band.SCORE, score, EntryFlag.ADDS_BADNESS if adds else EntryFlag.NONE)
    packed, band, flags = VALUE.unpack(entry.pack())
    in_map = Entry(Band.SCORE, packed, EntryFlag(flags))
    answer = answer_of(in_map, badness)
    assert band == BAND_NUMBERS[Band.SCORE]
    assert answer != 0
    assert -(1 << 63) <= answer < 1 << 63
    meant = score + badness if adds else score
    assert points_of_answer(answer, badness) == clamp(meant)
    assert points_of_answer(answer, badness) == points_of(clamp(meant), badness)


def test_keys_of_tasks_and_memcgs_never_meet() -> None:
    assert task_key(7, 1) != memcg_key(1)
    assert KEY.size == 24
    assert len({task_key(1, 5), memcg_key(5), memcg_key(5, 1)}) == 3


def test_the_ring_and_the_control_words_are_laid_out_for_the_programs() -> None:
    assert RECORDS & (RECORDS - 1) == 0
    assert RECORD.size == 88
    assert len(Record._fields) == len(RECORD.unpack(bytes(RECORD.size)))
    assert max(ControlWord) + SLOTS <= MEMO_WORD
    assert 8 * MEMO_WORD + MEMO_BYTES <= CONTROL_BYTES
    assert CLAMP << BAND_BITS < 1 << 63
