"""Opening a log: a file, standard input, /dev/kmsg, compressed or not.

Belongs here: bytes out of a path, a block at a time. Must not know: what is written in the log.
"""

from __future__ import annotations

import importlib
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from oompolicy.errors import SourceError

BLOCK_BYTES: Final = 1 << 18
KMSG_RECORD_BYTES: Final = 8192  # CONSOLE_EXT_LOG_MAX, kernel/printk/internal.h: a read returns one whole record

# magic number -> (module, its class that reads a stream of the kind, the program that does where Python cannot)
COMPRESSED: Final = {
    b"\x1f\x8b": ("gzip", "GzipFile", "zcat"),
    b"BZh": ("bz2", "BZ2File", "bzcat"),
    b"\xfd7zXZ\x00": ("lzma", "LZMAFile", "xzcat"),
    b"\x28\xb5\x2f\xfd": ("compression.zstd", "ZstdFile", "zstdcat"),  # in the standard library since Python 3.14
}


class LogFile:
    """One log to be read once, from its start to its end; "-" is standard input.

    size_bytes is the file's, None where it has none (a pipe). damage says after reading what could not be
    decompressed. Opening and reading raise SourceError.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.size_bytes: int | None = None
        self.damage: str | None = None
        self._is_kmsg = False
        self._raw = self._open()

    def _open(self) -> io.BufferedReader:
        if self.path == "-":
            # A second reader of the descriptor: the interpreter's own may be replaced, and must not be closed.
            return open(sys.stdin.fileno(), "rb", closefd=False)
        try:
            status = Path(self.path).stat()
            # A FIFO must block until its writer comes; /dev/kmsg must not when all is read.
            self._is_kmsg = stat.S_ISCHR(status.st_mode)
            flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if self._is_kmsg else 0)
            raw = os.fdopen(os.open(self.path, flags), "rb")
        except OSError as error:
            raise SourceError(self.path, f"cannot be read: {error.strerror}") from None
        self.size_bytes = status.st_size if stat.S_ISREG(status.st_mode) else None
        return raw

    @property
    def read_bytes(self) -> int:
        """How much of the file has been read."""
        try:
            return self._raw.tell()
        except (OSError, ValueError):
            return 0

    def blocks(self) -> Iterator[bytes]:
        """The log's bytes, decompressed. A damaged stream ends early and leaves a sentence in damage."""
        with self._raw:
            yield from self._kmsg_records() if self._is_kmsg else self._blocks()

    def _blocks(self) -> Iterator[bytes]:
        try:
            head = self._raw.peek(8)[:8]
        except OSError as error:
            raise SourceError(self.path, f"cannot be read: {error.strerror}") from None
        kind = next((kind for magic, kind in COMPRESSED.items() if head.startswith(magic)), None)
        stream = self._raw if kind is None else self._decompressed(*kind)
        while True:
            try:
                block = stream.read1(BLOCK_BYTES)
            except (EOFError, zlib.error, ValueError, _lzma_error()) as error:
                self.damage = f"the compressed data is damaged: {error}"
                return
            except OSError as error:
                if kind is not None and error.errno is None:  # gzip.BadGzipFile, bz2
                    self.damage = f"the compressed data is damaged: {error}"
                    return
                raise SourceError(self.path, f"cannot be read: {error.strerror}") from None
            if not block:
                return
            yield block

    def _decompressed(self, module: str, name: str, program: str) -> io.BufferedReader:
        try:
            opener = cast(Callable[..., BinaryIO], getattr(importlib.import_module(module), name))
        except ImportError:
            hint = f"feed it through {program}: {program} {self.path} | oompolicy replay -"
            raise SourceError(self.path, f"this Python cannot read {module.rpartition('.')[2]} data", hint) from None
        return cast(io.BufferedReader, opener(self._raw, mode="rb") if module != "gzip" else opener(fileobj=self._raw))

    def _kmsg_records(self) -> Iterator[bytes]:
        while True:
            try:
                record = os.read(self._raw.fileno(), KMSG_RECORD_BYTES)
            except BlockingIOError:
                return
            except BrokenPipeError:  # records were overwritten before we read them; the next read goes on
                continue
            except OSError as error:
                raise SourceError(self.path, f"cannot be read: {error.strerror}") from None
            if not record:
                return
            yield record


def _lzma_error() -> type[Exception]:
    """lzma's own error, without loading lzma for logs that need none."""
    module = sys.modules.get("lzma")
    return ZeroDivisionError if module is None else cast(type[Exception], module.LZMAError)
