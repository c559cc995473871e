"""Readings of the machine, from a /proc that the test writes, and from the real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oompolicy.errors import SourceError
from oompolicy.rules.readings import Pressure, Stall
from oompolicy.sources.kept_file import KeptFile
from oompolicy.sources.machine_reading import MachineReader
from sources.fake_machine import write

MEMINFO = (
    "MemTotal:       8000000 kB\nMemFree:          90000 kB\nMemAvailable:   500000 kB\nBuffers:  1000 kB\n"
    "Cached:   20000 kB\nSwapCached:  7 kB\nShmem:  5000 kB\nSwapTotal:      2000000 kB\nSwapFree:       1500000 kB\n"
)
PRESSURE = (
    "some avg10=12.34 avg60=5.00 avg300=0.10 total=1405595\nfull avg10=3.00 avg60=0.00 avg300=0.00 total=639663\n"
)
VMSTAT = (
    "nr_free_pages 5\npgscan_kswapd 100\npgscan_direct 20\npgscan_direct_throttle 7\npgsteal_kswapd 60\n"
    "pgsteal_direct 10\nworkingset_refault_anon 3\nworkingset_refault_file 4\noom_kill 2\n"
)
ALL = ("vmstat", "pressure/memory", "pressure/io", "pressure/cpu")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    write(tmp_path / "meminfo", MEMINFO)
    write(tmp_path / "vmstat", VMSTAT)
    write(tmp_path / "pressure/memory", PRESSURE)
    write(tmp_path / "pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n")
    return tmp_path


def test_every_field_is_read_from_its_file(proc: Path) -> None:
    reading = MachineReader(proc, ALL).read()
    assert reading.mem_total_bytes == 8_000_000 * 1024
    assert reading.mem_available_bytes == 500_000 * 1024
    assert reading.mem_free_bytes == 90_000 * 1024
    assert (reading.swap_total_bytes, reading.swap_free_bytes) == (2_000_000 * 1024, 1_500_000 * 1024)
    assert reading.memory == Pressure(Stall(12.34, 5.0, 0.1, 1405595), Stall(3.0, 0.0, 0.0, 639663))
    assert (reading.cpu.some, reading.cpu.full) == (Stall(total_us=1), None)
    assert reading.io == Pressure()
    assert (reading.scanned_pages, reading.reclaimed_pages, reading.refaulted_pages) == (120, 70, 7)
    assert reading.oom_kills == 2


@pytest.mark.parametrize("lines", range(40))
def test_amounts_are_found_wherever_they_stand(proc: Path, lines: int) -> None:
    """Kernels differ in the lines before those of swap (HighTotal, MmapCopy), and what follows is not taken apart."""
    more = "".join(f"More{number}: 7 kB\n" for number in range(lines))
    write(proc / "meminfo", MEMINFO.replace("SwapTotal:", more + "SwapTotal:") + "Dirty: 9 kB\n" * 9)
    assert MachineReader(proc).glance()[3:] == (2_000_000 * 1024, 1_500_000 * 1024)


def test_what_nobody_wants_is_not_even_opened(proc: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    reader = MachineReader(proc)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    reading = reader.read()
    assert (reading.memory, reading.scanned_pages, reading.oom_kills) == (Pressure(), None, None)
    reader.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_it_is_read_anew_each_time(proc: Path) -> None:
    reader = MachineReader(proc)
    assert reader.glance() == (8_000_000 << 10, 500_000 << 10, 90_000 << 10, 2_000_000 << 10, 1_500_000 << 10)
    write(proc / "meminfo", MEMINFO.replace("500000", "400000", 1))
    assert reader.glance()[1] == 400_000 * 1024


def test_without_memavailable_what_can_be_dropped_at_once_counts(proc: Path) -> None:
    write(proc / "meminfo", "".join(line + "\n" for line in MEMINFO.splitlines() if "Available" not in line))
    assert MachineReader(proc).read().mem_available_bytes == (90_000 + 1000 + 20_000 - 5000) * 1024


@pytest.mark.parametrize("meminfo", ["", "MemTotal: 5 kB\n", "MemTotal: x kB\nMemFree: 1 kB\n"])
def test_amounts_that_are_not_known_are_an_error_and_never_nothing_left(proc: Path, meminfo: str) -> None:
    reader = MachineReader(proc)
    write(proc / "meminfo", meminfo)
    with pytest.raises(SourceError, match="does not say how much memory there is"):
        reader.read()
    with pytest.raises(SourceError):
        reader.glance()


def test_no_procfs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not there"):
        MachineReader(tmp_path / "nowhere").read()


def test_the_real_one_makes_sense() -> None:
    reading = MachineReader(Path("/proc"), ALL).read()
    assert 0 < reading.mem_free_bytes < reading.mem_total_bytes
    assert 0 < reading.mem_available_bytes < reading.mem_total_bytes
    assert reading.scanned_pages is not None
    assert reading.refaulted_pages is not None


def test_a_file_of_many_pieces_is_read_whole() -> None:
    """vmstat is longer than a page, and comes in pieces of at most one."""
    kept = KeptFile("/proc/vmstat")
    assert kept.read() is not None
    names = {line.split()[0] for line in Path("/proc/vmstat").read_bytes().splitlines()}
    assert {line.split()[0] for line in (kept.read() or b"").splitlines()} == names
    kept.close()


def test_a_held_file_is_read_when_no_descriptor_is_to_be_had(proc: Path) -> None:
    import resource

    reader = MachineReader(proc, ALL)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.open("/proc/meminfo", os.O_RDONLY)
        assert reader.read().oom_kills == 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
