"""The control map as words in this process's memory: heartbeat, time to live, counters.

Belongs here: reading and writing one word as one step. Must not know: what a word is for (`abi.py`).
"""

from __future__ import annotations

from oompolicy.backends.hook.abi import CONTROL_BYTES, ControlWord
from oompolicy.bpf.map_kinds import MappedArray
from oompolicy.bpf.maps import MapSpec
from oompolicy.bpf.uapi import MapFlags, MapType

SPEC = MapSpec(MapType.ARRAY, "oom_control", 4, CONTROL_BYTES, 1, MapFlags.MMAPABLE)


class Control:
    """The words; a native 64-bit store is one step on every machine this runs on, struct.pack() would not be."""

    def __init__(self, mapped: MappedArray) -> None:
        self._mapping = mapped.mapping()
        self._bytes = memoryview(self._mapping)
        self._words = self._bytes[:CONTROL_BYTES].cast("Q")

    def __getitem__(self, word: ControlWord) -> int:
        return self._words[word]

    def __setitem__(self, word: ControlWord, value: int) -> None:
        self._words[word] = value

    def of_slot(self, first: ControlWord, slot: int) -> int:
        """The word of a slot, where each has one."""
        return self._words[first + slot]

    def set_of_slot(self, first: ControlWord, slot: int, value: int) -> None:
        """Set the word of a slot, where each has one."""
        self._words[first + slot] = value

    def close(self) -> None:
        """Unmap it; a second time does nothing."""
        self._words.release()
        self._bytes.release()
        self._mapping.close()
