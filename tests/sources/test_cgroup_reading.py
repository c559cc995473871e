"""Readings of one cgroup: v2 and v1 from files that the test writes, v1 and removal also from real ones."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from oompolicy.errors import GoneError, SourceError
from oompolicy.rules.readings import CgroupReading, Stall
from oompolicy.sources.cgroup_mount import find_memory_hierarchy
from oompolicy.sources.cgroup_reading import CgroupReader
from sources.fake_machine import write

V2 = {
    "memory.current": "1000000\n",
    "memory.swap.current": "2000\n",
    "memory.max": "max\n",
    "memory.high": "5000000\n",
    "memory.low": "0\n",
    "memory.min": "max\n",
    "memory.swap.max": "0\n",
    "memory.stat": (
        "anon 600\nfile 300\nfile_mapped 7\npgscan 50\npgscan_kswapd 50\npgsteal 40\nworkingset_refault_anon 1\n"
        "workingset_refault_file 2\n"
    ),
    "io.stat": "8:0 rbytes=100 wbytes=20 rios=9 wios=9 dbytes=0 dios=0\n254:0 rbytes=3 wbytes=4 rios=1 wios=1\n",
    "memory.pressure": "some avg10=1.00 avg60=0.00 avg300=0.00 total=9\n",
    "memory.events": "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n",
    "memory.events.local": "low 0\nhigh 10\nmax 11\noom 12\noom_kill 13\noom_group_kill 14\n",
    "pids.current": "17\n",
    "cgroup.stat": "nr_descendants 3\nnr_dying_descendants 8\n",
    "cgroup.events": "populated 1\nfrozen 1\n",
    "cgroup.procs": "",
}
ALL = (*V2, "io.pressure", "cpu.pressure")


def made(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        write(folder / name, text)
    return folder


def test_every_field_of_v2_is_read_from_its_file(tmp_path: Path) -> None:
    reading = CgroupReader(made(tmp_path, V2), "/a", "v2", ALL).read()
    assert reading == CgroupReading(
        "/a",
        current_bytes=1_000_000,
        swap_current_bytes=2000,
        max_bytes=None,
        high_bytes=5_000_000,
        low_bytes=0,
        min_bytes=None,
        swap_max_bytes=0,
        anon_bytes=600,
        file_bytes=300,
        io_bytes=127,
        memory=dataclasses.replace(reading.memory, some=Stall(avg10=1.0, total_us=9)),
        events_low=1,
        events_high=2,
        events_max=3,
        events_oom=4,
        events_oom_kill=5,
        events_oom_group_kill=6,
        events_local_low=0,
        events_local_high=10,
        events_local_max=11,
        events_local_oom=12,
        events_local_oom_kill=13,
        events_local_oom_group_kill=14,
        scanned_pages=50,
        reclaimed_pages=40,
        refaulted_pages=3,
        pids=17,
        dying_descendants=8,
        is_frozen=True,
    )


def test_what_v1_has_is_read_and_the_rest_is_none(tmp_path: Path) -> None:
    files = {
        "memory.usage_in_bytes": "4096\n",
        "memory.limit_in_bytes": "9223372036854771712\n",
        "memory.failcnt": "3\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n",
        "memory.stat": "cache 1\nrss 2\ntotal_cache 10\ntotal_rss 20\ntotal_swap 30\ntotal_workingset_refault_file 4\n",
    }
    reading = CgroupReader(made(tmp_path, files), "/a", "v1", ALL).read()
    known = CgroupReading(
        "/a", 4096, 30, anon_bytes=20, file_bytes=10, events_max=3, events_oom_kill=7, refaulted_pages=4
    )
    assert dataclasses.replace(reading, never=frozenset()) == known


@pytest.mark.parametrize("is_kept", [True, False])
def test_an_older_kernel_has_fewer_files(tmp_path: Path, is_kept: bool) -> None:
    reader = CgroupReader(made(tmp_path, {"cgroup.procs": ""}), "/a", "v2", ALL, is_kept)
    assert reader.read() == CgroupReading("/a")
    write(tmp_path / "memory.current", "5\n")
    assert reader.read().current_bytes == 5


def test_only_wanted_files_are_held(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    reader = CgroupReader(made(tmp_path, V2), "/a", "v2", ("memory.current", "memory.stat"))
    assert len(os.listdir("/proc/self/fd")) == before + reader.descriptors == before + 2  # .current, .stat
    assert reader.read() == CgroupReading(
        "/a", 1_000_000, anon_bytes=600, file_bytes=300, scanned_pages=50, reclaimed_pages=40, refaulted_pages=3
    )
    reader.close()
    reader.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_damage_is_an_error_with_the_cgroup_s_name(tmp_path: Path) -> None:
    reader = CgroupReader(made(tmp_path, {**V2, "memory.current": "lots\n"}), "/a", "v2", ("memory.current",))
    with pytest.raises(SourceError, match="cgroup /a: cannot be read"):
        reader.read()


@pytest.fixture
def real_cgroup() -> Iterator[Path]:
    hierarchy = find_memory_hierarchy(Path("/proc"), Path("/sys"))
    if os.geteuid() != 0 or hierarchy is None:
        pytest.skip("needs root and a memory controller")
    path = Path(os.fsdecode(os.fsencode(hierarchy.directory) + b"/oompolicy-test-\xff-%d" % os.getpid()))
    path.mkdir()
    try:
        yield path
    finally:
        if path.exists():
            path.rmdir()


def test_of_v1_it_is_known_what_it_never_tells(tmp_path: Path) -> None:
    reading = CgroupReader(made(tmp_path, {}), "/a", "v1", ("memory.pressure",)).read()
    assert {"memory.pressure", "memory.high", "pids.current"} <= reading.never
    assert not {"memory.current", "memory.events", "memory.stat"} & reading.never


@pytest.mark.root
@pytest.mark.parametrize("is_kept", [True, False])
def test_a_cgroup_that_is_removed_while_it_is_held_is_gone(real_cgroup: Path, is_kept: bool) -> None:
    """Its name is not text: that is nobody's business here. (A newline cgroup_mkdir() refuses.)"""
    hierarchy = find_memory_hierarchy(Path("/proc"), Path("/sys"))
    assert hierarchy is not None
    path = "/" + real_cgroup.name
    reader = CgroupReader(real_cgroup, path, hierarchy.version, ("memory.current", "memory.stat"), is_kept)
    reading = reader.read()
    assert (reading.path, reading.current_bytes, reading.anon_bytes) == (path, 0, 0)
    real_cgroup.rmdir()
    with pytest.raises(GoneError, match="is gone"):
        reader.read()
    with pytest.raises(GoneError, match="is gone"):
        CgroupReader(real_cgroup, path, hierarchy.version, ("memory.current",)).read()
    reader.close()
