"""What zram devices hold: from folders of the test's own, and from this machine's."""

from __future__ import annotations

import os
from pathlib import Path

from oompolicy.rules.fields import ZRAM
from oompolicy.sources.machine_reading import MachineReader
from oompolicy.sources.zram import Zram, ZramReader
from sources.fake_machine import write

# mm_stat of a device with 1 GiB in it, on 6.12: nine columns.
FULL = "1073741824 268435456 285212672 0 300000000 12 0 34 56\n"
EMPTY = "       0        0        0        0        0        0        0        0        0\n"


def test_devices_add_up_as_they_come_and_go(tmp_path: Path) -> None:
    (tmp_path / "block").mkdir()
    reader = ZramReader(tmp_path)
    assert reader.read() == Zram(0, 0)
    write(tmp_path / "block/zram0/mm_stat", FULL)
    write(tmp_path / "block/zram1/mm_stat", EMPTY)
    write(tmp_path / "block/sda/mm_stat", FULL)
    before = len(os.listdir("/proc/self/fd"))
    assert reader.read() == Zram(1 << 30, 285_212_672)
    assert reader.read() == Zram(1 << 30, 285_212_672)
    assert len(os.listdir("/proc/self/fd")) == before + 2
    for name in ("zram0", "zram1"):
        (tmp_path / f"block/{name}/mm_stat").unlink()
        (tmp_path / f"block/{name}").rmdir()
    assert reader.read() == Zram(0, 0)
    assert len(os.listdir("/proc/self/fd")) == before
    reader.close()


def test_where_there_is_no_sysfs_it_is_not_known(tmp_path: Path) -> None:
    assert ZramReader(tmp_path / "nowhere").read() is None


def test_it_is_read_for_the_machine_where_it_is_wanted(tmp_path: Path) -> None:
    write(tmp_path / "sys/block/zram0/mm_stat", FULL)
    wanted = MachineReader(Path("/proc"), (ZRAM,), tmp_path / "sys")
    assert (wanted.read().zram_used_bytes, wanted.read().zram_stored_bytes) == (285_212_672, 1 << 30)
    wanted.close()
    other = MachineReader(Path("/proc"), (), tmp_path / "sys")
    assert other.read().zram_used_bytes is None
    other.close()
