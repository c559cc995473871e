"""The tree of cgroups, told of what changes: in folders of the test's own, and among real cgroups."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from oompolicy.rules.scopes import leads_to
from oompolicy.sources.cgroup_mount import find_memory_hierarchy
from oompolicy.sources.cgroup_tree import CgroupTree
from oompolicy.sources.inotify import IN_Q_OVERFLOW, Happened, Inotify
from sources.fake_machine import write


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    inotify = Inotify()
    yield inotify
    inotify.close()


def told(tree: CgroupTree, inotify: Inotify) -> bool:
    return True in [tree.take(happened) for happened in inotify.read()]


def test_what_is_made_and_removed_is_known_at_once(tmp_path: Path, inotify: Inotify) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    tree = CgroupTree(tmp_path, inotify)
    assert tree.paths == {"/", "/a", "/a/b"}
    assert tree.is_watched
    (tmp_path / "a/b/c").mkdir()
    (tmp_path / "d").mkdir()
    assert told(tree, inotify)
    assert tree.paths == {"/", "/a", "/a/b", "/a/b/c", "/d"}
    for gone in ("a/b/c", "a/b", "a"):
        (tmp_path / gone).rmdir()
    assert told(tree, inotify)
    assert tree.paths == {"/", "/d"}
    (tmp_path / "a").mkdir()
    assert told(tree, inotify)
    assert "/a" in tree.paths


def test_what_is_made_inside_of_what_was_just_made_is_not_missed(tmp_path: Path, inotify: Inotify) -> None:
    tree = CgroupTree(tmp_path, inotify)
    (tmp_path / "x/y/z").mkdir(parents=True)
    assert told(tree, inotify)
    assert tree.paths == {"/", "/x", "/x/y", "/x/y/z"}
    (tmp_path / "x/y/z/deeper").mkdir()
    assert told(tree, inotify)
    assert "/x/y/z/deeper" in tree.paths


def test_only_what_may_lead_to_a_scope_is_watched_and_listed(tmp_path: Path, inotify: Inotify) -> None:
    (tmp_path / "user.slice/user-1.slice/session/deep").mkdir(parents=True)
    (tmp_path / "system.slice/a.service/inside").mkdir(parents=True)
    tree = CgroupTree(tmp_path, inotify, partial(leads_to, "/user.slice/*"))
    assert tree.paths == {"/", "/user.slice", "/user.slice/user-1.slice", "/system.slice"}
    (tmp_path / "system.slice/b.service").mkdir()
    (tmp_path / "user.slice/user-1.slice/more").mkdir()
    assert inotify.read() == []
    (tmp_path / "user.slice/user-2.slice/session").mkdir(parents=True)
    assert told(tree, inotify)
    assert "/user.slice/user-2.slice" in tree.paths
    (tmp_path / "user.slice/user-2.slice/session").rmdir()
    (tmp_path / "user.slice/user-2.slice").rmdir()
    assert told(tree, inotify)
    assert tree.paths == {"/", "/user.slice", "/user.slice/user-1.slice", "/system.slice"}


def test_watches_are_bounded(tmp_path: Path, inotify: Inotify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oompolicy.sources.cgroup_tree.WATCHES_MAX", 3)
    for name in "abcdef":
        (tmp_path / name).mkdir()
    tree = CgroupTree(tmp_path, inotify)
    assert len(tree.paths) == 7
    assert not tree.is_watched
    (tmp_path / "g").mkdir()
    assert told(tree, inotify)
    assert "/g" in tree.paths


def test_walking_tells_whether_anything_was_missed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    tree = CgroupTree(tmp_path, None)
    assert not tree.walk()
    (tmp_path / "a").rmdir()
    assert tree.walk()
    (tmp_path / "b").mkdir()
    assert tree.walk()
    assert tree.paths == {"/", "/b"}


def test_files_are_not_cgroups(tmp_path: Path, inotify: Inotify) -> None:
    tree = CgroupTree(tmp_path, inotify)
    write(tmp_path / "memory.current", "0\n")
    assert not told(tree, inotify)
    assert tree.paths == {"/"}


def test_names_may_be_anything_but_a_slash(tmp_path: Path, inotify: Inotify) -> None:
    tree = CgroupTree(tmp_path, inotify)
    name = os.fsdecode(b"new\nline \xff")
    (tmp_path / name).mkdir()
    assert told(tree, inotify)
    assert tree.paths == {"/", "/" + name}
    assert Path(tree.directory("/" + name)).is_dir()


def test_events_that_were_lost_are_made_up_for(tmp_path: Path, inotify: Inotify) -> None:
    tree = CgroupTree(tmp_path, inotify)
    (tmp_path / "a").mkdir()
    assert inotify.read() != []
    assert tree.take(Happened(-1, IN_Q_OVERFLOW, b""))
    assert tree.paths == {"/", "/a"}


def test_a_count_that_does_not_fit_tells_of_what_nobody_told(tmp_path: Path) -> None:
    """So it is where a container makes cgroups through a mount of its own."""
    write(tmp_path / "cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0\n")
    tree = CgroupTree(tmp_path, None)
    assert not tree.is_watched
    assert not tree.is_stale()
    (tmp_path / "a").mkdir()
    write(tmp_path / "cgroup.stat", "nr_descendants 1\nnr_dying_descendants 0\n")
    assert tree.is_stale()
    tree.walk()
    assert tree.paths == {"/", "/a"}
    assert not tree.is_stale()


def test_without_watches_left_it_says_that_it_is_not_told(tmp_path: Path, inotify: Inotify) -> None:
    class Full(Inotify):
        def add(self, path: str | bytes, mask: int) -> int:
            raise OSError(28, "no more watches", path)

    (tmp_path / "a").mkdir()
    full = Full()
    tree = CgroupTree(tmp_path, full)
    assert tree.paths == {"/", "/a"}
    assert not tree.is_watched
    full.close()


def test_ten_thousand_cgroups_are_found_and_followed(tmp_path: Path, inotify: Inotify) -> None:
    for index in range(10_000):
        (tmp_path / f"{index // 100}/{index % 100}").mkdir(parents=True)
    start = time.process_time()
    tree = CgroupTree(tmp_path, inotify)
    walked_s = time.process_time() - start
    assert len(tree.paths) == 10_000 + 100 + 1
    (tmp_path / "99/new").mkdir()
    start = time.process_time()
    assert told(tree, inotify)
    assert time.process_time() - start < 0.01  # one event costs one event, however many cgroups there are
    assert "/99/new" in tree.paths
    assert walked_s < 2
    start = time.process_time()
    for index in range(10_000):
        (tmp_path / f"{index // 100}/{index % 100}").rmdir()
    told(tree, inotify)
    assert len(tree.paths) == 100 + 1 + 1
    assert time.process_time() - start < 3  # nor has their going to be looked for among all the others


@pytest.mark.root
def test_the_kernel_tells_of_real_cgroups(inotify: Inotify) -> None:
    hierarchy = find_memory_hierarchy(Path("/proc"), Path("/sys"))
    if os.geteuid() != 0 or hierarchy is None:
        pytest.skip("needs root and a memory controller")
    top = hierarchy.directory / f"oompolicy-test-tree-{os.getpid()}"
    top.mkdir()
    try:
        tree = CgroupTree(top, inotify)
        (top / "child").mkdir()
        assert told(tree, inotify)
        assert tree.paths == {"/", "/child"}
        (top / "child").rmdir()
        assert told(tree, inotify)
        assert tree.paths == {"/"}
    finally:
        for path in (top / "child", top):
            if path.is_dir():
                path.rmdir()
