"""The records of BTF: one small tuple for each kind of type the kernel describes.

Belongs here: the kinds of include/uapi/linux/btf.h and what a record of each holds. Must not know: where records
are stored, how they are found. A type is known by its id; 0 is void.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """BTF_KIND_*: five bits of a record's info."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


class Void(NamedTuple):
    """Nothing, or of unknown type."""


class Int(NamedTuple):
    """An integer, `char` and `bool` among them. bits is less than 8 * size_bytes only in old BTF's bitfields."""

    name: str
    size_bytes: int
    signed: bool
    bits: int


class Float(NamedTuple):
    """`float`, `double`."""

    name: str
    size_bytes: int


class Pointer(NamedTuple):
    """A pointer to type_id."""

    type_id: int


class Array(NamedTuple):
    """length elements of element_id; length 0 is a flexible array."""

    element_id: int
    length: int


class Member(NamedTuple):
    """A member of a struct; bit_size is None but for a bitfield. An anonymous one has the name ""."""

    name: str
    type_id: int
    bit_offset: int
    bit_size: int | None


class Struct(NamedTuple):
    """A struct or a union."""

    name: str
    size_bytes: int
    is_union: bool
    members: tuple[Member, ...]


class Enumerator(NamedTuple):
    """A name and its value."""

    name: str
    value: int


class Enum(NamedTuple):
    """An enum, of 32 or of 64 bit values; most have no name."""

    name: str
    size_bytes: int
    enumerators: tuple[Enumerator, ...]


class Forward(NamedTuple):
    """A struct or union that is named and never described."""

    name: str


class Modifier(NamedTuple):
    """A typedef, or const, volatile, restrict or a type tag: another name for type_id; kind says which."""

    kind: int
    name: str
    type_id: int


class Function(NamedTuple):
    """A function; prototype_id is its Prototype."""

    name: str
    prototype_id: int


class Parameter(NamedTuple):
    """A parameter of a function; the last one of a variadic function has no name and type 0."""

    name: str
    type_id: int


class Prototype(NamedTuple):
    """What a function takes and returns."""

    return_id: int
    parameters: tuple[Parameter, ...]


class Variable(NamedTuple):
    """A variable of the kernel; vmlinux has the per-CPU ones."""

    name: str
    type_id: int


class Other(NamedTuple):
    """A record that no lookup needs: a section, a tag of a declaration."""

    kind: int
    name: str


BtfType = (
    Void | Int | Float | Pointer | Array | Struct | Enum | Forward | Modifier | Function | Prototype | Variable | Other
)
