"""Decoding one record of BTF, kind by kind.

Belongs here: the words of a `struct btf_type` and of what follows it, include/uapi/linux/btf.h. Must not know:
where the record was found. All of its words are there: the index of `btf_blob.py` has walked over them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from oompolicy.bpf.btf_types import (
    Array,
    BtfType,
    Enum,
    Enumerator,
    Float,
    Forward,
    Function,
    Int,
    Kind,
    Member,
    Modifier,
    Other,
    Parameter,
    Pointer,
    Prototype,
    Struct,
    Variable,
)

# struct btf_type {name_off, info, size or type}, then by kind: so many words, and so many for each of vlen.
HEAD_WORDS: Final = 3
_AFTER: Final = {
    Kind.INT: (1, 0),
    Kind.ARRAY: (3, 0),
    Kind.STRUCT: (0, 3),
    Kind.UNION: (0, 3),
    Kind.ENUM: (0, 2),
    Kind.FUNC_PROTO: (0, 2),
    Kind.VAR: (1, 0),
    Kind.DATASEC: (0, 3),
    Kind.DECL_TAG: (1, 0),
    Kind.ENUM64: (0, 3),
}
WORDS_EACH: Final = [_AFTER.get(kind, (0, 0))[1] for kind in Kind]
_FIXED_WORDS: Final = [HEAD_WORDS + _AFTER.get(kind, (0, 0))[0] for kind in Kind]

_INT_SIGNED: Final = 1

StringAt = Callable[[int], str]
Words: TypeAlias = "array[int]"  # unsigned 32 bit


def kind_of(info: int) -> int:
    """The kind in a record's info: bits 24 to 28."""
    return (info >> 24) & 31


class WordsOf(dict[int, int]):
    """Info -> the words of its record, worked out once for each info. Raises IndexError for a kind unknown here."""

    def __missing__(self, info: int) -> int:
        kind = kind_of(info)
        self[info] = words = _FIXED_WORDS[kind] + WORDS_EACH[kind] * (info & 0xFFFF)
        return words


def decode(words: Words, start: int, string: StringAt) -> BtfType:
    """The record that starts at a word; `string` gives the string at an offset."""
    return _DECODE[kind_of(words[start + 1])](words, start, string)


def _rows(words: Words, start: int, columns: int) -> Iterator[tuple[int, ...]]:
    first, count = start + HEAD_WORDS, words[start + 1] & 0xFFFF
    flat = iter(words[first : first + columns * count])
    return zip(*[flat] * columns, strict=True)


def _int(words: Words, start: int, string: StringAt) -> Int:
    encoding = words[start + HEAD_WORDS]
    return Int(string(words[start]), words[start + 2], bool((encoding >> 24) & _INT_SIGNED), encoding & 0xFF)


def _float(words: Words, start: int, string: StringAt) -> Float:
    return Float(string(words[start]), words[start + 2])


def _pointer(words: Words, start: int, string: StringAt) -> Pointer:
    return Pointer(words[start + 2])


def _array(words: Words, start: int, string: StringAt) -> Array:
    return Array(words[start + HEAD_WORDS], words[start + HEAD_WORDS + 2])


def _struct(words: Words, start: int, string: StringAt) -> Struct:
    info = words[start + 1]
    members = []
    for name_off, type_id, offset in _rows(words, start, 3):
        # kind_flag: the offset's upper byte is the size of a bitfield, 0 for an ordinary member.
        bit_size = offset >> 24 if info >> 31 else 0
        bit_offset = offset & 0xFFFFFF if info >> 31 else offset
        members.append(Member(string(name_off), type_id, bit_offset, bit_size or None))
    return Struct(string(words[start]), words[start + 2], kind_of(info) == Kind.UNION, tuple(members))


def _enum(words: Words, start: int, string: StringAt) -> Enum:
    negative = 1 << 32 if words[start + 1] >> 31 else 0  # kind_flag: the values are signed
    values = [
        Enumerator(string(name_off), value - (negative if value >> 31 else 0))
        for name_off, value in _rows(words, start, 2)
    ]
    return Enum(string(words[start]), words[start + 2], tuple(values))


def _enum64(words: Words, start: int, string: StringAt) -> Enum:
    negative = 1 << 64 if words[start + 1] >> 31 else 0
    values = [
        Enumerator(string(name_off), (high << 32 | low) - (negative if high >> 31 else 0))
        for name_off, low, high in _rows(words, start, 3)
    ]
    return Enum(string(words[start]), words[start + 2], tuple(values))


def _forward(words: Words, start: int, string: StringAt) -> Forward:
    return Forward(string(words[start]))


def _modifier(words: Words, start: int, string: StringAt) -> Modifier:
    return Modifier(kind_of(words[start + 1]), string(words[start]), words[start + 2])


def _function(words: Words, start: int, string: StringAt) -> Function:
    return Function(string(words[start]), words[start + 2])


def _prototype(words: Words, start: int, string: StringAt) -> Prototype:
    parameters = (Parameter(string(name_off), type_id) for name_off, type_id in _rows(words, start, 2))
    return Prototype(words[start + 2], tuple(parameters))


def _variable(words: Words, start: int, string: StringAt) -> Variable:
    return Variable(string(words[start]), words[start + 2])


def _other(words: Words, start: int, string: StringAt) -> Other:
    return Other(kind_of(words[start + 1]), string(words[start]))


_DECODE: Final[dict[int, Callable[[Words, int, StringAt], BtfType]]] = {
    Kind.VOID: _other,
    Kind.INT: _int,
    Kind.PTR: _pointer,
    Kind.ARRAY: _array,
    Kind.STRUCT: _struct,
    Kind.UNION: _struct,
    Kind.ENUM: _enum,
    Kind.FWD: _forward,
    Kind.TYPEDEF: _modifier,
    Kind.VOLATILE: _modifier,
    Kind.CONST: _modifier,
    Kind.RESTRICT: _modifier,
    Kind.FUNC: _function,
    Kind.FUNC_PROTO: _prototype,
    Kind.VAR: _variable,
    Kind.DATASEC: _other,
    Kind.FLOAT: _float,
    Kind.DECL_TAG: _other,
    Kind.TYPE_TAG: _modifier,
    Kind.ENUM64: _enum64,
}
