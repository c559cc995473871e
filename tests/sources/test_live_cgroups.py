"""Real memcgs of our own, and processes in them.

Belongs here: what only root on a machine with a memory controller can try. Must not know: fake trees.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from oompolicy.sources.cgroup_mount import Hierarchy, find_memory_hierarchy
from oompolicy.sources.live import live_snapshot
from sources.programs import HOLDS_MEMORY, python


@dataclass
class OwnMemcg:
    """A memcg of the tests' own, and the names of the files in it."""

    hierarchy: Hierarchy
    directory: Path

    @property
    def path(self) -> str:
        return f"/{self.directory.name}"

    def write_limit(self, size: int) -> None:
        name = "memory.limit_in_bytes" if self.hierarchy.version == "v1" else "memory.max"
        (self.directory / name).write_text(str(size))


@pytest.fixture
def own_memcg() -> Iterator[OwnMemcg]:
    hierarchy = find_memory_hierarchy(Path("/proc"), Path("/sys"))
    if os.geteuid() != 0 or hierarchy is None:
        pytest.skip("needs root and a memory controller: makes a cgroup")
    directory = hierarchy.directory / f"oompolicy-test-live-{os.getpid()}"
    try:
        directory.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup of our own can be made: {error}")
    try:
        yield OwnMemcg(hierarchy, directory)
    finally:
        for path in sorted(directory.rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
        directory.rmdir()


@pytest.mark.root
def test_a_process_is_in_its_memcg_with_its_limit(own_memcg: OwnMemcg) -> None:
    own_memcg.write_limit(64 << 20)
    inner = own_memcg.directory / "caf\udce9 and more"
    inner.mkdir()
    with python(HOLDS_MEMORY, "2", "0") as process:
        (inner / "cgroup.procs").write_text(str(process.pid))
        snapshot = live_snapshot()
        process.kill()
        process.wait()
    memcg = snapshot.task(process.pid).memcg
    assert memcg is not None
    assert memcg is snapshot.memcg(f"{own_memcg.path}/caf\udce9 and more")
    assert memcg.parent is snapshot.memcg(own_memcg.path)
    assert memcg.parent.max_pages == (64 << 20) // snapshot.page_size_bytes
    assert memcg.max_pages is None
    assert memcg.id == inner.stat().st_ino


@pytest.mark.root
def test_siblings_are_in_order_of_creation(own_memcg: OwnMemcg) -> None:
    names = ["z", "a", "m", "b"]
    for name in names:
        (own_memcg.directory / name).mkdir()
    memcgs = live_snapshot().kernel.memcgs
    assert [memcg.path.split("/")[2] for memcg in memcgs if memcg.path.startswith(own_memcg.path + "/")] == names


@pytest.mark.root
def test_cgroups_that_come_and_go_are_whole_or_left_out(own_memcg: OwnMemcg) -> None:
    stop = threading.Event()
    limit = "memory.limit_in_bytes" if own_memcg.hierarchy.version == "v1" else "memory.max"

    def churn() -> None:
        sleeper = os.fork()
        if sleeper == 0:
            time.sleep(60)
            os._exit(0)
        try:
            while not stop.is_set():
                inner = own_memcg.directory / "inner"
                inner.mkdir()
                (inner / limit).write_text(str(32 << 20))
                (inner / "cgroup.procs").write_text(str(sleeper))
                (own_memcg.directory / "cgroup.procs").write_text(str(sleeper))
                inner.rmdir()
        finally:
            os.kill(sleeper, 9)
            os.waitpid(sleeper, 0)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        seen = 0
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            snapshot = live_snapshot()
            inner = snapshot.kernel.memcg(f"{own_memcg.path}/inner")
            seen += inner is not None
            known = set(snapshot.kernel.memcgs)
            assert all(task.memcg is None or task.memcg in known for task in snapshot.kernel.tasks)
            assert not any("cgroup" in sentence for sentence in snapshot.missing)
    finally:
        stop.set()
        thread.join()
    assert seen


@pytest.mark.root
def test_a_process_cannot_hide_in_a_deep_cgroup(own_memcg: OwnMemcg) -> None:
    deep = own_memcg.directory
    descriptors = [os.open(deep, os.O_RDONLY)]
    try:
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=descriptors[-1])
            descriptors.append(os.open("d" * 250, os.O_RDONLY, dir_fd=descriptors[-1]))
        with python(HOLDS_MEMORY, "2", "0") as process:
            procs = os.open("cgroup.procs", os.O_WRONLY, dir_fd=descriptors[-1])
            os.write(procs, str(process.pid).encode())
            os.close(procs)
            snapshot = live_snapshot()
            process.kill()
            process.wait()
    finally:
        for descriptor in reversed(descriptors):
            with contextlib.suppress(OSError):
                os.rmdir("d" * 250, dir_fd=descriptor)
            os.close(descriptor)
    task = snapshot.task(process.pid)
    assert task.mm is not None
    # Some kernels cut the path short, and it counts for the deepest one known; others refuse to show it.
    if task.memcg is None:
        assert any(f"cgroup cannot be told: 1 (pid {process.pid})" in sentence for sentence in snapshot.missing)
    else:
        assert task.memcg.path.startswith(f"{own_memcg.path}/ddd")
    assert any("cannot be read: left out, with those below" in sentence for sentence in snapshot.missing)
    assert max(map(len, snapshot.missing)) < 200
