"""Recordings: a snapshot in one file, to be looked at later or elsewhere.

Belongs here: the file: its header, its compression, its bounds, writing it whole or not at all.
Must not know: what a snapshot is made of.
"""

from __future__ import annotations

import gzip
import os
import stat
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from oompolicy.errors import SourceError
from oompolicy.snapshot import Snapshot
from oompolicy.sources.recorded import VERSION, RecordedSnapshot, record, restore

FORMAT: Final = "oompolicy recording"
MAX_BYTES: Final = 256 << 20  # unpacked; 100,000 processes in 10,000 cgroups take less than 40 MB
_GZIP_MAGIC: Final = b"\x1f\x8b"
_HINT: Final = "make one with `oompolicy record FILE`"


class Header(msgspec.Struct):
    """The first line. Later versions may say more in it, so unknown fields are let pass."""

    format: str
    version: int


def write_recording(snapshot: Snapshot, path: str | Path) -> None:
    """Write a snapshot to a file, whole or not at all, readable by its owner only: it lists what others run.

    An existing file is replaced. Raises SourceError where it cannot be written.
    """
    path = Path(path)
    encode = msgspec.json.encode
    data = encode(Header(FORMAT, VERSION)) + b"\n" + encode(record(snapshot)) + b"\n"
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise SourceError(path, "is not a regular file: a recording does not replace it", "name a file")
        _replace(path, gzip.compress(data, compresslevel=6, mtime=0))
    except OSError as error:
        raise SourceError(path, f"cannot be written ({error.strerror})") from error


def _replace(path: Path, data: bytes) -> None:
    path = path.resolve()
    fd, name = tempfile.mkstemp(prefix=".recording-", dir=path.parent)  # mode 0600
    try:
        with open(fd, "wb") as file:  # noqa: PTH123 (from a descriptor)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def read_recording(path: str | Path) -> Snapshot:
    """The snapshot of a file that write_recording() made, on this or another machine.

    Raises SourceError where the file is no recording, damaged, from a later oompolicy, or larger than MAX_BYTES.
    """
    path = Path(path)
    data = _unpack(path)
    first, _, body = data.partition(b"\n")
    try:
        header = msgspec.json.decode(first, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SourceError(path, "is not a recording of oompolicy", _HINT) from error
    if header.format != FORMAT:
        raise SourceError(path, "is not a recording of oompolicy", _HINT)
    if header.version > VERSION:
        why = f"is of version {header.version}, this oompolicy reads up to version {VERSION}"
        raise SourceError(path, why, "read it with a newer oompolicy")
    if header.version < 1:
        raise SourceError(path, f"is damaged (version {header.version})", _HINT)
    try:
        return restore(msgspec.json.decode(body, type=RecordedSnapshot))
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise SourceError(path, f"is damaged ({error})", _HINT) from error


def _unpack(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_GZIP_MAGIC))
            if not magic:
                raise SourceError(path, "is empty", _HINT)
            if magic != _GZIP_MAGIC:
                raise SourceError(path, "is not a recording of oompolicy", _HINT)
            file.seek(0)
            with gzip.GzipFile(fileobj=file) as unpacked:
                data = unpacked.read(MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(path, f"is damaged or cut short ({error})", "record it again, or copy it again") from error
    except OSError as error:
        raise SourceError(path, f"cannot be read ({error.strerror})") from error
    if len(data) > MAX_BYTES:
        raise SourceError(path, f"unpacks to more than {MAX_BYTES >> 20} MiB: not read", _HINT)
    return data
