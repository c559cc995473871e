"""This very machine: our own processes, against what the kernel says of them.

Belongs here: agreement with the kernel, and reading while processes come and go. Must not know: fake trees, cgroups.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from oompolicy.mm.limits import div_long
from oompolicy.mm.oom_kill import oom_badness
from oompolicy.mm.sched import Task
from oompolicy.snapshot import Snapshot
from oompolicy.sources.kernel_file import is_gone, read_at
from oompolicy.sources.live import live_snapshot
from sources.programs import HOLDS_MEMORY, IN_VFORK, LEADER_EXITS, PROGRAM_START, SPAWNS, python

is_root = os.geteuid() == 0
SYS_EXIT = {"x86_64": 60, "aarch64": 93, "riscv64": 93}.get(platform.machine())


def status_kb(pid: int | str) -> dict[str, str]:
    lines = (line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return {name: text.removesuffix(" kB").strip() for name, text in lines}


def test_a_process_of_ours_agrees_with_its_status() -> None:
    with python(HOLDS_MEMORY, "40", "77") as process:
        snapshot = live_snapshot()
        task, status = snapshot.task(process.pid), status_kb(process.pid)
        assert (task.comm, task.ppid, task.tgid) == (status["Name"], os.getpid(), process.pid)
        assert (task.uid, task.oom_score_adj) == (os.getuid(), 77)
        assert task.mm is not None
        page_kb = snapshot.page_size_bytes // 1024
        expected = {name: int(status[name]) // page_kb for name in ("VmSize", "RssAnon", "RssFile", "VmPTE", "VmSwap")}
        assert task.mm.total_vm_pages == expected["VmSize"]
        assert task.mm.pgtables_pages == expected["VmPTE"]
        assert task.mm.swap_pages == expected["VmSwap"]
        assert task.mm.rss_anon_pages == expected["RssAnon"] >= (40 << 10) // page_kb
        assert task.mm.rss_file_pages == expected["RssFile"]
        # get_mm_rss() may lag by a batch of 32 pages or twice the CPUs, for each CPU and each of three counters.
        lag = 3 * max(32, 2 * (os.cpu_count() or 1)) * (os.cpu_count() or 1)
        assert abs(task.mm.rss_pages - int(status["VmRSS"]) // page_kb) <= lag
        assert task.mm.rss_pages == int(Path(f"/proc/{process.pid}/stat").read_text().split(")")[1].split()[21])
        assert task.start_time_ns is not None
        assert snapshot.taken_boottime_ns is not None
        assert 0 <= snapshot.taken_boottime_ns - task.start_time_ns < 60 * 10**9
        assert not task.is_exiting


def kernel_score(task: Task, snapshot: Snapshot) -> int:
    """C: static int proc_oom_score(...), fs/proc/base.c, since commit 9066e5cfb73c (in v5.9)."""
    totalpages = snapshot.kernel.totalram_pages + snapshot.kernel.total_swap_pages
    badness = oom_badness(task, totalpages, snapshot.kernel.rules)
    return 0 if badness is None else (1000 + div_long(badness * 1000, totalpages)) * 2 // 3


def test_badness_is_the_kernels_own_oom_score() -> None:
    with contextlib.ExitStack() as stack:
        sizes = [("1", "0"), ("20", "1000"), ("60", "-500" if is_root else "1"), ("8", "333"), ("150", "5")]
        sizes += [("4", "-1000"), ("30", "-999")] if is_root else []
        processes = [stack.enter_context(python(HOLDS_MEMORY, *arguments)) for arguments in sizes]
        snapshot = live_snapshot()
        expected = [int(Path(f"/proc/{process.pid}/oom_score").read_text()) for process in processes]
        assert [kernel_score(snapshot.task(process.pid), snapshot) for process in processes] == expected


def test_the_kernel_scores_all_processes_as_the_snapshot_does() -> None:
    """Within a point: other processes go on while they are read."""
    snapshot = live_snapshot()
    compared = 0
    for task in snapshot.kernel.tasks:
        try:
            score = int(Path(f"/proc/{task.process_id}/oom_score").read_text())
        except OSError:
            continue
        if score and task.mm is not None and task.process_id != 1:
            assert abs(kernel_score(task, snapshot) - score) <= 1, task.comm
            compared += 1
    assert compared


@pytest.mark.skipif(SYS_EXIT is None, reason="the number of exit(2) is not known for this processor")
def test_a_process_whose_leader_has_exited_is_weighed_by_its_living_thread() -> None:
    with python(LEADER_EXITS, str(SYS_EXIT)) as process:
        assert "VmSize" not in status_kb(process.pid)
        snapshot = live_snapshot()
        task = snapshot.task(process.pid)
        score = int(Path(f"/proc/{process.pid}/oom_score").read_text())
        assert (task.tgid, task.comm) == (process.pid, "holder")
        assert task.pid != process.pid
        assert task.mm is not None
        assert task.mm.rss_anon_pages is not None
        assert task.mm.rss_anon_pages * snapshot.page_size_bytes >= 30 << 20
        assert kernel_score(task, snapshot) == score > 0
        assert not task.is_exiting
        ours = snapshot.task(os.getpid()).memcg
        assert task.memcg is ours  # although v1 shows the leader in "/"


def test_a_zombie_has_no_memory() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        task = live_snapshot().task(pid)
        assert (task.mm, task.is_exiting) == (None, True)
    finally:
        os.waitpid(pid, 0)


def test_the_directory_of_a_process_does_not_outlive_it() -> None:
    """What makes reading race-free: the open directory is of the process, not of the number."""
    with python(HOLDS_MEMORY, "1", "0") as process:
        dir_fd = os.open(f"/proc/{process.pid}", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError) as raised:  # noqa: PT011 (is_gone is what is tested)
            read_at(dir_fd, "stat")
        assert is_gone(raised.value)
    finally:
        os.close(dir_fd)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the number of kcmp(2) is not known here")
def test_a_child_in_the_middle_of_vfork_is_seen(tmp_path: Path) -> None:
    with python(IN_VFORK, str(tmp_path / "fifo")) as process:
        snapshot = live_snapshot()
        (child,) = snapshot.kernel.children(snapshot.task(process.pid))
        try:
            if not child.in_vfork and ctypes.CDLL(None).syscall(312, os.getpid(), os.getpid(), 1, 0, 0) != 0:
                pytest.skip("kcmp(2) is refused here")
            assert child.in_vfork
            assert not snapshot.task(process.pid).in_vfork
            assert Path(f"/proc/{child.pid}/oom_score").read_text() == "0\n"
        finally:
            os.kill(child.pid, 9)


def test_forked_children_are_not_in_vfork() -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    try:
        assert not live_snapshot().task(pid).in_vfork
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_processes_that_come_and_go_are_never_mixed() -> None:
    with contextlib.ExitStack() as stack:
        parents = {stack.enter_context(python(SPAWNS, str(adj))).pid: adj for adj in (601, 702, 803)}
        own = {os.getpid(), *parents}
        seen: Counter[str] = Counter()
        began = time.monotonic()
        # A child lives for a moment: as long as it takes until one of each has been seen, and two seconds at least.
        while (past_s := time.monotonic() - began) < 2 or (
            past_s < 20 and not all(seen[f"oomp-{adj}"] for adj in parents.values())
        ):
            snapshot = live_snapshot()
            assert snapshot.missing == live_snapshot().missing
            for task in snapshot.kernel.tasks:
                if task.comm.startswith("oomp-"):
                    seen[task.comm] += task.process_id not in own
                    assert task.oom_score_adj == int(task.comm[5:])
                    if task.process_id not in own and task.ppid in parents:
                        assert parents[task.ppid] == task.oom_score_adj
    assert all(seen[f"oomp-{adj}"] for adj in parents.values()), seen


def test_ids_and_order_are_unique_and_parents_come_first() -> None:
    kernel = live_snapshot().kernel
    assert len({task.pid for task in kernel.tasks}) == len(kernel.tasks)
    place = {task.process_id: index for index, task in enumerate(kernel.tasks)}
    ours = kernel.tasks[place[os.getpid()]]
    assert ours.ppid is not None
    assert place[ours.ppid] < place[os.getpid()]
    seen = set()
    for memcg in kernel.memcgs:
        assert memcg.parent is None or memcg.parent in seen
        seen.add(memcg)


UNPRIVILEGED = """
import os, sys
libc.unshare(0x20000) == 0 or sys.exit("unshare")
libc.mount(b"none", b"/", None, 0x44000, None) == 0 or sys.exit("private")  # MS_REC | MS_PRIVATE
libc.mount(b"proc", sys.argv[1].encode(), b"proc", 0, b"hidepid=" + sys.argv[2].encode()) == 0 or sys.exit("mount")
from oompolicy.sources.live import live_snapshot
live_snapshot(sys.argv[1])  # whatever is imported late is so now: the interpreter may be where only root looks
os.setgroups([]); os.setgid(65534); os.setuid(65534)
snapshot = live_snapshot(sys.argv[1])
print(len(snapshot.kernel.tasks), *snapshot.missing, sep="\\n")
"""


@pytest.mark.root
@pytest.mark.parametrize(("hidepid", "sentence"), [("1", "may not be read are left out"), ("2", "are hidden")])
def test_an_unprivileged_user_gets_what_there_is_and_what_is_missing(hidepid: str, sentence: str) -> None:
    if not is_root:
        pytest.skip("needs root: mounts a procfs of its own")
    with tempfile.TemporaryDirectory() as mount_point:
        Path(mount_point).chmod(0o755)
        command = [sys.executable, "-c", PROGRAM_START + UNPRIVILEGED, mount_point, hidepid]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and done.stderr.strip() in ("unshare", "private", "mount"):
        pytest.skip(f"no mount namespace can be had here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    tasks, *missing = done.stdout.splitlines()
    assert int(tasks) == 1
    assert any(sentence in one for one in missing), missing
