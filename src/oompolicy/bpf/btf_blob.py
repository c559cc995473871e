"""Reading BTF as the kernel exports it: a header, records one after the other, strings.

Belongs here: the format of include/uapi/linux/btf.h, and finding a record without decoding the rest. Must not know:
what a caller makes of a type. The bytes may be damaged in any way: what follows from that is BtfError, and soon.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NoReturn, Protocol

from oompolicy.bpf.btf_records import HEAD_WORDS, WORDS_EACH, WordsOf, decode, kind_of
from oompolicy.bpf.btf_types import BtfType, Kind, Void
from oompolicy.bpf.errors import BtfError

MAGIC: Final = 0xEB9F
HEADER: Final = struct.Struct("=HBBIIIII")  # magic, version, flags, hdr_len, type_off, type_len, str_off, str_len


class TypeSource(Protocol):
    """Records and how to find them: from the kernel's bytes, or from what was remembered of them."""

    @property
    def type_count(self) -> int:
        """One more than the highest id: where the ids of a module's types begin."""

    @property
    def strings_bytes(self) -> int:
        """The length of all strings: where the offsets of a module's strings begin."""

    def type(self, type_id: int) -> BtfType:
        """The record of an id. Raises BtfError."""

    def ids(self, name: str, kind: Kind) -> tuple[int, ...]:
        """The ids of the types of a name and a kind, ascending; () where there is none."""

    def enums_with(self, enumerator: str) -> tuple[int, ...]:
        """The ids of the enums that have this enumerator."""

    def string(self, offset: int) -> str:
        """The string that begins at an offset. Raises BtfError."""

    def string_offset(self, text: str) -> int | None:
        """Where a string begins, None where there is no such string."""


class BtfBlob:
    """A TypeSource over the bytes of one BTF, and those of its base where it is a module's (split BTF).

    `name` stands in errors. Raises BtfError where the bytes cannot be walked to their end.
    """

    def __init__(self, data: bytes, name: str, base: TypeSource | None = None) -> None:
        self._name = name
        self._base = base
        self._first_id = base.type_count if base else 1
        self._strings_start = base.strings_bytes if base else 0
        self._types, self._strings = self._sections(data)
        self._words = array("I", self._types)
        self._starts = self._index()
        self._names: bytes | None = None  # the name's offset of each record; made for the first search by name

    @property
    def type_count(self) -> int:
        """As TypeSource."""
        return self._first_id + len(self._starts)

    @property
    def strings_bytes(self) -> int:
        """As TypeSource."""
        return self._strings_start + len(self._strings)

    def type(self, type_id: int) -> BtfType:
        """As TypeSource."""
        if type_id < self._first_id:
            return self._base.type(type_id) if self._base else Void()
        if type_id >= self.type_count:
            self._damaged(f"no type {type_id}")
        return decode(self._words, self._starts[type_id - self._first_id], self.string)

    def ids(self, name: str, kind: Kind) -> tuple[int, ...]:
        """As TypeSource; those of the base come first."""
        found = list(self._base.ids(name, kind)) if self._base else []
        if self._names is None:
            self._names = array("I", [self._words[start] for start in self._starts]).tobytes()
        for index in self._mentions(name, self._names):
            if kind_of(self._words[self._starts[index] + 1]) == kind:
                found.append(self._first_id + index)
        return tuple(found)

    def enums_with(self, enumerator: str) -> tuple[int, ...]:
        """As TypeSource; those of the base come first."""
        found = list(self._base.enums_with(enumerator)) if self._base else []
        for word in self._mentions(enumerator, self._types):
            index = bisect_right(self._starts, word) - 1
            if index < 0:
                continue
            kind = kind_of(self._words[self._starts[index] + 1])
            past_head = word - self._starts[index] - HEAD_WORDS
            if kind in (Kind.ENUM, Kind.ENUM64) and past_head >= 0 and past_head % WORDS_EACH[kind] == 0:
                found.append(self._first_id + index)
        return tuple(found)

    def string(self, offset: int) -> str:
        """As TypeSource."""
        if offset < self._strings_start and self._base:
            return self._base.string(offset)
        start = offset - self._strings_start
        end = self._strings.find(b"\0", start) if 0 <= start < len(self._strings) else -1
        if end < 0:
            self._damaged(f"no string at {offset}")
        return self._strings[start:end].decode(errors="replace")

    def string_offset(self, text: str) -> int | None:
        """As TypeSource; the module's own strings where both have it."""
        try:
            searched = text.encode()
        except UnicodeEncodeError:
            return None
        at = self._strings.find(b"\0" + searched + b"\0")
        if at >= 0:
            return self._strings_start + at + 1
        if self._strings.startswith(searched + b"\0"):
            return self._strings_start
        return self._base.string_offset(text) if self._base else None

    def _sections(self, data: bytes) -> tuple[bytes, bytes]:
        if len(data) < HEADER.size:
            self._damaged("too short for a header")
        magic, version, _, header_bytes, type_off, type_len, str_off, str_len = HEADER.unpack_from(data)
        if magic != MAGIC:
            self._damaged(f"magic {magic:#06x} is not that of BTF on this machine")
        if version != 1 or header_bytes < HEADER.size:
            raise BtfError(self._name, f"BTF of version {version}, of which only 1 is known here")
        types_end, strings_end = header_bytes + type_off + type_len, header_bytes + str_off + str_len
        if max(types_end, strings_end) > len(data) or type_len % 4:
            self._damaged("a section ends behind the end")
        return data[header_bytes + type_off : types_end], data[header_bytes + str_off : strings_end]

    def _index(self) -> array[int]:
        """The word at which each record starts: one tight loop over the hundred thousand records of a vmlinux."""
        words, words_of = self._words, WordsOf()
        starts: list[int] = []
        append = starts.append
        word, end = 0, len(words)
        try:
            while word < end:
                append(word)
                word += words_of[words[word + 1]]
        except IndexError:
            unknown = word + 1 < end
            self._damaged("a kind of type that is not known here" if unknown else "the last type is cut off")
        if word != end:
            self._damaged("the last type is cut off")
        return array("I", starts)

    def _mentions(self, name: str, words: bytes) -> Iterator[int]:
        """Which of the words equal the name's offset: where it names something, or a number happens to be the same."""
        offset = self.string_offset(name) if name else None
        offsets = [] if offset is None else [offset]
        if self._base and offset is not None and offset >= self._strings_start:
            in_base = self._base.string_offset(name)
            offsets += [] if in_base is None else [in_base]
        for each in sorted(offsets):
            pattern = struct.pack("=I", each)
            at = words.find(pattern)
            while at >= 0:
                if at % 4 == 0:
                    yield at // 4
                at = words.find(pattern, at + 1)

    def _damaged(self, why: str) -> NoReturn:
        raise BtfError(self._name, f"damaged BTF: {why}")
