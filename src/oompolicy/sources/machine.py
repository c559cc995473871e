"""What a machine has, and how it is set: memory, swap, nodes, sysctls, the kernel's release.

Belongs here: the files of /proc that are not of a process. Must not know: processes, cgroups.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from oompolicy.errors import SourceError
from oompolicy.sources.kernel_file import read_at, read_records_at

_PRESENT = re.compile(rb"^Node (\d+), zone|^ +present +(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Machine:
    """The globals of mm/ that the selection reads, and what is needed to read processes; missing is in words."""

    page_size: int
    totalram_pages: int
    total_swap_pages: int
    node_present_pages: dict[int, int]
    oom_kill_allocating_task: bool
    panic_on_oom: int
    swappiness: int
    release: str | None
    hostname: str | None
    missing: tuple[str, ...] = field(default=())


def read_machine(proc: Path) -> Machine:
    """The sizes and settings below a procfs. Raises SourceError where it has no memory sizes at all."""
    page_size = os.sysconf("SC_PAGE_SIZE")
    missing: list[str] = []
    try:
        proc_fd = os.open(proc, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise SourceError(proc, f"cannot be read ({error.strerror})", "is procfs mounted there?") from error
    try:
        # totalram_pages() and total_swap_pages as meminfo_proc_show() prints them, fs/proc/meminfo.c.
        try:
            meminfo = parse_meminfo(read_at(proc_fd, "meminfo"))
            totalram, total_swap = (meminfo[name] * 1024 // page_size for name in (b"MemTotal", b"SwapTotal"))
        except (OSError, KeyError, ValueError) as error:
            raise SourceError(proc / "meminfo", f"does not say how much memory there is ({error})") from error

        def sysctl(name: str, default: int) -> int:
            text = _optional(proc_fd, f"sys/vm/{name}")
            if text is None:
                missing.append(f"vm.{name} cannot be read: taken to be {default}, the kernel's default")
                return default
            return int(text)

        return Machine(
            page_size,
            totalram,
            total_swap,
            _nodes(proc_fd),
            bool(sysctl("oom_kill_allocating_task", 0)),
            sysctl("panic_on_oom", 0),
            sysctl("swappiness", 60),
            _text(proc_fd, "sys/kernel/osrelease"),
            _text(proc_fd, "sys/kernel/hostname"),
            tuple(missing),
        )
    finally:
        os.close(proc_fd)


def parse_meminfo(text: bytes) -> dict[bytes, int]:
    """Names and numbers of /proc/meminfo, in kB.

    >>> parse_meminfo(b"MemTotal:       16 kB\\nHugePages_Total:   0\\n")
    {b'MemTotal': 16, b'HugePages_Total': 0}
    """
    lines = (line.split() for line in text.splitlines())
    return {words[0].rstrip(b":"): int(words[1]) for words in lines if len(words) >= 2}


def parse_zoneinfo(text: bytes) -> dict[int, int]:
    """node_present_pages() of each node that has any: the sum of its zones' present pages.

    C: pgdat->node_present_pages, adjust_present_page_count() in mm/memory_hotplug.c; zoneinfo_show_print() in
    mm/vmstat.c prints each zone's.

    >>> parse_zoneinfo(b"Node 0, zone DMA\\n        present  3998\\nNode 0, zone DMA32\\n        present  2\\n")
    {0: 4000}
    """
    nodes: dict[int, int] = {}
    node = 0
    for match in _PRESENT.finditer(text):
        if match[1] is not None:
            node = int(match[1])
        elif int(match[2]):
            nodes[node] = nodes.get(node, 0) + int(match[2])
    return nodes


def _nodes(proc_fd: int) -> dict[int, int]:
    try:
        return parse_zoneinfo(read_records_at(proc_fd, "zoneinfo"))
    except OSError:
        return {}


def _optional(proc_fd: int, name: str) -> bytes | None:
    try:
        return read_at(proc_fd, name)
    except OSError:
        return None


def _text(proc_fd: int, name: str) -> str | None:
    text = _optional(proc_fd, name)
    return None if text is None else text.decode("utf-8", "surrogateescape").strip()
