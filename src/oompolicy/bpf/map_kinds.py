"""Maps that are not just keys and values: one value a CPU, maps of maps, arrays in memory, arrays of programs.

Belongs here: what sets these kinds apart. Must not know: what is kept in them.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from oompolicy.bpf.errors import BpfError
from oompolicy.bpf.maps import Map, u32
from oompolicy.bpf.programs import Program
from oompolicy.bpf.uapi import MapFlags

POSSIBLE_CPUS: Final = Path("/sys/devices/system/cpu/possible")
_ID: Final = struct.Struct("=I")


class PerCpuMap(Map):
    """PERCPU_HASH or PERCPU_ARRAY: a value for each possible CPU. lookup() and update() have all of them at once,
    one after the other, each padded to 8 bytes.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._each = -(-self.value_bytes // 8) * 8
        self.cpus = possible_cpus()
        self._value_room = self._each * self.cpus

    def lookup_each(self, key: bytes) -> tuple[bytes, ...] | None:
        """The value of each CPU, from CPU 0 on; None where the key is not there."""
        values = self.lookup(key)
        if values is None:
            return None
        starts = range(0, len(values), self._each)
        return tuple(values[start : start + self.value_bytes] for start in starts)

    def update_each(self, key: bytes, values: Sequence[bytes]) -> None:
        """Set the value of each CPU."""
        if len(values) != self.cpus or any(len(value) != self.value_bytes for value in values):
            raise ValueError(f"map {self.name}: wants {self.cpus} values of {self.value_bytes} bytes")
        self.update(key, b"".join(value.ljust(self._each, b"\0") for value in values))


class MapOfMaps(Map):
    """ARRAY_OF_MAPS or HASH_OF_MAPS: what a program looks up is a map, exchanged for another in one step."""

    def put(self, key: bytes, inner: Map) -> None:
        """Put a map in place of what was there; programs that hold the old one finish with it. Raises BpfError."""
        self.update(key, _ID.pack(inner.fileno()))

    def inner_id(self, key: bytes) -> int | None:
        """The id of the map of a key (object_ids.open_map() opens it), None where there is none."""
        value = self.lookup(key)
        return None if value is None else _ID.unpack(value)[0]


class ProgramArray(Map):
    """PROG_ARRAY: what bpf_tail_call() goes on to, exchanged for another in one step.

    It forgets its programs when nothing holds it any more but themselves: keep it open, or pinned.
    """

    def put(self, index: int, program: Program) -> None:
        """Put a program in place of what was there. Raises BpfError where it is not of the kind of the others."""
        self.update(u32(index), _ID.pack(program.fileno()))

    def clear(self, index: int) -> None:
        """Take it out: a tail call to it then falls through."""
        self.delete(u32(index))

    def program_id(self, index: int) -> int | None:
        """The id of the program at an index, None where there is none."""
        value = self.lookup(u32(index))
        return None if value is None else _ID.unpack(value)[0]


class MappedArray(Map):
    """An ARRAY made with MapFlags.MMAPABLE: its values are memory of this process too, no call to read or write."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        if not self.flags & MapFlags.MMAPABLE:
            self.close()
            raise BpfError(f"map {self.name}", "was not made to be mapped")
        self.stride_bytes = -(-self.value_bytes // 8) * 8  # from one value to the next

    def mapping(self, writable: bool = True) -> mmap.mmap:
        """The whole array; the caller closes it. It stays valid when this object is closed."""
        pages = -(-self.stride_bytes * self.max_entries // mmap.PAGESIZE)
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        try:
            return mmap.mmap(self.fileno(), pages * mmap.PAGESIZE, mmap.MAP_SHARED, access)
        except OSError as error:
            raise BpfError(f"map {self.name}", f"cannot be mapped: {error.strerror}", errno=error.errno) from None


def possible_cpus(path: Path = POSSIBLE_CPUS) -> int:
    """How many values a per-CPU map has: num_possible_cpus(), from the kernel's list ("0-3" or "0,2-3")."""
    count = 0
    for part in path.read_text().strip().split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count
