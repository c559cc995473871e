"""The ring of records: what the programs have written since a daemon last told of it.

Belongs here: reading without stopping the writer, and counting what was overwritten. Must not know: what it means.
"""

from __future__ import annotations

import mmap
from typing import Final, NamedTuple

from oompolicy.backends.hook.abi import RECORD, RECORDS, ControlWord, Record
from oompolicy.backends.hook.control import Control


class Unread(NamedTuple):
    """Records in order, and how many before them were overwritten by newer ones before anybody read them."""

    records: tuple[Record, ...]
    dropped: int


_STRIDE: Final = -(-RECORD.size // 8) * 8


def unread(control: Control, ring: mmap.mmap) -> Unread:
    """What was written since READ_SEQ, which stays as it is: see events.py for how far has been told."""
    return since(control[ControlWord.READ_SEQ], control, ring)


def since(first: int, control: Control, ring: mmap.mmap) -> Unread:
    """What was written from a number on, as far as the ring still has it.

    The writer goes on meanwhile: what it may have begun to overwrite after the copy counts as dropped.
    """
    end = control[ControlWord.NEXT_SEQ]
    copies = []
    for seq in range(max(first, end - RECORDS + 1, 0), end):
        at = seq % RECORDS * _STRIDE
        copies.append(Record(*RECORD.unpack(ring[at : at + RECORD.size])))
    oldest_whole = control[ControlWord.NEXT_SEQ] - RECORDS + 1
    records = tuple(record for record in copies if record.seq >= max(oldest_whole, first))
    return Unread(records, end - first - len(records))
