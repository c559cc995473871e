"""The fields of a condition: name, unit, meaning, the file it comes from, and how it is taken from readings; one table.

Belongs here: the table; docs/conditions.md, the parser's messages and the sensors are made from it. Must not know: how
a condition is written or judged, how a file is read.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from oompolicy.rules.look import Look
from oompolicy.rules.readings import CgroupReading, Pressure, Stall

# How fast memory and swap can fill, as earlyoom reckons: DDR3 at its best, and an NVMe disk.
MEMORY_MIB_PER_S: Final = 6000
SWAP_MIB_PER_S: Final = 800

# Where the memory of zram devices stands.
ZRAM: Final = "/sys/block/zram*/mm_stat"

RESOURCES: Final = ("memory", "io", "cpu")
KINDS: Final = ("some", "full")
AVERAGES: Final = ("avg10", "avg60", "avg300")


class Unit(enum.Enum):
    """What a number is of. A plain number goes with any of them."""

    PERCENT = "%"
    MIB = "MiB"
    COUNT = "times"
    PAGES_PER_S = "pages/s"


Read = Callable[[Look], float | None]


@dataclass(frozen=True, slots=True)
class Psi:
    """Which line of which pressure file a field is of."""

    resource: str
    kind: str


@dataclass(frozen=True, slots=True)
class Field:
    """A row. files: where the sensor finds it (a cgroup's: in its folder). read: None where it is not known.

    Numbers that can only be told from two readings are over_time. psi: which pressure it is of. For amounts,
    mib_per_s is how fast it can change at most, and whole what 100 % are, in MiB.
    """

    name: str
    unit: Unit
    doc: str
    files: tuple[str, ...]
    read: Read
    over_time: bool = False
    psi: Psi | None = None
    mib_per_s: int | None = None
    whole: Read | None = None

    @property
    def is_of_cgroup(self) -> bool:
        """Is it of the rule's scope, rather than of the machine?"""
        return self.name.startswith("cgroup.")


def _mib(amount: int | None) -> float | None:
    return None if amount is None else amount / (1 << 20)


def _percent(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else 100 * part / whole


def _amount(name: str, of: Callable[[Look], int | None], doc: str, mib_per_s: int = MEMORY_MIB_PER_S) -> Field:
    return Field(name, Unit.MIB, doc, ("meminfo",), lambda look: _mib(of(look)), mib_per_s=mib_per_s)


def _share(
    name: str,
    part: Callable[[Look], int],
    whole: Callable[[Look], int],
    doc: str,
    mib_per_s: int = MEMORY_MIB_PER_S,
) -> Field:
    """Of a whole that may not be there: 0 then."""
    return Field(
        name,
        Unit.PERCENT,
        doc,
        ("meminfo",),
        lambda look: _percent(part(look), whole(look)) or 0.0,
        mib_per_s=mib_per_s,
        whole=lambda look: _mib(whole(look)),
    )


def _mem_total(look: Look) -> int:
    return look.machine.mem_total_bytes


def _swap_total(look: Look) -> int:
    return look.machine.swap_total_bytes


def _swap_used(look: Look) -> int:
    return look.machine.swap_total_bytes - look.machine.swap_free_bytes


_MEMINFO: Final = (
    _share("mem_available_percent", lambda look: look.machine.mem_available_bytes, _mem_total,
           "What can be had without swapping (MemAvailable), of MemTotal."),
    _amount("mem_available_mib", lambda look: look.machine.mem_available_bytes, "The same, as an amount."),
    _share("mem_free_percent", lambda look: look.machine.mem_free_bytes, _mem_total,
           "What nothing at all is kept in (MemFree), of MemTotal."),
    _amount("mem_free_mib", lambda look: look.machine.mem_free_bytes, "The same, as an amount."),
    _amount("mem_total_mib", _mem_total, "MemTotal."),
    _share("swap_free_percent", lambda look: look.machine.swap_free_bytes, _swap_total,
           "SwapFree, of SwapTotal; 0 where there is no swap.", SWAP_MIB_PER_S),
    _amount("swap_free_mib", lambda look: look.machine.swap_free_bytes, "The same, as an amount.", SWAP_MIB_PER_S),
    _share("swap_used_percent", _swap_used, _swap_total,
           "SwapTotal less SwapFree, of SwapTotal; 0 where there is no swap.", SWAP_MIB_PER_S),
    _amount("swap_used_mib", _swap_used, "The same, as an amount.", SWAP_MIB_PER_S),
    _amount("swap_total_mib", _swap_total, "SwapTotal.", SWAP_MIB_PER_S),
)  # fmt: skip


def _zram(name: str, unit: Unit, read: Read, doc: str, whole: Read | None = None) -> Field:
    return Field(name, unit, doc, (ZRAM,), read, mib_per_s=MEMORY_MIB_PER_S, whole=whole)


def _zram_used_mib(look: Look) -> float | None:
    return _mib(look.machine.zram_used_bytes)


def _mem_total_mib(look: Look) -> float | None:
    return _mib(_mem_total(look))


_ZRAM: Final = (
    _zram("zram_used_mib", Unit.MIB, _zram_used_mib,
          "The memory that zram devices take for what is in them (mem_used_total); 0 where there are none."),
    _zram("zram_used_percent", Unit.PERCENT, lambda look: _percent(_zram_used_mib(look), _mem_total_mib(look)),
          "The same, of MemTotal.", _mem_total_mib),
    _zram("zram_stored_mib", Unit.MIB, lambda look: _mib(look.machine.zram_stored_bytes),
          "What is in them, before compression (orig_data_size): SwapFree is less by that where they are swap."),
)  # fmt: skip


def _of_cgroup(name: str, files: str, unit: Unit, of: Callable[[CgroupReading], float | None], doc: str) -> Field:
    def read(look: Look) -> float | None:
        return None if look.cgroup is None else of(look.cgroup)

    fastest = MEMORY_MIB_PER_S if unit is Unit.MIB else None
    return Field(f"cgroup.{name}", unit, doc, tuple(files.split()), read, mib_per_s=fastest)


def _of_limit(name: str, limit: Callable[[CgroupReading], int | None], doc: str) -> Field:
    def read(look: Look) -> float | None:
        return None if look.cgroup is None else _percent(look.cgroup.current_bytes, limit(look.cgroup))

    def whole(look: Look) -> float | None:
        return None if look.cgroup is None else _mib(limit(look.cgroup))

    files = ("memory.current", f"memory.{name.rpartition('_')[2]}")
    return Field(f"cgroup.{name}", Unit.PERCENT, doc, files, read, mib_per_s=MEMORY_MIB_PER_S, whole=whole)


def _above(amount: int | None, protected: int | None) -> float | None:
    return None if amount is None or protected is None else max(amount - protected, 0) / (1 << 20)


def _unprotected(cgroup: CgroupReading) -> float | None:
    over = _above(cgroup.current_bytes, cgroup.low_bytes), _above(cgroup.current_bytes, cgroup.min_bytes)
    return None if over[0] is None or over[1] is None else min(over[0], over[1])


_EVENTS: Final = {
    "low": "How often it was reclaimed from although below memory.low. Counters are for rate() and growth().",
    "high": "How often it was throttled at memory.high.",
    "max": "How often it was about to go over memory.max.",
    "oom": "How often an allocation was about to fail at its limit.",
    "oom_kill": "How many of its processes the kernel's OOM killer has killed.",
    "oom_group_kill": "How often all of it was killed at once (memory.oom.group).",
}


def _events() -> Iterator[Field]:
    for name, doc in _EVENTS.items():
        yield _of_cgroup(f"events.{name}", "memory.events", Unit.COUNT, attrgetter(f"events_{name}"), doc)
    for name in _EVENTS:
        doc = f"The same as events.{name}, of the cgroup itself alone, without those below it."
        of = attrgetter(f"events_local_{name}")
        yield _of_cgroup(f"events_local.{name}", "memory.events.local", Unit.COUNT, of, doc)


_CGROUP: Final = (
    _of_cgroup("current_mib", "memory.current", Unit.MIB, lambda cgroup: _mib(cgroup.current_bytes),
               "memory.current, all below it included."),
    _of_limit("current_percent_of_max", lambda cgroup: cgroup.max_bytes, "memory.current, of its own memory.max."),
    _of_limit("current_percent_of_high", lambda cgroup: cgroup.high_bytes, "memory.current, of its own memory.high."),
    _of_cgroup("over_low_mib", "memory.current memory.low", Unit.MIB,
               lambda cgroup: _above(cgroup.current_bytes, cgroup.low_bytes),
               "What memory.current is above memory.low: not protected from reclaim."),
    _of_cgroup("over_min_mib", "memory.current memory.min", Unit.MIB,
               lambda cgroup: _above(cgroup.current_bytes, cgroup.min_bytes),
               "The same above memory.min."),
    _of_cgroup("unprotected_mib", "memory.current memory.low memory.min", Unit.MIB, _unprotected,
               "memory.current above the greater of memory.low and memory.min; 0 below it."),
    _of_cgroup("max_mib", "memory.max", Unit.MIB, lambda cgroup: _mib(cgroup.max_bytes), "memory.max."),
    _of_cgroup("high_mib", "memory.high", Unit.MIB, lambda cgroup: _mib(cgroup.high_bytes), "memory.high."),
    _of_cgroup("swap_mib", "memory.swap.current", Unit.MIB, lambda cgroup: _mib(cgroup.swap_current_bytes),
               "memory.swap.current."),
    _of_cgroup("swap_percent_of_max", "memory.swap.current memory.swap.max", Unit.PERCENT,
               lambda cgroup: _percent(cgroup.swap_current_bytes, cgroup.swap_max_bytes),
               "The same, of its own memory.swap.max."),
    _of_cgroup("anon_mib", "memory.stat", Unit.MIB, lambda cgroup: _mib(cgroup.anon_bytes), "Anonymous memory."),
    _of_cgroup("file_mib", "memory.stat", Unit.MIB, lambda cgroup: _mib(cgroup.file_bytes),
               "Memory of files, tmpfs and shared memory included."),
    _of_cgroup("io_mib", "io.stat", Unit.MIB, lambda cgroup: _mib(cgroup.io_bytes),
               "What it has read from disks and written to them (io controller). For rate() and growth()."),
    *_events(),
    _of_cgroup("pids", "pids.current", Unit.COUNT, lambda cgroup: cgroup.pids,
               "Processes and threads in it and below it (pids controller); growth() of it tells a fork bomb."),
    _of_cgroup("dying_descendants", "cgroup.stat", Unit.COUNT, lambda cgroup: cgroup.dying_descendants,
               "Removed cgroups below it that still hold memory (nr_dying_descendants)."),
    _of_cgroup("is_frozen", "cgroup.events", Unit.COUNT, lambda cgroup: float(cgroup.is_frozen), "1 if so, else 0."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Base:
    """Whom the fields that both have are of: a prefix, where its files are, how its reading is got."""

    prefix: str
    psi_file: str
    stat_file: str
    of_cgroup: bool

    def pressure(self, look: Look, resource: str) -> Pressure | None:
        reading = look.cgroup if self.of_cgroup else look.machine
        if reading is None:
            return None
        return {"memory": reading.memory, "io": reading.io, "cpu": reading.cpu}[resource]

    def stall(self, look: Look, psi: Psi) -> Stall | None:
        pressure = self.pressure(look, psi.resource)
        if pressure is None:
            return None
        return pressure.some if psi.kind == "some" else pressure.full

    def pages(self, look: Look, what: str) -> int | None:
        reading = look.cgroup if self.of_cgroup else look.machine
        if reading is None:
            return None
        return {
            "scan": reading.scanned_pages,
            "reclaim": reading.reclaimed_pages,
            "refault": reading.refaulted_pages,
        }[what]

    def grown(self, look: Look, what: str) -> int | None:
        """Pages since the earlier look."""
        if look.earlier is None:
            return None
        before, now = self.pages(look.earlier, what), self.pages(look, what)
        return None if before is None or now is None else max(now - before, 0)


def _psi_fields(base: _Base) -> Iterator[Field]:
    waited = {"some": "some task waited", "full": "all tasks waited at once"}
    for resource in RESOURCES:
        for kind in KINDS:
            psi = Psi(resource, kind)
            name, files = f"{base.prefix}psi.{resource}.{kind}", (base.psi_file.format(resource),)
            for average in AVERAGES:
                doc = f"The share of the last {average[3:]} seconds in which {waited[kind]} for {resource}."
                yield Field(f"{name}.{average}", Unit.PERCENT, doc, files, _average(base, psi, average), psi=psi)
            doc = f"The same since the look before, which does not lag: {waited[kind]} for {resource}."
            yield Field(f"{name}.now", Unit.PERCENT, doc, files, _share_now(base, psi), over_time=True, psi=psi)


def _average(base: _Base, psi: Psi, average: str) -> Read:
    def read(look: Look) -> float | None:
        stall = base.stall(look, psi)
        return None if stall is None else float(getattr(stall, average))

    return read


def _share_now(base: _Base, psi: Psi) -> Read:
    def read(look: Look) -> float | None:
        if look.earlier is None:
            return None
        before, now = base.stall(look.earlier, psi), base.stall(look, psi)
        if before is None or now is None:
            return None
        # A cgroup made anew under the same path begins at 0 again; readings are not taken all in one instant.
        return min(100.0, max(now.total_us - before.total_us, 0) / (look.span_s * 10_000))

    return read


def _reclaim_fields(base: _Base) -> Iterator[Field]:
    docs = {
        "scan": "Pages that reclaim looked at, a second",
        "reclaim": "Pages that reclaim got back, a second",
        "refault": "Pages read again soon after they were reclaimed, a second: the working set does not fit",
    }
    for what, doc in docs.items():
        yield Field(f"{base.prefix}{what}_pages_per_s", Unit.PAGES_PER_S, f"{doc}.", (base.stat_file,),
                    _per_second(base, what), over_time=True)  # fmt: skip

    def efficiency(look: Look) -> float | None:
        # Where nothing was scanned, nothing was in vain.
        if base.grown(look, "scan") == 0:
            return 100.0
        return _percent(base.grown(look, "reclaim"), base.grown(look, "scan"))

    yield Field(f"{base.prefix}scan_efficiency_percent", Unit.PERCENT,
                "What reclaim got back, of what it looked at, since the look before; 100 where it looked at nothing.",
                (base.stat_file,), efficiency, over_time=True)  # fmt: skip


def _per_second(base: _Base, what: str) -> Read:
    def read(look: Look) -> float | None:
        grown = base.grown(look, what)
        return None if grown is None else grown / look.span_s

    return read


def _oom_kills(look: Look) -> float | None:
    return look.machine.oom_kills


def _swap_out(look: Look) -> float | None:
    before = None if look.earlier is None else look.earlier.machine.swapped_out_pages
    now = look.machine.swapped_out_pages
    return None if before is None or now is None else max(now - before, 0) / look.span_s


_MACHINE_BASE: Final = _Base("", "pressure/{}", "vmstat", of_cgroup=False)
_CGROUP_BASE: Final = _Base("cgroup.", "{}.pressure", "memory.stat", of_cgroup=True)

FIELDS: Final = (
    *_MEMINFO,
    *_ZRAM,
    *_psi_fields(_MACHINE_BASE),
    *_reclaim_fields(_MACHINE_BASE),
    Field("oom_kills", Unit.COUNT, "How many the kernel's OOM killer has killed since boot. For rate() and growth().",
          ("vmstat",), _oom_kills),
    Field("swap_out_pages_per_s", Unit.PAGES_PER_S, "Pages written to swap, a second.", ("vmstat",), _swap_out,
          over_time=True),
    *_CGROUP,
    *_psi_fields(_CGROUP_BASE),
    *_reclaim_fields(_CGROUP_BASE),
)  # fmt: skip

BY_NAME: Final = {field.name: field for field in FIELDS}
