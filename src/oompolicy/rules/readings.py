"""What a condition can read of the machine and of one cgroup, at one moment.

Belongs here: the fields with their units. Must not know: files, where a threshold is.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stall:
    """One line of a pressure file (some or full): the share of time in which tasks waited, in percent, and the sum.

    Source: Documentation/accounting/psi.rst. total_us only ever grows; from two of them comes the share of any span.
    """

    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total_us: int = 0


@dataclass(frozen=True, slots=True)
class Pressure:
    """The pressure of one resource, some and full; None where this kernel, or this cgroup, does not have it."""

    some: Stall | None = None
    full: Stall | None = None


@dataclass(frozen=True, slots=True)
class MachineReading:
    """The machine. Amounts in bytes; counters only ever grow, from boot. None: not known here."""

    mem_total_bytes: int = 0
    mem_available_bytes: int = 0
    mem_free_bytes: int = 0
    swap_total_bytes: int = 0
    swap_free_bytes: int = 0
    memory: Pressure = Pressure()
    io: Pressure = Pressure()
    cpu: Pressure = Pressure()
    scanned_pages: int | None = None  # /proc/vmstat pgscan_kswapd + pgscan_direct
    reclaimed_pages: int | None = None  # pgsteal_kswapd + pgsteal_direct
    refaulted_pages: int | None = None  # workingset_refault_anon + _file
    oom_kills: int | None = None
    swapped_out_pages: int | None = None  # pswpout
    zram_used_bytes: int | None = None  # of RAM, for what swap or a file system on zram holds
    zram_stored_bytes: int | None = None  # that, before compression


@dataclass(frozen=True, slots=True)
class CgroupReading:
    """One cgroup, by its path from the root. Amounts in bytes; None where the file is not there, or says "max".

    never: files, by their names in v2, that no cgroup of this hierarchy will ever have.
    """

    path: str
    current_bytes: int | None = None
    swap_current_bytes: int | None = None
    max_bytes: int | None = None
    high_bytes: int | None = None
    low_bytes: int | None = None
    min_bytes: int | None = None
    swap_max_bytes: int | None = None
    anon_bytes: int | None = None
    file_bytes: int | None = None
    io_bytes: int | None = None  # io.stat: rbytes and wbytes of all devices
    memory: Pressure = Pressure()
    io: Pressure = Pressure()
    cpu: Pressure = Pressure()
    events_low: int | None = None  # memory.events: how often each has happened, from the cgroup's making on
    events_high: int | None = None
    events_max: int | None = None
    events_oom: int | None = None
    events_oom_kill: int | None = None
    events_oom_group_kill: int | None = None
    events_local_low: int | None = None  # memory.events.local: of the cgroup itself, without those below it
    events_local_high: int | None = None
    events_local_max: int | None = None
    events_local_oom: int | None = None
    events_local_oom_kill: int | None = None
    events_local_oom_group_kill: int | None = None
    scanned_pages: int | None = None  # memory.stat pgscan, pgsteal, workingset_refault_*
    reclaimed_pages: int | None = None
    refaulted_pages: int | None = None
    pids: int | None = None  # pids.current: processes and threads, those below it too
    dying_descendants: int | None = None  # cgroup.stat nr_dying_descendants
    is_frozen: bool = False
    never: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Readings:
    """One look: the machine, and those cgroups that rules ask for, by path. at_ms is of a clock that only goes on."""

    at_ms: int
    machine: MachineReading
    cgroups: dict[str, CgroupReading] = field(default_factory=dict)
