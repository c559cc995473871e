"""All processes of a machine, from /proc/PID.

Belongs here: which files of a process hold which field, and never mixing two processes that had the same pid.
Must not know: cgroup file systems, the machine's sizes, who is chosen.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from oompolicy.errors import SourceError
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.sched import Mm, Task
from oompolicy.sources.kernel_file import is_gone, read_at

# include/linux/sched.h
PF_EXITING: Final = 0x00000004
PF_FORKNOEXEC: Final = 0x00000040
PF_KTHREAD: Final = 0x00200000
SIGKILL_PENDING: Final = 1 << 8  # in SigPnd and ShdPnd, bit n - 1 is signal n

# Fields of /proc/PID/stat after the comm, do_task_stat() in fs/proc/array.c.
_STATE, _PPID, _FLAGS, _NUM_THREADS, _START_TIME, _RSS = 0, 1, 6, 17, 19, 21

# The memcg of the /proc/PID/cgroup given; None where it is not known.
MemcgOf = Callable[[bytes], MemCgroup | None]


class Stat(NamedTuple):
    """What is used of /proc/PID/stat. start_time counts clock ticks from boot; rss_pages is get_mm_rss()."""

    comm: bytes
    state: bytes
    ppid: int
    flags: int
    num_threads: int
    start_time: int
    rss_pages: int


@dataclass(slots=True)
class CapturedTask:
    """The files of one process as they were read.

    leader is the thread that gives the process its pid; stat, status and cgroup are those of the thread that
    find_lock_task_mm() would return, tid, which is the leader unless that one has exited. status, oom_score_adj and
    cgroup are empty for a kernel thread.
    """

    pid: int
    leader: Stat
    tid: int
    stat: Stat
    status: bytes = b""
    oom_score_adj: bytes = b""
    cgroup: bytes = b""


@dataclass(slots=True)
class Capture:
    """All processes, read as close together as Python can; pids that refused to be read are in unreadable."""

    tasks: list[CapturedTask] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)


def capture_tasks(proc: Path) -> Capture:
    """The files of every process below a procfs, in for_each_process() order.

    That order is the order of creation: copy_process() in kernel/fork.c appends to the list, and a thread that
    calls exec takes its leader's place and start time (de_thread() in fs/exec.c). Start times have the resolution
    of clock ticks, mostly 10 ms; inside one tick the lower pid comes first. Processes that vanish are left out.
    Raises SourceError where there is no procfs.
    """
    capture = Capture()
    try:
        proc_fd = os.open(proc, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise SourceError(proc, f"cannot be read ({error.strerror})", "is procfs mounted there?") from error
    try:
        for name in os.listdir(proc_fd):
            if not name.isdecimal():
                continue
            try:
                capture.tasks.append(_capture_task(proc_fd, name))
            except OSError as error:
                if not is_gone(error):
                    capture.unreadable.append(int(name))
    finally:
        os.close(proc_fd)
    capture.tasks.sort(key=lambda task: (task.leader.start_time, task.pid))
    return capture


def capture_task(proc: Path, pid: int) -> CapturedTask | None:
    """The files of one process; None where it is gone, or may not be read."""
    try:
        proc_fd = os.open(proc, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        return _capture_task(proc_fd, str(pid))
    except OSError:
        return None
    finally:
        os.close(proc_fd)


def _capture_task(proc_fd: int, name: str) -> CapturedTask:
    """Read one process; every file through the same directory, so that they are of one process.

    The directory's inode holds the struct pid (fs/proc/base.c, proc_pid_make_inode()), not the number: once the
    process is reaped it answers ENOENT or ESRCH, even if the number is in use again.
    """
    dir_fd = os.open(name, os.O_PATH | os.O_DIRECTORY, dir_fd=proc_fd)
    try:
        stat = parse_stat(read_at(dir_fd, "stat"))
        pid = int(name)
        task = CapturedTask(pid, stat, pid, stat)
        if stat.flags & PF_KTHREAD:
            return task
        task.status = read_at(dir_fd, "status")
        task.oom_score_adj = read_at(dir_fd, "oom_score_adj")
        task.cgroup = _read_cgroup(dir_fd)
        if stat.num_threads > 1 and not has_mm(task.status):
            _take_living_thread(task, dir_fd)
        return task
    finally:
        os.close(dir_fd)


def _read_cgroup(dir_fd: int) -> bytes:
    """/proc/PID/cgroup; empty where a living process has none that can be told.

    A kernel may be built without cgroups, and a path of more than PATH_MAX is refused (proc_cgroup_show(),
    kernel/cgroup/cgroup.c): hiding in a deep cgroup must not take a process out of the snapshot.
    """
    try:
        return read_at(dir_fd, "cgroup")
    except OSError:
        read_at(dir_fd, "stat")  # raises where it is the process that is gone
        return b""


def recapture_cgroup(captured: CapturedTask, proc: Path) -> bytes | None:
    """The process's /proc/PID/cgroup as it is now; None where the process is gone, or cannot be read any more."""
    try:
        dir_fd = os.open(proc / str(captured.pid), os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        if parse_stat(read_at(dir_fd, "stat")).start_time != captured.leader.start_time:
            return None
        return read_at(dir_fd, "cgroup" if captured.tid == captured.pid else f"task/{captured.tid}/cgroup")
    except OSError:
        return None
    finally:
        os.close(dir_fd)


def _take_living_thread(task: CapturedTask, dir_fd: int) -> None:
    """The first thread that still has the memory which the leader, by exiting, let go of.

    C: struct task_struct *find_lock_task_mm(struct task_struct *p), mm/oom_kill.c. /proc/PID/task lists threads
    in the order of for_each_thread().
    """
    task_fd = os.open("task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=dir_fd)
    try:
        for tid in os.listdir(task_fd):
            try:
                thread_fd = os.open(tid, os.O_PATH | os.O_DIRECTORY, dir_fd=task_fd)
            except OSError as error:
                if is_gone(error):
                    continue
                raise
            try:
                status = read_at(thread_fd, "status")
                if not has_mm(status):
                    continue
                task.stat = parse_stat(read_at(thread_fd, "stat"))
                # The cgroup of the living thread: on v1 an exiting leader shows up in "/", whatever its cgroup
                # (kernel/cgroup/cgroup.c, proc_cgroup_show()).
                task.cgroup = _read_cgroup(thread_fd)
                task.status, task.tid = status, int(tid)
                return
            except OSError as error:
                if not is_gone(error):
                    raise
            finally:
                os.close(thread_fd)
    finally:
        os.close(task_fd)


def parse_stat(line: bytes) -> Stat:
    """/proc/PID/stat; the comm may hold spaces, parentheses and newlines, so it ends at the last parenthesis.

    >>> parse_stat(b"7 (a) b (c)) S 1 7 7 0 -1 64 0 0 0 0 0 0 0 0 20 0 3 0 96388 3133440 410 18446744073709551615")
    Stat(comm=b'a) b (c)', state=b'S', ppid=1, flags=64, num_threads=3, start_time=96388, rss_pages=410)
    """
    end = line.rindex(b")")
    rest = line[end + 2 :].split(b" ", _RSS + 1)
    return Stat(
        line[line.index(b"(") + 1 : end],
        rest[_STATE],
        int(rest[_PPID]),
        int(rest[_FLAGS]),
        int(rest[_NUM_THREADS]),
        int(rest[_START_TIME]),
        int(rest[_RSS]),
    )


def has_mm(status: bytes) -> bool:
    """Has the thread of this /proc/PID/status memory? The lines from VmPeak on are only there if so."""
    return b"\nVmSize:" in status


def _number(status: bytes, line: bytes, base: int = 10) -> int | None:
    """The number on the line that begins so; None where there is no such line.

    A process's name cannot pose as a line, because status has its newlines escaped (proc_task_name()).
    """
    start = status.find(line)
    if start < 0:
        return None
    start += len(line)
    return int(status[start : status.index(b"\n", start)].removesuffix(b" kB"), base)


def vm_size_kb(status: bytes) -> int | None:
    """The size of the address space; None where the task has none."""
    return _number(status, b"\nVmSize:")


def parse_mm(status: bytes, rss_pages: int, page_size: int) -> Mm | None:
    """struct mm_struct from /proc/PID/status and the rss of /proc/PID/stat; None where the task has none.

    The rss is stat's, because it is get_mm_rss(), the very number that oom_badness() adds up. Since commit
    82241a83cd15 "mm: fix the inaccurate memory statistics issue for users" (in v6.16, and in stable kernels) the
    parts in status are exact sums over all CPUs, while get_mm_rss() lags by the per-CPU batches of commit
    f1a7941243c1 "mm: convert mm's rss stats into percpu_counter" (in v6.2): the parts need not add up to it.
    """
    size_kb = vm_size_kb(status)
    if size_kb is None:
        return None

    def pages(line: bytes) -> int | None:
        kb = _number(status, line)
        return None if kb is None else kb * 1024 // page_size

    return Mm(
        rss_pages,
        pages(b"\nVmSwap:") or 0,
        # Middle directories had a line of their own until commit af5b0f6a09e4 "mm: consolidate page table
        # accounting" (in v4.15). The kernel rounds bytes down to pages, and so does this.
        (pages(b"\nVmPTE:") or 0) + (pages(b"\nVmPMD:") or 0),
        # The parts came with commit 8cee852ec53f "mm, procfs: breakdown RSS for anon, shmem and file in
        # /proc/pid/status" (in v4.5).
        pages(b"\nRssAnon:"),
        pages(b"\nRssFile:"),
        pages(b"\nRssShmem:"),
        size_kb * 1024 // page_size,
    )


def parse_nodes(mask: bytes) -> frozenset[int]:
    """A list of nodes as the kernel prints it.

    >>> sorted(parse_nodes(b"0-2,5"))
    [0, 1, 2, 5]
    """
    nodes: set[int] = set()
    for part in mask.split(b","):
        first, dash, last = part.partition(b"-")
        if first.strip():
            nodes.update(range(int(first), int(last if dash else first) + 1))
    return frozenset(nodes)


def _real_uid(status: bytes) -> int:
    """The first of four: task_uid(), which the kernel's own dump prints. 0 where it is not shown."""
    start = status.find(b"\nUid:\t") + len(b"\nUid:\t")
    return int(status[start : status.index(b"\t", start)]) if start > len(b"\nUid:\t") else 0


def _mems_allowed(status: bytes) -> frozenset[int] | None:
    line = b"\nMems_allowed_list:"
    start = status.find(line)
    return None if start < 0 else parse_nodes(status[start + len(line) : status.index(b"\n", start + 1)])


def _is_exiting(captured: CapturedTask) -> bool:
    """C: static inline bool __task_will_free_mem(struct task_struct *task), mm/oom_kill.c.

    SIGNAL_GROUP_EXIT is not shown anywhere; the SIGKILL that comes with it stays pending in a thread that has not
    got to it yet.
    """
    stat, status = captured.stat, captured.status
    if stat.flags & PF_EXITING and stat.num_threads <= 1:
        return True
    pending = (_number(status, b"\nSigPnd:", 16) or 0) | (_number(status, b"\nShdPnd:", 16) or 0)
    return bool(pending & SIGKILL_PENDING)


@dataclass(frozen=True, slots=True)
class Reading:
    """How captured files are read: the sizes of the machine they are of, and what only others know.

    tick_ns is the length of a clock tick (sysconf(_SC_CLK_TCK)). memcg_of finds the memcg of a
    /proc/PID/cgroup; kthread_memcg is that of kernel threads. mems_allowed: keep it (on one node it binds nobody).
    in_vfork holds pids.
    """

    page_size: int
    tick_ns: int
    memcg_of: MemcgOf
    kthread_memcg: MemCgroup | None = None
    mems_allowed: bool = False
    in_vfork: frozenset[int] = frozenset()


def read_task(captured: CapturedTask, reading: Reading) -> Task:
    """The task of the captured files. Bytes of comm that are not UTF-8 become surrogates (surrogateescape).

    Kernel threads, which the selection never weighs, are taken to be root's and in the root memcg. Not visible in
    /proc, and so left at their defaults: is_oom_victim, oom_task_origin, Mm.oom_skip, mempolicy_nodes.
    has_cap_sys_admin is left to the uid.
    """
    stat, status = captured.stat, captured.status
    is_kthread = bool(stat.flags & PF_KTHREAD)
    mm = parse_mm(status, stat.rss_pages, reading.page_size)
    return Task(
        pid=captured.tid,
        comm=stat.comm.decode("utf-8", "surrogateescape"),
        mm=mm,
        tgid=captured.pid,
        ppid=stat.ppid,
        uid=_real_uid(status),
        oom_score_adj=0 if is_kthread else int(captured.oom_score_adj),
        memcg=reading.kthread_memcg if is_kthread else reading.memcg_of(captured.cgroup),
        start_time_ns=captured.leader.start_time * reading.tick_ns,
        is_kthread=is_kthread,
        in_vfork=captured.pid in reading.in_vfork,
        is_exiting=_is_exiting(captured),
        mems_allowed=_mems_allowed(status) if reading.mems_allowed else None,
    )
