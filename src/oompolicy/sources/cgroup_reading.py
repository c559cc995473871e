"""Readings of one cgroup, from the files of its directory.

Belongs here: which file of v2 and v1 holds which field of a CgroupReading. Must not know: which cgroups there are,
what a rule makes of them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from oompolicy.errors import GoneError, SourceError
from oompolicy.rules.readings import CgroupReading, Pressure
from oompolicy.sources.kept_file import KeptFile, number_of
from oompolicy.sources.kernel_file import is_gone
from oompolicy.sources.pressure import parse_pressure

Version = Literal["v1", "v2"]
_V1_NO_LIMIT: Final = (1 << 63) - (1 << 16)  # PAGE_COUNTER_MAX * PAGE_SIZE, whatever the page size


def _amount(text: bytes) -> int | None:
    """v2 prints "max" where there is no limit, v1 the largest number there is."""
    if text == b"max\n":
        return None
    number = int(text)
    return None if number >= _V1_NO_LIMIT else number


def _sum_of(*keys: bytes) -> Callable[[bytes], int | None]:
    """The sum of the lines of a flat-keyed file; None where there is none of them."""
    wanted = tuple(b"\n" + key + b" " for key in keys)

    def read(text: bytes) -> int | None:
        lines = b"\n" + text
        found = [number for number in (number_of(lines, key) for key in wanted) if number is not None]
        return sum(found) if found else None

    return read


def _io_bytes(text: bytes) -> int:
    """Read and written, of all devices: "8:0 rbytes=1459200 wbytes=314773504 rios=192 ...", a line each."""
    words = (word.partition(b"=") for word in text.split())
    return sum(int(number) for key, _, number in words if key in (b"rbytes", b"wbytes"))


def _is_frozen(text: bytes) -> bool:
    return b"\nfrozen 1\n" in b"\n" + text


class _Field(NamedTuple):
    file: str
    read: Callable[[bytes], int | bool | Pressure | None]


# memory_files[], swap_files[] and memory_stat_format(), mm/memcontrol.c; cgroup_base_files[], kernel/cgroup/cgroup.c.
EVENTS: Final = ("low", "high", "max", "oom", "oom_kill", "oom_group_kill")
_REFAULTS: Final = (b"workingset_refault_anon", b"workingset_refault_file", b"workingset_refault")
_V2: Final[dict[str, _Field]] = {
    "current_bytes": _Field("memory.current", _amount),
    "swap_current_bytes": _Field("memory.swap.current", _amount),
    "max_bytes": _Field("memory.max", _amount),
    "high_bytes": _Field("memory.high", _amount),
    "low_bytes": _Field("memory.low", _amount),
    "min_bytes": _Field("memory.min", _amount),
    "swap_max_bytes": _Field("memory.swap.max", _amount),
    "anon_bytes": _Field("memory.stat", _sum_of(b"anon")),
    "file_bytes": _Field("memory.stat", _sum_of(b"file")),
    "scanned_pages": _Field("memory.stat", _sum_of(b"pgscan")),
    "reclaimed_pages": _Field("memory.stat", _sum_of(b"pgsteal")),
    "refaulted_pages": _Field("memory.stat", _sum_of(*_REFAULTS)),
    "io_bytes": _Field("io.stat", _io_bytes),
    "memory": _Field("memory.pressure", parse_pressure),
    "io": _Field("io.pressure", parse_pressure),
    "cpu": _Field("cpu.pressure", parse_pressure),
    **{f"events_{name}": _Field("memory.events", _sum_of(name.encode())) for name in EVENTS},
    **{f"events_local_{name}": _Field("memory.events.local", _sum_of(name.encode())) for name in EVENTS},
    "pids": _Field("pids.current", _amount),
    "dying_descendants": _Field("cgroup.stat", _sum_of(b"nr_dying_descendants")),
    "is_frozen": _Field("cgroup.events", _is_frozen),
}
# mem_cgroup_legacy_files[] and memcg1_stat_format(), mm/memcontrol-v1.c; total_ counts what is below, as v2 does.
_V1: Final[dict[str, _Field]] = {
    "current_bytes": _Field("memory.usage_in_bytes", _amount),
    "max_bytes": _Field("memory.limit_in_bytes", _amount),
    "swap_current_bytes": _Field("memory.stat", _sum_of(b"total_swap")),
    "anon_bytes": _Field("memory.stat", _sum_of(b"total_rss")),
    "file_bytes": _Field("memory.stat", _sum_of(b"total_cache")),
    "refaulted_pages": _Field("memory.stat", _sum_of(*(b"total_" + key for key in _REFAULTS))),
    "events_max": _Field("memory.failcnt", _amount),
    "events_oom_kill": _Field("memory.oom_control", _sum_of(b"oom_kill")),
}
_FIELDS: Final[dict[Version, dict[str, _Field]]] = {"v1": _V1, "v2": _V2}
_V2_ALONE: Final = frozenset(field.file for field in _V2.values()) - {_V2[name].file for name in _V1}
_NEVER: Final[dict[Version, frozenset[str]]] = {"v1": _V2_ALONE, "v2": frozenset()}


class CgroupReader:
    """One cgroup, its wanted files kept open; or opened for each reading, where descriptors are short (is_kept)."""

    __slots__ = ("_directory", "_files", "_never", "_plan", "path")

    def __init__(
        self, directory: Path | str, path: str, version: Version, wanted: Iterable[str], is_kept: bool = True
    ) -> None:
        """Open it. path is its name from the root of the hierarchy; wanted are files, by their names in v2.

        Raises GoneError where there is no such cgroup, SourceError where it may not be read.
        """
        self.path = path
        self._directory = os.fspath(directory)
        self._files: dict[str, KeptFile] | None = None
        self._never = _NEVER[version]
        table = _FIELDS[version]
        self._plan: dict[str, list[tuple[str, _Field]]] = {}
        wanted = frozenset(wanted)
        for name, field in table.items():
            if _V2[name].file in wanted:
                self._plan.setdefault(field.file, []).append((name, field))
        try:
            if is_kept:
                self._files = {file: KeptFile(f"{self._directory}/{file}") for file in self._plan}
        except OSError as error:
            raise self._refused(error) from error

    @property
    def files(self) -> int:
        """How many it reads."""
        return len(self._plan)

    @property
    def descriptors(self) -> int:
        """How many it holds at most."""
        return 0 if self._files is None else len(self._files)

    def read(self) -> CgroupReading:
        """The cgroup now; fields whose file is not wanted, or not there, are None.

        One of which no file is wanted is believed to be there: whoever follows it is told when it goes. Raises
        GoneError once the cgroup is removed, SourceError where it cannot be read.
        """
        values: dict[str, Any] = {}
        is_any_there = False
        try:
            for file, fields in self._plan.items():
                text = self._text(file)
                if text is None:
                    continue
                is_any_there = True
                for name, field in fields:
                    values[name] = field.read(text)
        except (OSError, ValueError) as error:
            raise self._refused(error) from error
        if self._plan and not is_any_there and not Path(self._directory).exists():
            raise GoneError(f"cgroup {self.path}", "is gone")
        return CgroupReading(self.path, **values, never=self._never)

    def _text(self, file: str) -> bytes | None:
        try:
            if self._files is not None:
                return self._files[file].read()
            kept = KeptFile(f"{self._directory}/{file}")
            try:
                return kept.read()
            finally:
                kept.close()
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:  # psi_show(), kernel/sched/psi.c, where PSI is off
                return None
            raise

    def _refused(self, error: Exception) -> SourceError:
        if isinstance(error, OSError) and is_gone(error):
            return GoneError(f"cgroup {self.path}", "is gone")
        why = error.strerror if isinstance(error, OSError) else str(error)
        return SourceError(f"cgroup {self.path}", f"cannot be read ({why})")

    def close(self) -> None:
        """Let go of it; a second time does nothing."""
        for file in (self._files or {}).values():
            file.close()
