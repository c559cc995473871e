"""Questions to a kernel's types: where a field is, how large a thing is, what a function takes.

Belongs here: answers by name, through typedefs and anonymous members. Must not know: where the records come from,
who asks. Kernels differ: has_field() and has_function() are the way to find out how, never a version number.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from oompolicy.bpf.btf_blob import TypeSource
from oompolicy.bpf.btf_types import (
    Array,
    BtfType,
    Enum,
    Float,
    Forward,
    Function,
    Int,
    Kind,
    Modifier,
    Other,
    Parameter,
    Pointer,
    Prototype,
    Struct,
    Variable,
    Void,
)
from oompolicy.bpf.errors import BtfError

POINTER_BYTES: Final = 8
_LOADS: Final = (1, 2, 4, 8)
_DEPTH: Final = 32  # of names for one type, as the kernel's MAX_RESOLVE_DEPTH; damaged BTF can go in circles
_STEP: Final = re.compile(r"(\w+)((?:\[\d+\])*)")


class Window(NamedTuple):
    """How to load a bitfield into 64 bits: so many bytes at an offset, then shift left, then right."""

    offset_bytes: int
    size_bytes: int
    shift_left: int
    shift_right: int


class Field(NamedTuple):
    """A field of a struct: `bit_offset` from the struct's start, `bit_size` None but for a bitfield.

    type_id is the declared type, `type` what it is behind typedefs and qualifiers, size_bytes the size of that.
    """

    path: str
    bit_offset: int
    bit_size: int | None
    type_id: int
    type: BtfType
    size_bytes: int

    @property
    def offset_bytes(self) -> int:
        """The byte that the field begins in."""
        return self.bit_offset // 8

    @property
    def signed(self) -> bool:
        """Is its value a signed number?"""
        if isinstance(self.type, Enum):
            return any(enumerator.value < 0 for enumerator in self.type.enumerators)
        return isinstance(self.type, Int) and self.type.signed

    @property
    def window(self) -> Window:
        """How to load it, a bitfield as libbpf does (bpf_core_calc_field_relo(), little endian).

        Raises BtfError for what no load of at most 8 bytes covers.
        """
        if self.size_bytes not in _LOADS:
            raise BtfError(self.path, f"{self.size_bytes} bytes are not a register's")
        if self.bit_size is None:
            unused = 64 - 8 * self.size_bytes
            return Window(self.offset_bytes, self.size_bytes, unused, unused)
        for size_bytes in (size for size in _LOADS if size >= self.size_bytes):
            offset_bytes = self.bit_offset // 8 // size_bytes * size_bytes
            end = self.bit_offset + self.bit_size - 8 * offset_bytes
            if end <= 8 * size_bytes:
                return Window(offset_bytes, size_bytes, 64 - end, 64 - self.bit_size)
        raise BtfError(self.path, "a bitfield across 8 bytes")


class Signature(NamedTuple):
    """A function: the id to attach to, what it takes, what it returns."""

    type_id: int
    name: str
    parameters: tuple[Parameter, ...]
    return_id: int


class Btf:
    """The types of a kernel, or of a kernel and one module of it. `name` stands in errors."""

    def __init__(self, source: TypeSource, name: str) -> None:
        self._source = source
        self.name = name

    @property
    def source(self) -> TypeSource:
        """The records, for the BTF of a module to stand on."""
        return self._source

    def find(self, name: str, kind: Kind) -> int:
        """The id of the first type of a name and a kind, as libbpf has it. Raises BtfError where there is none."""
        if ids := self._source.ids(name, kind):
            return ids[0]
        raise BtfError(self.name, f"no {kind.name.lower()} {name}", "another kernel, or another configuration of it")

    def type(self, type_id: int) -> BtfType:
        """The record of an id."""
        return self._source.type(type_id)

    def resolve(self, type_id: int) -> tuple[int, BtfType]:
        """(id, type) behind typedefs, qualifiers and tags."""
        for _ in range(_DEPTH):
            found = self.type(type_id)
            if not isinstance(found, Modifier):
                return type_id, found
            type_id = found.type_id
        raise self._damaged(f"type {type_id} is a name for a name for a name")

    def size_bytes(self, type_id: int) -> int:
        """sizeof a type; 0 for void, functions and what is only named. Raises BtfError for a size in circles."""
        count = 1
        for _ in range(_DEPTH):
            type_id, found = self.resolve(type_id)
            if not isinstance(found, Array):
                return count * _own_size(found)
            type_id, count = found.element_id, count * found.length
        raise self._damaged(f"type {type_id} is an array of arrays of arrays")

    def field(self, struct: str | int, path: str) -> Field:
        """A field of a struct or union, by name or id: "mm", "memory.usage", "rss_stat[1].count".

        Anonymous structs and unions on the way are passed through; a pointer is not. Raises BtfError.
        """
        type_id = self._struct(struct) if isinstance(struct, str) else struct
        bit_offset, bit_size = 0, None
        for step in path.split("."):
            parts = _STEP.fullmatch(step)
            if parts is None:
                raise BtfError(self.name, f"{path}: not the path of a field")
            if bit_size is not None:
                raise BtfError(self.name, f"{struct}: {path}: goes into a bitfield")
            member = self._member(type_id, parts[1])
            if member is None:
                raise BtfError(self.name, f"{self.describe(type_id)} has no field {step} (of {path})")
            bit_offset, bit_size, type_id = bit_offset + member[0], member[1], member[2]
            for index in re.findall(r"\d+", parts[2]):
                type_id = self._element(type_id, path)
                bit_offset += 8 * int(index) * self.size_bytes(type_id)
        return Field(path, bit_offset, bit_size, type_id, self.resolve(type_id)[1], self.size_bytes(type_id))

    def has_field(self, struct: str, path: str) -> bool:
        """Does this kernel have the field?"""
        try:
            self.field(struct, path)
        except BtfError:
            return False
        return True

    def pointee(self, type_id: int) -> int:
        """The id of what a pointer points to, behind names. Raises BtfError for what is no pointer."""
        _, found = self.resolve(type_id)
        if not isinstance(found, Pointer):
            raise BtfError(self.name, f"{self.describe(type_id)} is not a pointer")
        return self.resolve(found.type_id)[0]

    def enumerator(self, name: str, enum: str | None = None) -> int:
        """The value of an enumerator, of a named enum or of the first that has it. Raises BtfError."""
        if enum is None:
            ids = self._source.enums_with(name)
        else:
            ids = self._source.ids(enum, Kind.ENUM) + self._source.ids(enum, Kind.ENUM64)
        for type_id in ids:
            found = self.type(type_id)
            for enumerator in found.enumerators if isinstance(found, Enum) else ():
                if enumerator.name == name:
                    return enumerator.value
        raise BtfError(self.name, f"no enumerator {name}" + (f" in enum {enum}" if enum else ""))

    def function(self, name: str) -> Signature:
        """A function of the kernel. Raises BtfError."""
        type_id = self.find(name, Kind.FUNC)
        function = self.type(type_id)
        prototype = self.type(function.prototype_id) if isinstance(function, Function) else None
        if not isinstance(prototype, Prototype):
            raise self._damaged(f"function {name} has no prototype")
        return Signature(type_id, name, prototype.parameters, prototype.return_id)

    def has_function(self, name: str) -> bool:
        """Does this kernel have the function, in its BTF at least?"""
        return bool(self._source.ids(name, Kind.FUNC))

    def describe(self, type_id: int) -> str:
        """A type about as C spells it, without const and the like: "struct task_struct *"."""
        after = ""
        for _ in range(_DEPTH):
            match self.type(type_id):
                case Pointer(pointee):
                    type_id, after = pointee, " *" + after.removeprefix(" ")
                case Array(element_id, length):
                    type_id, after = element_id, f"{after}[{length}]"
                case Modifier(kind, _, modified) if kind != Kind.TYPEDEF:
                    type_id = modified
                case found:
                    return _named(found) + after
        return f"type {type_id}"

    def _struct(self, name: str) -> int:
        ids = self._source.ids(name, Kind.STRUCT) or self._source.ids(name, Kind.UNION)
        return ids[0] if ids else self.resolve(self.find(name, Kind.TYPEDEF))[0]

    def _member(self, type_id: int, name: str) -> tuple[int, int | None, int] | None:
        """(bit offset, bit size, type id) of a member, anonymous ones searched in order; None where there is none."""
        seen: set[int] = set()
        waiting = [(type_id, 0)]
        while waiting:
            resolved, base = waiting.pop()
            resolved, found = self.resolve(resolved)
            if resolved in seen or not isinstance(found, Struct):
                continue
            seen.add(resolved)
            for member in found.members:
                if member.name == name:
                    return base + member.bit_offset, member.bit_size, member.type_id
            anonymous = [(member.type_id, base + member.bit_offset) for member in found.members if not member.name]
            waiting += reversed(anonymous)
        return None

    def _element(self, type_id: int, path: str) -> int:
        _, found = self.resolve(type_id)
        if not isinstance(found, Array):
            raise BtfError(self.name, f"{path}: {self.describe(type_id)} is not an array")
        return found.element_id

    def _damaged(self, why: str) -> BtfError:
        return BtfError(self.name, f"damaged BTF: {why}")


def _own_size(found: BtfType) -> int:
    match found:
        case Int() | Float() | Struct() | Enum():
            return found.size_bytes
        case Pointer():
            return POINTER_BYTES
        case _:
            return 0


def _named(found: BtfType) -> str:
    match found:
        case Struct():
            return f"{'union' if found.is_union else 'struct'} {found.name or '(anonymous)'}"
        case Enum():
            return f"enum {found.name or '(anonymous)'}"
        case Forward():
            return f"struct {found.name}"
        case Int() | Float() | Modifier() | Function() | Variable() | Other():
            return found.name
        case Prototype():
            return "a function"
        case Void() | _:
            return "void"
