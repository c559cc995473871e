"""Memory cgroups of fake trees, v1, v2 and hybrid.

Belongs here: what each file gives, the tree's order, whose memcg a process is in. Must not know: this machine.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oompolicy.errors import SourceError
from oompolicy.mm.memcontrol import MemCgroup, mem_cgroup_get_max
from oompolicy.sources.cgroup_mount import Hierarchy, find_memory_hierarchy
from oompolicy.sources.cgroupfs import Memcgs, read_memcgs
from oompolicy.sources.kernel_file import read_at
from oompolicy.sources.live import live_snapshot
from sources.fake_machine import MOUNTINFO, FakeMachine, Proc

MIB = 1 << 20


def memcgs_of(machine: FakeMachine) -> dict[str, MemCgroup]:
    return {memcg.path: memcg for memcg in live_snapshot(machine.proc, machine.sys).kernel.memcgs}


def test_every_v2_file_is_read(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v2")
    directory = machine.memcg(
        "/db",
        current=40 * MIB,
        max=64 * MIB,
        high=60 * MIB,
        min=4 * MIB,
        low=8 * MIB,
        swap__current=12288,
        swap__max=16 * MIB,
        oom__group=1,
    )
    (machine.proc / "sys/vm/swappiness").write_text("10\n")
    memcg = memcgs_of(machine)["/db"]
    assert (memcg.usage_pages, memcg.max_pages, memcg.high_pages) == (10240, 16384, 15360)
    assert (memcg.min_pages, memcg.low_pages) == (1024, 2048)
    assert (memcg.swap_pages, memcg.swap_max_pages, memcg.memsw_max_pages) == (3, 4096, None)
    assert (memcg.oom_group, memcg.is_v1, memcg.swappiness) == (True, False, 10)
    assert memcg.id == directory.stat().st_ino
    assert memcg.parent is not None
    assert (memcg.parent.path, memcg.parent.parent) == ("/", None)


def test_every_v1_file_is_read(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v1")
    machine.memcg(
        "/db",
        usage_in_bytes=40 * MIB,
        limit_in_bytes=64 * MIB,
        memsw__usage_in_bytes=41 * MIB,
        memsw__limit_in_bytes=80 * MIB,
        swappiness=0,
        oom_control="oom_kill_disable 1\nunder_oom 0\n",
    )
    memcg = memcgs_of(machine)["/db"]
    assert (memcg.usage_pages, memcg.max_pages, memcg.memsw_max_pages) == (10240, 16384, 20480)
    assert (memcg.swap_pages, memcg.swap_max_pages) == (256, None)
    assert (memcg.swappiness, memcg.oom_kill_disable, memcg.is_v1) == (0, True, True)


@pytest.mark.parametrize("kind", ["v1", "v2", "hybrid"])
def test_without_limits_there_are_none(tmp_path: Path, kind: str) -> None:
    machine = FakeMachine(tmp_path, kind)
    machine.memcg("/a")
    memcg = memcgs_of(machine)["/a"]
    assert (memcg.max_pages, memcg.high_pages, memcg.swap_max_pages, memcg.memsw_max_pages) == (None, None, None, None)


def test_protection_may_be_without_limit(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v2")
    machine.memcg("/a", min="max")
    assert memcgs_of(machine)["/a"].min_pages == ((1 << 63) - 1) // os.sysconf("SC_PAGE_SIZE")


def test_a_kernel_without_swap_accounting_has_no_such_files(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v1")
    directory = machine.memcg("/a", limit_in_bytes=4096)
    for name in ("memory.memsw.usage_in_bytes", "memory.memsw.limit_in_bytes", "memory.swappiness"):
        (directory / name).unlink()
    memcg = memcgs_of(machine)["/a"]
    assert (memcg.max_pages, memcg.swap_pages, memcg.memsw_max_pages, memcg.swappiness) == (1, None, None, 60)


def test_the_v2_root_is_a_memcg_without_files(tmp_path: Path) -> None:
    root = memcgs_of(FakeMachine(tmp_path, "v2"))["/"]
    assert (root.usage_pages, root.max_pages, root.parent) == (None, None, None)
    assert mem_cgroup_get_max(root, 5) > 1 << 50


def test_the_tree_is_in_pre_order_and_siblings_by_id(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v2")
    for path in ("/z", "/a", "/a/2", "/a/1", "/m", "/z/x", "/z/x/y"):
        machine.memcg(path)
    snapshot = live_snapshot(machine.proc, machine.sys)

    def by_id(path: str, *children: list[str]) -> list[str]:
        children_by_id = sorted(children, key=lambda tree: (machine.cgroups / tree[0][1:]).stat().st_ino)
        return [path, *(one for tree in children_by_id for one in tree)]

    expected = by_id("/", by_id("/z", by_id("/z/x", ["/z/x/y"])), by_id("/a", ["/a/2"], ["/a/1"]), ["/m"])
    assert [memcg.path for memcg in snapshot.kernel.memcgs] == expected
    assert snapshot.memcg("/z/x/y").depth == 3


def test_on_a_hybrid_machine_the_hierarchy_is_the_one_with_the_controller(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "hybrid", Proc(70, cgroup="/batch"))
    machine.memcg("/batch", limit_in_bytes=4096)
    (machine.sys / "fs/cgroup/unified/user.slice").mkdir()
    snapshot = live_snapshot(machine.proc, machine.sys)
    assert snapshot.hierarchy == "v1"
    assert [memcg.path for memcg in snapshot.kernel.memcgs] == ["/", "/batch"]
    assert snapshot.task(70).memcg is snapshot.memcg("/batch")


def test_a_hybrid_machine_may_have_the_controller_in_v2(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "hybrid")
    (machine.proc / "self/mountinfo").write_text(MOUNTINFO["hybrid"].replace("rw,memory\n", "rw,freezer\n"))
    (machine.sys / "fs/cgroup/unified/cgroup.controllers").write_text("memory\n")
    hierarchy = find_memory_hierarchy(machine.proc, machine.sys)
    assert hierarchy == Hierarchy(machine.sys / "fs/cgroup/unified", "v2")


def test_a_v2_cgroup_without_the_controller_counts_for_the_memcg_above(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v2", Proc(70, cgroup="/app/threads/deep"), Proc(71, cgroup="/nothing"))
    machine.memcg("/app")
    (machine.cgroups / "app/threads/deep").mkdir(parents=True)
    (machine.cgroups / "nothing").mkdir()
    snapshot = live_snapshot(machine.proc, machine.sys)
    assert [memcg.path for memcg in snapshot.kernel.memcgs] == ["/", "/app"]
    assert snapshot.task(70).memcg is snapshot.memcg("/app")
    assert snapshot.task(71).memcg is snapshot.memcg("/")


def test_a_cgroup_that_vanished_while_it_was_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its limit was not read any more: it must not pass for one without limits."""
    machine = FakeMachine(tmp_path, "v2")
    machine.memcg("/gone", max=4096)
    machine.memcg("/stays", max=4096)

    def vanishing(dir_fd: int, name: str) -> bytes:
        text = read_at(dir_fd, name)
        here = Path(f"/proc/self/fd/{dir_fd}").resolve()
        if name == "memory.current" and here.name == "gone":
            for file in here.iterdir():
                file.unlink()
        return text

    monkeypatch.setattr("oompolicy.sources.cgroupfs.read_at", vanishing)
    assert set(memcgs_of(machine)) == {"/", "/stays"}


def test_a_process_whose_cgroup_vanished_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has moved, or ended with its cgroup; one that says it is in a new one counts for the one above."""
    processes = [Proc(pid, cgroup="/here/gone") for pid in (70, 71, 72)]
    machine = FakeMachine(tmp_path, "v1", *processes)
    machine.memcg("/here")
    machine.memcg("/other")

    def later(hierarchy: Hierarchy, page_size: int, swappiness: int) -> Memcgs:
        (machine.proc / "70/cgroup").write_text("4:memory:/other\n")
        (machine.proc / "71/stat").unlink()
        return read_memcgs(hierarchy, page_size, swappiness)

    monkeypatch.setattr("oompolicy.sources.live.read_memcgs", later)
    snapshot = live_snapshot(machine.proc, machine.sys)
    homes = {task.pid: task.memcg for task in snapshot.kernel.tasks if task.pid != 1}
    assert homes == {70: snapshot.memcg("/other"), 72: snapshot.memcg("/here")}


def test_names_may_hold_spaces_colons_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    names = ["/two words", "/a:b::c", "/caf\udce9", "/x (deleted)", "/..."]
    processes = [Proc(70 + index, cgroup=name) for index, name in enumerate(names)]
    machine = FakeMachine(tmp_path, "v2", *processes)
    for name in (*names, "/new\nline"):  # the kernel refuses the last one, cgroup_mkdir() in kernel/cgroup/cgroup.c
        machine.memcg(name)
    snapshot = live_snapshot(machine.proc, machine.sys)
    assert {memcg.path for memcg in snapshot.kernel.memcgs} == {"/", "/new\nline", *names}
    for process in processes:
        assert snapshot.task(process.pid).memcg is snapshot.memcg(process.cgroup)


def test_a_zombie_of_a_removed_cgroup_counts_for_the_one_above(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v2", Proc(70, anon=None, state="Z", flags=4, cgroup="/a/gone (deleted)"))
    machine.memcg("/a")
    snapshot = live_snapshot(machine.proc, machine.sys)
    assert snapshot.task(70).memcg is snapshot.memcg("/a")


def test_unreadable_cgroups_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = FakeMachine(tmp_path, "v1", Proc(70, cgroup="/a"))
    machine.memcg("/a")

    def refused(dir_fd: int, name: str) -> bytes:
        if Path(f"/proc/self/fd/{dir_fd}").resolve().name == "a":
            raise PermissionError(13, "Permission denied")
        return read_at(dir_fd, name)

    monkeypatch.setattr("oompolicy.sources.cgroupfs.read_at", refused)
    snapshot = live_snapshot(machine.proc, machine.sys)
    assert snapshot.missing == ("cgroup /a cannot be read: left out, with those below",)
    assert snapshot.task(70).memcg is snapshot.memcg("/")


@pytest.mark.parametrize(
    ("mount_root", "proc_cgroup", "expected"),
    [
        ("/", "/a/b", "/a/b"),
        ("/", "/", "/"),
        ("/docker/1f", "/docker/1f/app", "/app"),  # a container that sees the hierarchy's own paths
        ("/docker/1f", "/docker/1f", "/"),
        ("/docker/1f", "/docker/1f0", None),
        ("/docker/1f", "/system.slice", None),
        ("/", "/../other", None),  # a cgroup namespace, and a process outside it
        ("/..", "/../sibling", "/sibling"),  # the mount is from outside the namespace, one step up
        ("/..", "/..", "/"),
        ("/..", "/mine", None),  # below the namespace's root, whose name is not known here
        ("/../..", "/../x", None),
        ("/../x", "/../x/y", "/y"),
    ],
)
def test_paths_in_namespaces_and_containers(mount_root: str, proc_cgroup: str, expected: str | None) -> None:
    v2 = Hierarchy(Path("/sys/fs/cgroup"), "v2", mount_root)
    assert v2.path_of(f"4:memory:/wrong\n0::{proc_cgroup}\n".encode()) == expected
    v1 = Hierarchy(Path("/sys/fs/cgroup/memory"), "v1", mount_root)
    assert v1.path_of(f"9:name=memory:/wrong\n4:hugetlb,memory:{proc_cgroup}\n0::/wrong\n".encode()) == expected
    assert v1.path_of(b"") is None


def test_the_whole_mount_is_taken_before_a_part_of_it(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v2")
    part = MOUNTINFO["v2"].replace(" / /sys/fs/cgroup ", " /docker/1f /sys/part ")
    (machine.sys / "part").mkdir()
    (machine.sys / "part/cgroup.controllers").write_text("memory\n")
    (machine.proc / "self/mountinfo").write_text(part + MOUNTINFO["v2"])
    assert find_memory_hierarchy(machine.proc, machine.sys) == Hierarchy(machine.cgroups, "v2", "/")


def test_mount_points_may_hold_spaces_and_lie_elsewhere(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, "v2")
    elsewhere = tmp_path / "my cgroups"
    elsewhere.mkdir()
    line = f"30 24 0:26 / {str(elsewhere).replace(' ', chr(92) + '040')} rw - cgroup cgroup rw,memory\n"
    (machine.proc / "self/mountinfo").write_text("not a mount\n" + line)
    assert find_memory_hierarchy(machine.proc, machine.sys) == Hierarchy(elsewhere, "v1")


def test_a_root_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read_memcgs(Hierarchy(tmp_path / "nowhere", "v2"), 4096, 60)
