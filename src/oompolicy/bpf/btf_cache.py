"""What was once read of a kernel's BTF, kept in a file, so that the next start need not read 6 MB again.

Belongs here: remembering answers of a TypeSource, for one kernel. Must not know: which questions will be asked.
A file is of one kernel, by its build id. One that is damaged, of another format, or that root cannot trust is as
good as none; none is ever a reason to fail.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from oompolicy.bpf.btf_blob import TypeSource
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
    Void,
)
from oompolicy.errors import OompolicyError
from oompolicy.trusted_file import read_trusted

FORMAT: Final = 1  # of the file; a change of btf_types.py is a change of this

_RECORDS: Final[tuple[type[BtfType], ...]] = (
    *(Void, Int, Float, Pointer, Array, Struct, Enum, Forward, Modifier, Function, Prototype, Variable, Other),
)
_NUMBER: Final = {record: number for number, record in enumerate(_RECORDS)}
_ROWS: Final[dict[type[BtfType], Callable[..., Any]]] = {Struct: Member, Enum: Enumerator, Prototype: Parameter}


class CachedTypes:
    """A TypeSource that remembers. `open_whole` is called for the first question that was never asked before."""

    def __init__(self, open_whole: Callable[[], TypeSource], remembered: dict[str, Any] | None = None) -> None:
        self._open_whole = open_whole
        self._whole: TypeSource | None = None
        self._changed = False
        self._sizes: list[int] = []
        self._types: dict[int, BtfType] = {}
        self._ids: dict[str, list[int]] = {}
        self._enums: dict[str, list[int]] = {}
        self._strings: dict[int, str] = {}
        self._offsets: dict[str, int | None] = {}
        if remembered is not None:
            self._take(remembered)

    @property
    def type_count(self) -> int:
        """As TypeSource."""
        return self._both_sizes()[0]

    @property
    def strings_bytes(self) -> int:
        """As TypeSource."""
        return self._both_sizes()[1]

    def type(self, type_id: int) -> BtfType:
        """As TypeSource."""
        if type_id not in self._types:
            self._types[type_id] = self._read().type(type_id)
        return self._types[type_id]

    def ids(self, name: str, kind: Kind) -> tuple[int, ...]:
        """As TypeSource."""
        key = f"{kind.value} {name}"
        if key not in self._ids:
            self._ids[key] = list(self._read().ids(name, kind))
        return tuple(self._ids[key])

    def enums_with(self, enumerator: str) -> tuple[int, ...]:
        """As TypeSource."""
        if enumerator not in self._enums:
            self._enums[enumerator] = list(self._read().enums_with(enumerator))
        return tuple(self._enums[enumerator])

    def string(self, offset: int) -> str:
        """As TypeSource."""
        if offset not in self._strings:
            self._strings[offset] = self._read().string(offset)
        return self._strings[offset]

    def string_offset(self, text: str) -> int | None:
        """As TypeSource."""
        if text not in self._offsets:
            self._offsets[text] = self._read().string_offset(text)
        return self._offsets[text]

    @property
    def changed(self) -> bool:
        """Is there more now than was remembered?"""
        return self._changed

    def remembered(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "sizes": self._both_sizes(),
            "types": {type_id: [_NUMBER[type(found)], *found] for type_id, found in self._types.items()},
            "ids": self._ids,
            "enums": self._enums,
            "strings": self._strings,
            "offsets": self._offsets,
        }

    def _take(self, remembered: dict[str, Any]) -> None:
        type_count, strings_bytes = remembered["sizes"]
        self._sizes = [int(type_count), int(strings_bytes)]
        self._types = {int(type_id): _record(row) for type_id, row in remembered["types"].items()}
        self._ids = dict(remembered["ids"])
        self._enums = dict(remembered["enums"])
        self._strings = {int(offset): text for offset, text in remembered["strings"].items()}
        self._offsets = dict(remembered["offsets"])

    def _both_sizes(self) -> list[int]:
        if not self._sizes:
            whole = self._read()
            self._sizes = [whole.type_count, whole.strings_bytes]
        return self._sizes

    def _read(self) -> TypeSource:
        """The whole BTF, which is about to be asked something new."""
        if self._whole is None:
            self._whole = self._open_whole()
        self._changed = True
        return self._whole


def _record(row: list[Any]) -> BtfType:
    kind: Callable[..., BtfType] = _RECORDS[row[0]]
    part = _ROWS.get(_RECORDS[row[0]])
    if part is None:
        return kind(*row[1:])
    *before, parts = row[1:]
    return kind(*before, tuple([part(*each) for each in parts]))


def load(path: Path, open_whole: Callable[[], TypeSource]) -> CachedTypes:
    """What the file remembers; nothing where it is missing, damaged or not to be trusted."""
    try:
        head, _, body = read_trusted(path).partition(b"\n")
        if json.loads(head) == {"format": FORMAT, "crc32": zlib.crc32(body)}:
            return CachedTypes(open_whole, json.loads(body))
    except (OompolicyError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        pass  # the next save() writes it anew
    return CachedTypes(open_whole)


def save(types: CachedTypes, path: Path) -> bool:
    """Write what is remembered, whole or not at all; False where the folder cannot be written or trusted."""
    body = json.dumps(types.remembered(), separators=(",", ":")).encode()
    head = json.dumps({"format": FORMAT, "crc32": zlib.crc32(body)}).encode()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # O_EXCL: a link that somebody laid there is not followed.
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(head + b"\n" + body)
        read_trusted(temporary)  # or it would not be believed the next time
        temporary.replace(path)
    except (OSError, OompolicyError):
        with contextlib.suppress(OSError):
            temporary.unlink()
        return False
    return True
