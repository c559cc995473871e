"""What zram devices hold in memory, from /sys/block/zram*/mm_stat.

Belongs here: the devices there are, and which column is what. Must not know: whether they are used as swap.
Source: Documentation/admin-guide/blockdev/zram.rst, mm_stat_show() in drivers/block/zram/zram_drv.c.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from oompolicy.sources.kept_file import KeptFile

_STORED, _USED = 0, 2  # orig_data_size and mem_used_total, in bytes


class Zram(NamedTuple):
    """In bytes: what is stored, before compression, and the memory that this takes, the allocator's own included."""

    stored_bytes: int = 0
    used_bytes: int = 0


class ZramReader:
    """Reads all devices, those that came later too; their files are kept open."""

    def __init__(self, sys: Path) -> None:
        self._blocks = os.fspath(sys / "block")
        self._files: dict[str, KeptFile] = {}

    def read(self) -> Zram | None:
        """The sum over all devices, 0 where there are none; None where it cannot be told. Raises ValueError."""
        try:
            names = {name for name in os.listdir(self._blocks) if name.startswith("zram")}
        except OSError:
            return None
        for gone in self._files.keys() - names:
            self._files.pop(gone).close()
        stored = used = 0
        for name in names:
            if name not in self._files:
                self._files[name] = KeptFile(f"{self._blocks}/{name}/mm_stat")
            columns = self._columns(name)
            if len(columns) > _USED:
                stored, used = stored + int(columns[_STORED]), used + int(columns[_USED])
        return Zram(stored, used)

    def _columns(self, name: str) -> list[bytes]:
        """None of them where the device has gone just now."""
        try:
            return (self._files[name].read() or b"").split()
        except OSError:
            self._files.pop(name).close()
            return []

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()
