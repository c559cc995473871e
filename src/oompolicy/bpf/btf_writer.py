"""Writing small BTF of our own: what maps with typed keys and programs with several functions must bring along.

Belongs here: from types to the bytes that BPF_BTF_LOAD takes. Must not know: who needs them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from oompolicy.bpf.attributes import BtfLoad, filled
from oompolicy.bpf.btf_blob import HEADER, MAGIC
from oompolicy.bpf.btf_types import Enumerator, Kind, Member, Parameter
from oompolicy.bpf.descriptor import Descriptor
from oompolicy.bpf.syscall import bpf_fd
from oompolicy.bpf.uapi import Command

_KIND_FLAG = 1 << 31


class BtfWriter:
    """Collects types; each method returns the new type's id, counted from 1, or from first_id on a base.

    >>> writer = BtfWriter()
    >>> u64 = writer.integer("u64", 8)
    >>> writer.struct("value", 8, [Member("pages", u64, 0, None)])
    2
    """

    def __init__(self, first_id: int = 1, strings_start: int = 0) -> None:
        self._first_id = first_id
        self._strings_start = strings_start
        self._records: list[bytes] = []
        self._strings = b"" if strings_start else b"\0"
        self._offsets: dict[str, int] = {"": 0}

    def integer(self, name: str, size_bytes: int, signed: bool = False) -> int:
        """An integer."""
        return self._add(Kind.INT, name, size_bytes, tail=struct.pack("=I", int(signed) << 24 | 8 * size_bytes))

    def floating(self, name: str, size_bytes: int) -> int:
        """A floating point number."""
        return self._add(Kind.FLOAT, name, size_bytes)

    def pointer(self, type_id: int) -> int:
        """A pointer."""
        return self._add(Kind.PTR, "", type_id)

    def array(self, element_id: int, length: int, index_id: int) -> int:
        """An array, indexed by an integer type."""
        return self._add(Kind.ARRAY, "", 0, tail=struct.pack("=3I", element_id, index_id, length))

    def struct(self, name: str, size_bytes: int, members: Sequence[Member], kind: Kind = Kind.STRUCT) -> int:
        """A struct, or a union with kind=Kind.UNION."""
        flag = any(member.bit_size for member in members)
        rows = (
            struct.pack("=3I", self._string(name), type_id, (bit_size or 0) << 24 | bit_offset)
            for name, type_id, bit_offset, bit_size in members
        )
        return self._add(kind, name, size_bytes, len(members), flag, b"".join(rows))

    def enum(self, name: str, enumerators: Sequence[Enumerator], size_bytes: int = 4) -> int:
        """An enum; of size 8 it is an ENUM64, which kernels know since 6.0."""
        flag = any(value < 0 for _, value in enumerators)
        if size_bytes == 8:
            rows = [struct.pack("=IQ", self._string(name), value & (1 << 64) - 1) for name, value in enumerators]
            return self._add(Kind.ENUM64, name, size_bytes, len(rows), flag, b"".join(rows))
        rows = [struct.pack("=II", self._string(name), value & (1 << 32) - 1) for name, value in enumerators]
        return self._add(Kind.ENUM, name, size_bytes, len(rows), flag, b"".join(rows))

    def modifier(self, kind: Kind, type_id: int, name: str = "") -> int:
        """A typedef (with a name), const, volatile, restrict or type tag (with a name)."""
        return self._add(kind, name, type_id)

    def forward(self, name: str) -> int:
        """A struct that is only named."""
        return self._add(Kind.FWD, name, 0)

    def prototype(self, return_id: int, parameters: Sequence[Parameter]) -> int:
        """What a function takes and returns."""
        rows = (struct.pack("=II", self._string(name), type_id) for name, type_id in parameters)
        return self._add(Kind.FUNC_PROTO, "", return_id, len(parameters), tail=b"".join(rows))

    def function(self, name: str, prototype_id: int) -> int:
        """A function; static, as far as the verifier is concerned, so that it is checked where it is called."""
        return self._add(Kind.FUNC, name, prototype_id)

    def variable(self, name: str, type_id: int) -> int:
        """A static variable."""
        return self._add(Kind.VAR, name, type_id, tail=struct.pack("=I", 0))

    def section(self, name: str, variables: Sequence[tuple[int, int, int]]) -> int:
        """A data section: (variable id, offset, size) each, in bytes."""
        rows = b"".join(struct.pack("=3I", *row) for row in variables)
        size_bytes = max((offset + size for _, offset, size in variables), default=0)
        return self._add(Kind.DATASEC, name, size_bytes, len(variables), tail=rows)

    def to_bytes(self) -> bytes:
        """All of it: header, types, strings."""
        types = b"".join(self._records)
        header = HEADER.pack(MAGIC, 1, 0, HEADER.size, 0, len(types), len(types), len(self._strings))
        return header + types + self._strings

    def load(self, what: str = "BTF") -> Descriptor:
        """The descriptor of this BTF in the kernel. Raises BpfError."""
        data = self.to_bytes()
        return Descriptor(bpf_fd(Command.BTF_LOAD, BtfLoad(btf=filled(data), btf_size=len(data)), what))

    def _add(
        self, kind: Kind, name: str, size_or_type: int, count: int = 0, flag: bool = False, tail: bytes = b""
    ) -> int:
        info = count | kind << 24 | (_KIND_FLAG if flag else 0)
        self._records.append(struct.pack("=3I", self._string(name), info, size_or_type) + tail)
        return self._first_id + len(self._records) - 1

    def _string(self, text: str) -> int:
        if text not in self._offsets:
            self._offsets[text] = self._strings_start + len(self._strings)
            self._strings += text.encode() + b"\0"
        return self._offsets[text]
