"""The kernel's log as it comes: /dev/kmsg.

Belongs here: reading the records since a moment. Must not know: what they say.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from types import TracebackType

RECORD_BYTES = 8192  # CONSOLE_EXT_LOG_MAX, kernel/printk/internal.h: a read returns one whole record


class KernelLog:
    """The records written from now on, as lines of bytes ("6,1234,5678,-;text\\n").

    Opening raises OSError (PermissionError where kernel.dmesg_restrict is set and we are not root).
    """

    def __init__(self, path: Path = Path("/dev/kmsg")) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._fd, 0, os.SEEK_END)

    def new_records(self) -> list[bytes]:
        """All records since the last call; empty where there are none."""
        records: list[bytes] = []
        while True:
            try:
                record = os.read(self._fd, RECORD_BYTES)
            except BlockingIOError:
                return records
            except BrokenPipeError:  # records were overwritten before we read them; the next read goes on
                continue
            records.append(record)

    def wait_for(self, text: bytes, within_s: float) -> list[bytes]:
        """The records up to one that holds the text, or all there are after that time."""
        deadline = time.monotonic() + within_s
        records = self.new_records()
        while not any(text in record for record in records) and time.monotonic() < deadline:
            time.sleep(0.01)
            records += self.new_records()
        return records

    def close(self) -> None:
        """Let go."""
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def __enter__(self) -> KernelLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
