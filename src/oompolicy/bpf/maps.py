"""Maps: memory that programs in the kernel and processes share, keys and values as bytes.

Belongs here: what all kinds of maps do alike. Must not know: what the bytes mean; see `map_kinds.py` for those
with ways of their own.
"""

from __future__ import annotations

import errno
import itertools
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from oompolicy.bpf.attributes import Buffer, MapBatch, MapCreate, MapElement, MapInfo, filled, room
from oompolicy.bpf.descriptor import Descriptor
from oompolicy.bpf.errors import refusal
from oompolicy.bpf.object_info import MAP, check_kind, object_info, text
from oompolicy.bpf.syscall import ask, bpf, bpf_fd
from oompolicy.bpf.uapi import OBJ_NAME_BYTES, Command, MapFlags, MapType, UpdateFlag

_BATCH: Final = 4096  # entries a call; a bucket of a hash must fit into one


@dataclass(frozen=True, slots=True)
class MapSpec:
    """What a map is to be: sizes in bytes, max_entries in entries (RINGBUF: bytes, a power of two of pages).

    The kernel keeps what object_name() makes of the name. btf_fd, key_btf_id and value_btf_id tell the types of keys
    and values, which local storage needs.
    """

    type: MapType
    name: str
    key_bytes: int
    value_bytes: int
    max_entries: int
    flags: MapFlags = MapFlags.NONE
    btf_fd: int = 0
    key_btf_id: int = 0
    value_btf_id: int = 0


class Map(Descriptor):
    """A map; hash and array kinds are used as they are. Errors name it as "map NAME"."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        try:
            check_kind(fd, MAP, f"fd {fd}")
            info = object_info(fd, MapInfo, "map")
        except BaseException:
            self.close()
            raise
        self.type = info.type
        self.id = info.id
        self.name = text(info.name)
        self.key_bytes = info.key_size
        self.value_bytes = info.value_size
        self.max_entries = info.max_entries
        self.flags = info.map_flags
        self._value_room = self.value_bytes  # of one lookup; larger where every CPU has its own

    @classmethod
    def create(cls, spec: MapSpec, inner: Map | None = None) -> Self:
        """A new map; `inner` is an example of what a map of maps holds. Raises BpfError."""
        attribute = MapCreate(
            map_type=spec.type,
            key_size=spec.key_bytes,
            value_size=spec.value_bytes,
            max_entries=spec.max_entries,
            map_flags=spec.flags,
            inner_map_fd=inner.fileno() if inner else 0,
            map_name=object_name(spec.name),
            btf_fd=spec.btf_fd,
            btf_key_type_id=spec.key_btf_id,
            btf_value_type_id=spec.value_btf_id,
        )
        return cls(bpf_fd(Command.MAP_CREATE, attribute, f"map {spec.name}"))

    def lookup(self, key: bytes) -> bytes | None:
        """The value of a key, None where there is none. Raises BpfError."""
        value = room(self._value_room)
        attribute = MapElement(map_fd=self.fileno(), key=self._key(key), value=value)
        return value.raw[: self._value_room] if self._found(Command.MAP_LOOKUP_ELEM, attribute) else None

    def update(self, key: bytes, value: bytes, flag: UpdateFlag = UpdateFlag.ANY) -> None:
        """Set a value, as one step for whoever reads it by another lookup. Raises BpfError."""
        attribute = MapElement(map_fd=self.fileno(), key=self._key(key), value=self._value(value), flags=flag)
        bpf(Command.MAP_UPDATE_ELEM, attribute, self._what)

    def delete(self, key: bytes) -> bool:
        """Remove a key; False where there was none. Raises BpfError."""
        return self._found(Command.MAP_DELETE_ELEM, MapElement(map_fd=self.fileno(), key=self._key(key)))

    def update_many(self, entries: Mapping[bytes, bytes]) -> None:
        """Set many values by few calls; each entry is one step, all of them together are not. Raises BpfError."""
        pairs = list(entries.items())
        for start in range(0, len(pairs), _BATCH):
            chunk = pairs[start : start + _BATCH]
            keys = filled(b"".join(self._key(key).raw for key, _ in chunk))
            values = filled(b"".join(self._value(value).raw for _, value in chunk))
            batch = MapBatch(keys=keys, values=values, count=len(chunk), map_fd=self.fileno())
            bpf(Command.MAP_UPDATE_BATCH, batch, self._what)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of every entry, in no order; an entry changed meanwhile may be missing. Raises BpfError."""
        at_once = min(_BATCH, self.max_entries)
        cursor: Buffer | None = None
        more = True
        while more:
            keys, values = room(at_once * self.key_bytes), room(at_once * self._value_room)
            after = room(max(self.key_bytes, 8))
            batch = MapBatch(cursor, after, keys, values, count=at_once, map_fd=self.fileno())
            answer = ask(Command.MAP_LOOKUP_BATCH, batch)
            more = self._succeeded(Command.MAP_LOOKUP_BATCH, answer.returned)  # the last entries come with ENOENT
            rows = (_cut(keys, self.key_bytes), _cut(values, self._value_room))
            yield from itertools.islice(zip(*rows, strict=True), answer.attribute.count)
            cursor = after

    def keys(self) -> Iterator[bytes]:
        """Every key, in no order; at most max_entries of them, though the map change meanwhile. Raises BpfError."""
        key: Buffer | None = None
        for _ in range(self.max_entries):
            following = room(self.key_bytes)
            if not self._found(Command.MAP_GET_NEXT_KEY, MapElement(map_fd=self.fileno(), key=key, value=following)):
                return
            key = following
            yield following.raw[: self.key_bytes]

    def freeze(self) -> None:
        """No more writing from user space, for good. Raises BpfError."""
        bpf(Command.MAP_FREEZE, MapElement(map_fd=self.fileno()), self._what)

    def _found(self, command: Command, attribute: MapElement) -> bool:
        return self._succeeded(command, ask(command, attribute).returned)

    def _succeeded(self, command: Command, returned: int) -> bool:
        """False where the kernel says ENOENT. Raises BpfError for any other refusal."""
        if returned >= 0:
            return True
        if returned == -errno.ENOENT:
            return False
        raise refusal(command, -returned, self._what)

    def _key(self, key: bytes) -> Buffer:
        return self._exactly(key, self.key_bytes, "key")

    def _value(self, value: bytes) -> Buffer:
        return self._exactly(value, self._value_room, "value")

    def _exactly(self, data: bytes, size_bytes: int, noun: str) -> Buffer:
        if len(data) != size_bytes:
            raise ValueError(f"{self._what}: a {noun} has {size_bytes} bytes, not {len(data)}")
        return filled(data)

    @property
    def _what(self) -> str:
        return f"map {self.name}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({getattr(self, 'name', '')!r}, fd={self._fd})"


def _cut(memory: Buffer, size_bytes: int) -> Iterator[bytes]:
    data = memory.raw
    return (data[start : start + size_bytes] for start in range(0, len(data), size_bytes))


def object_name(name: str) -> bytes:
    """A name as the kernel takes it for maps and programs: 15 characters of A-Z a-z 0-9 _ and '.'.

    >>> object_name("spare-the-database")
    b'spare_the_datab'
    """
    return re.sub(rb"[^A-Za-z0-9_.]", b"_", name.encode())[: OBJ_NAME_BYTES - 1]


def u32(number: int) -> bytes:
    """A key of an array.

    >>> u32(1).hex()
    '01000000'
    """
    return struct.pack("=I", number)
