"""Names in a bpf file system, and where such file systems are."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bpf.by_hand import constant, load
from oompolicy.bpf.errors import BpfError
from oompolicy.bpf.links import Link
from oompolicy.bpf.map_kinds import PerCpuMap
from oompolicy.bpf.maps import Map, MapSpec, u32
from oompolicy.bpf.pins import bpffs_mounts, make_folder, mount_bpffs, open_pinned, pin, repin, unpin
from oompolicy.bpf.programs import Program
from oompolicy.bpf.uapi import MapType

VALUES = MapSpec(MapType.ARRAY, "values", 4, 4, 1)


@pytest.mark.root
def test_a_pinned_map_keeps_its_values(bpffs: Path) -> None:
    with Map.create(VALUES) as values:
        values.update(u32(0), u32(5))
        pin(values, bpffs / "values")
        with pytest.raises(BpfError, match="values: OBJ_PIN: the name is taken") as refused:
            pin(values, bpffs / "values")
        assert refused.value.errno == errno.EEXIST
    with open_pinned(bpffs / "values", Map) as again:
        assert (again.name, again.lookup(u32(0))) == ("values", u32(5))
    assert (unpin(bpffs / "values"), unpin(bpffs / "values")) == (True, False)
    with pytest.raises(BpfError, match="values: OBJ_GET: nothing is pinned there"):
        open_pinned(bpffs / "values", Map)


@pytest.mark.root
def test_kinds_of_maps_come_back_as_what_they_are_asked_for(bpffs: Path) -> None:
    with PerCpuMap.create(MapSpec(MapType.PERCPU_ARRAY, "each", 4, 8, 1)) as each:
        pin(each, bpffs / "each")
    with open_pinned(bpffs / "each", PerCpuMap) as again:
        assert again.lookup_each(u32(0)) == (bytes(8),) * again.cpus


@pytest.mark.root
def test_a_pin_is_not_taken_for_another_thing(bpffs: Path) -> None:
    with load(constant(7)) as program:
        pin(program, bpffs / "program")
        for kind in (Map, Link):
            with pytest.raises(BpfError, match="is a bpf-prog, not a bpf-"):
                open_pinned(bpffs / "program", kind)
    with open_pinned(bpffs / "program", Program) as again:
        assert (again.name, again.run().returned) == ("by_hand", 7)


@pytest.mark.root
def test_repin_takes_a_name_over(bpffs: Path) -> None:
    for number in (1, 2):
        with Map.create(VALUES) as values:
            values.update(u32(0), u32(number))
            repin(values, bpffs / "values")
    with open_pinned(bpffs / "values", Map) as again:
        assert again.lookup(u32(0)) == u32(2)
    assert not [path for path in bpffs.iterdir() if "new" in path.name]
    make_folder(bpffs / "folder")
    with Map.create(VALUES) as values:
        pin(values, bpffs / "folder/inside")
        with pytest.raises(BpfError, match="folder: cannot be replaced"):
            repin(values, bpffs / "folder")
    assert not [path for path in bpffs.iterdir() if "new" in path.name]


@pytest.mark.root
def test_folders_are_roots_alone(bpffs: Path) -> None:
    for _ in range(2):
        make_folder(bpffs / "oompolicy")
    assert (bpffs / "oompolicy").stat().st_mode & 0o777 == 0o700
    with Map.create(VALUES) as values, pytest.raises(BpfError, match="its folder is not there"):
        pin(values, bpffs / "nowhere/values")


@pytest.mark.root
def test_only_a_bpf_file_system_takes_pins(tmp_path: Path, bpf_here: None) -> None:
    with Map.create(VALUES) as values, pytest.raises(BpfError, match="not in a bpf file system: mount -t bpf"):
        pin(values, tmp_path / "values")
    (tmp_path / "file").touch()
    with pytest.raises(BpfError, match="file: OBJ_GET: not a pin"):
        open_pinned(tmp_path / "file", Map)


MOUNTINFO = """\
22 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
35 22 0:31 / /sys/fs/bpf rw,nosuid,nodev,noexec,relatime shared:11 master:3 - bpf bpf rw,mode=700
36 22 0:32 / /mnt/with\\040space rw - bpf none rw
37 22 0:33 / /bpf rw - tmpfs bpf rw
"""


def test_mounts_are_read_from_mountinfo(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    assert bpffs_mounts(tmp_path / "mountinfo") == [Path("/sys/fs/bpf"), Path("/mnt/with space")]


@pytest.mark.skipif("IN_GUEST" not in os.environ, reason="mounts a file system: only in a guest")
def test_a_file_system_is_mounted_and_found(tmp_path: Path) -> None:
    assert bpffs_mounts() == [Path("/sys/fs/bpf")]
    mount_bpffs(tmp_path)
    assert bpffs_mounts() == [Path("/sys/fs/bpf"), tmp_path]
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    with Map.create(VALUES) as values:
        pin(values, tmp_path / "values")
    os.spawnlp(os.P_WAIT, "umount", "umount", str(tmp_path))
    assert bpffs_mounts() == [Path("/sys/fs/bpf")]
    with pytest.raises(BpfError, match="no bpf file system can be mounted"):
        mount_bpffs(tmp_path / "nowhere")
