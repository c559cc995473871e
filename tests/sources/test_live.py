"""This very machine: our own processes and cgroups, against what the kernel says of them.

Belongs here: agreement with the kernel, and reading while processes and cgroups come and go. Must not know: fake trees.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from oompolicy.mm.limits import div_long
from oompolicy.mm.oom_kill import oom_badness
from oompolicy.mm.sched import Task
from oompolicy.snapshot import Snapshot
from oompolicy.sources.cgroup_mount import Hierarchy, find_memory_hierarchy
from oompolicy.sources.kernel_file import is_gone, read_at
from oompolicy.sources.live import live_snapshot

is_root = os.geteuid() == 0
SYS_EXIT = {"x86_64": 60, "aarch64": 93, "riscv64": 93}.get(platform.machine())
PROGRAM_START = "import ctypes, mmap, os, sys, threading, time\nlibc = ctypes.CDLL(None)\n"
READY = "print('ready', flush=True)\n"


@contextlib.contextmanager
def python(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program that says when it is ready; it ends with the block."""
    command = [sys.executable, "-c", PROGRAM_START + program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        patience = threading.Timer(20, process.kill)
        patience.start()
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            patience.cancel()
            process.kill()


HOLDS_MEMORY = (
    "memory = mmap.mmap(-1, int(sys.argv[1]) << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
    "for page in range(0, len(memory), 4096): memory[page] = 1\n"
    "open('/proc/self/oom_score_adj', 'w').write(sys.argv[2])\n" + READY + "time.sleep(60)\n"
)


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


LEADER_EXITS = (
    "def hold():\n"
    "    open(f'/proc/self/task/{threading.get_native_id()}/comm', 'w').write('holder')\n"
    "    memory = mmap.mmap(-1, 30 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
    "    for page in range(0, len(memory), 4096): memory[page] = 1\n"
    "    while open('/proc/self/stat').read().rpartition(')')[2].split()[0] != 'Z': time.sleep(0.01)\n"
    "    print('ready', flush=True)\n"
    "    time.sleep(60)\n"
    "threading.Thread(target=hold).start()\n"
    "libc.syscall(int(sys.argv[1]), 0)\n"
)


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


# Opening the fifo for reading, which posix_spawn() does in the child before exec, waits for a writer. Through ctypes,
# because os.posix_spawn() keeps the interpreter's lock.
IN_VFORK = (
    "actions, pid = ctypes.create_string_buffer(256), ctypes.c_int()\n"
    "os.mkfifo(sys.argv[1])\n"
    "libc.posix_spawn_file_actions_init(actions)\n"
    "libc.posix_spawn_file_actions_addopen(actions, 9, sys.argv[1].encode(), 0, 0)\n"
    "arguments = (ctypes.c_char_p * 2)(b'true', None)\n"
    "spawn = lambda: libc.posix_spawn(ctypes.byref(pid), b'/bin/true', actions, None, arguments, None)\n"
    "thread = threading.Thread(target=spawn, daemon=True)\n"
    "thread.start()\n"
    "while ' D ' not in open(f'/proc/self/task/{thread.native_id}/stat').read(): time.sleep(0.01)\n"
    + READY
    + "time.sleep(60)\n"
)


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


# Names itself and sets its adjustment, then makes short-lived children that inherit both.
SPAWNS = (
    "open('/proc/self/comm', 'w').write('oomp-' + sys.argv[1])\n"
    "open('/proc/self/oom_score_adj', 'w').write(sys.argv[1])\n" + READY + "while True:\n"
    "    child = os.fork()\n"
    "    if child == 0: os._exit(0)\n"
    "    os.waitpid(child, 0)\n"
)


def test_processes_that_come_and_go_are_never_mixed() -> None:
    with contextlib.ExitStack() as stack:
        parents = {stack.enter_context(python(SPAWNS, str(adj))).pid: adj for adj in (601, 702, 803)}
        own = {os.getpid(), *parents}
        seen: Counter[str] = Counter()
        end = time.monotonic() + 2
        while time.monotonic() < end:
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
    if not is_root or hierarchy is None:
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


UNPRIVILEGED = """
import os, sys
libc.unshare(0x20000) == 0 or sys.exit("unshare")
libc.mount(b"none", b"/", None, 0x44000, None) == 0 or sys.exit("private")  # MS_REC | MS_PRIVATE
libc.mount(b"proc", sys.argv[1].encode(), b"proc", 0, b"hidepid=" + sys.argv[2].encode()) == 0 or sys.exit("mount")
os.setgroups([]); os.setgid(65534); os.setuid(65534)
from oompolicy.sources.live import live_snapshot
snapshot = live_snapshot(sys.argv[1])
print(len(snapshot.kernel.tasks), *snapshot.missing, sep="\\n")
"""


@pytest.mark.root
@pytest.mark.parametrize(("hidepid", "sentence"), [("1", "may not be read are left out"), ("2", "are hidden")])
def test_an_unprivileged_user_gets_what_there_is_and_what_is_missing(
    tmp_path: Path, hidepid: str, sentence: str
) -> None:
    if not is_root:
        pytest.skip("needs root: mounts a procfs of its own")
    for directory in (tmp_path, *tmp_path.parents):
        if not directory.stat().st_mode & 0o001 and str(directory).startswith("/tmp/"):
            directory.chmod(0o711)
    command = [sys.executable, "-c", PROGRAM_START + UNPRIVILEGED, str(tmp_path), hidepid]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and done.stderr.strip() in ("unshare", "private", "mount"):
        pytest.skip(f"no mount namespace can be had here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    tasks, *missing = done.stdout.splitlines()
    assert int(tasks) == 1
    assert any(sentence in one for one in missing), missing
