"""Readings of the machine, from /proc/meminfo, /proc/vmstat, /proc/pressure and zram devices.

Belongs here: which file holds which field of a MachineReading. Must not know: what a rule makes of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from oompolicy.errors import SourceError
from oompolicy.rules.fields import ZRAM
from oompolicy.rules.readings import MachineReading
from oompolicy.sources.kept_file import KeptFile, number_of
from oompolicy.sources.pressure import NONE, read_pressure
from oompolicy.sources.zram import ZramReader

# "MemTotal:", its number, "kB", and so on: what is looked for is among the first words.
_FIRST_WORDS: Final = 64

RESOURCES: Final = ("memory", "io", "cpu")

# Fields of /proc/vmstat; each is the sum of the lines there are (vmstat_text[], mm/vmstat.c). One number for both kinds
# of refault was split by commit 170b04b7ae49 "mm/workingset: prepare the workingset detection infrastructure for
# anon LRU" (in v5.9).
_VMSTAT: Final = {
    "scanned_pages": (b"\npgscan_kswapd ", b"\npgscan_direct "),
    "reclaimed_pages": (b"\npgsteal_kswapd ", b"\npgsteal_direct "),
    "refaulted_pages": (b"\nworkingset_refault_anon ", b"\nworkingset_refault_file ", b"\nworkingset_refault "),
    "oom_kills": (b"\noom_kill ",),
    "swapped_out_pages": (b"\npswpout ",),
}


class MachineReader:
    """Reads, each time it is asked, the amounts of memory, and those of vmstat, pressure/… and ZRAM that are wanted."""

    def __init__(self, proc: Path, wanted: Iterable[str] = (), sys: Path = Path("/sys")) -> None:
        """Open the files. Raises SourceError where the amounts cannot be read."""
        wanted = frozenset(wanted)
        self._path = proc / "meminfo"
        self._zram = ZramReader(sys) if ZRAM in wanted else None
        try:
            self._meminfo = KeptFile(self._path)
            self._vmstat = KeptFile(proc / "vmstat") if "vmstat" in wanted else None
            self._pressure = {
                name: KeptFile(proc / "pressure" / name) for name in RESOURCES if f"pressure/{name}" in wanted
            }
        except OSError as error:
            raise SourceError(self._path.parent, f"cannot be read ({error.strerror})") from error

    def read(self) -> MachineReading:
        """The machine now; fields whose file is not wanted, or not there, are None. Raises SourceError.

        Without amounts there is no reading: a 0 that stands for "not known" would look like the end of memory.
        """
        try:
            amounts = self._amounts()
            pressure = {name: read_pressure(file) for name, file in self._pressure.items()}
            counters: dict[str, Any] = {} if self._vmstat is None else _counters(self._vmstat.read())
            zram = None if self._zram is None else self._zram.read()
        except (OSError, ValueError) as error:
            raise SourceError(self._path.parent, f"does not say how much memory there is ({error})") from error
        return MachineReading(
            *amounts,
            pressure.get("memory", NONE),
            pressure.get("io", NONE),
            pressure.get("cpu", NONE),
            **counters,
            zram_used_bytes=None if zram is None else zram.used_bytes,
            zram_stored_bytes=None if zram is None else zram.stored_bytes,
        )

    def glance(self) -> tuple[int, int, int, int, int]:
        """MemTotal, MemAvailable, MemFree, SwapTotal and SwapFree in bytes, and nothing else. Raises SourceError."""
        try:
            return self._amounts()
        except (OSError, ValueError) as error:
            raise SourceError(self._path, f"does not say how much memory there is ({error})") from error

    def _amounts(self) -> tuple[int, int, int, int, int]:
        text = self._meminfo.read()
        if text is None:
            raise SourceError(self._path, "is not there", "is procfs mounted there?")
        return _amounts(text)

    def close(self) -> None:
        """Let go of the files."""
        for file in (self._meminfo, self._vmstat, self._zram, *self._pressure.values()):
            if file is not None:
                file.close()


def _amounts(text: bytes) -> tuple[int, int, int, int, int]:
    """MemTotal, MemAvailable, MemFree, SwapTotal, SwapFree in bytes. Raises ValueError where one is missing.

    C: meminfo_proc_show(), fs/proc/meminfo.c. MemAvailable came with commit 34e431b0ae39 "/proc/meminfo: provide
    estimated available memory" (in v3.14); before it, what can be dropped at once comes near.
    """
    words = text.split(None, _FIRST_WORDS)
    at = words.index
    try:
        total, free, available = at(b"MemTotal:"), at(b"MemFree:"), at(b"MemAvailable:")
        swap_total, swap_free = at(b"SwapTotal:"), at(b"SwapFree:")
        return (
            int(words[total + 1]) * 1024,
            int(words[available + 1]) * 1024,
            int(words[free + 1]) * 1024,
            int(words[swap_total + 1]) * 1024,
            int(words[swap_free + 1]) * 1024,
        )
    except ValueError:  # one is not there, or further down than the first words
        return _amounts_of_old(text)


def _amounts_of_old(text: bytes) -> tuple[int, int, int, int, int]:
    lines = b"\n" + text
    total, free = _kib(lines, b"\nMemTotal:"), _kib(lines, b"\nMemFree:")
    available = number_of(lines, b"\nMemAvailable:")
    if available is None:
        cached = _kib(lines, b"\nBuffers:") + _kib(lines, b"\nCached:") - _kib(lines, b"\nShmem:")
        available = free + max(cached, 0)
    swap_total, swap_free = _kib(lines, b"\nSwapTotal:"), _kib(lines, b"\nSwapFree:")
    return total * 1024, available * 1024, free * 1024, swap_total * 1024, swap_free * 1024


def _kib(lines: bytes, key: bytes) -> int:
    found = number_of(lines, key)
    if found is None:
        raise ValueError(f"no {key.decode().strip()}")
    return found


def _counters(text: bytes | None) -> dict[str, Any]:
    lines = b"" if text is None else b"\n" + text
    counters: dict[str, Any] = {}
    for field, keys in _VMSTAT.items():
        found = [number for number in (number_of(lines, key) for key in keys) if number is not None]
        counters[field] = sum(found) if found else None
    return counters
