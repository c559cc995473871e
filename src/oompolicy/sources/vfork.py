"""Who is in the middle of a vfork: a child that still runs in its parent's memory, while the parent waits.

Belongs here: kcmp(2), and telling vfork from plain CLONE_VM. Must not know: what the selection does with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from oompolicy.sources.kernel_file import read_at
from oompolicy.sources.procfs import PF_FORKNOEXEC, CapturedTask, vm_size_kb

# arch/x86/entry/syscalls/syscall_64.tbl; include/uapi/asm-generic/unistd.h for the others.
_KCMP_NUMBER: Final = {"x86_64": 312, "aarch64": 272, "riscv64": 272, "loongarch64": 272}
_KCMP_VM: Final = 1  # enum kcmp_type, include/uapi/linux/kcmp.h


def pids_in_vfork(tasks: Iterable[CapturedTask], proc: Path) -> frozenset[int]:
    """The pids of the captured processes that are in a vfork; proc must be that of one's own pid namespace.

    C: static inline bool in_vfork(struct task_struct *tsk), include/linux/sched/mm.h. Its vfork_done cannot be seen
    from user space, so three signs stand for it: the child has not called exec, kcmp(2) says that parent and child
    have one mm, and a thread of the parent sleeps uninterruptibly, as in wait_for_vfork_done(), kernel/fork.c.
    Where kcmp(2) is refused (it needs the rights of ptrace) nobody is taken to be in a vfork.
    """
    number = _KCMP_NUMBER.get(os.uname().machine)
    by_pid = {task.pid: task for task in tasks}
    candidates = [
        task
        for task in by_pid.values()
        if task.stat.flags & PF_FORKNOEXEC
        and (parent := by_pid.get(task.stat.ppid)) is not None
        and (size := vm_size_kb(task.status)) is not None
        and size == vm_size_kb(parent.status)
    ]
    if number is None or not candidates:
        return frozenset()
    import ctypes  # slow to load, and mostly not needed

    syscall = ctypes.CDLL(None).syscall
    return frozenset(
        task.pid
        for task in candidates
        if syscall(number, task.pid, task.stat.ppid, _KCMP_VM, 0, 0) == 0
        and _has_thread_in_state(proc, task.stat.ppid, b"D")
    )


def _has_thread_in_state(proc: Path, pid: int, state: bytes) -> bool:
    try:
        task_fd = os.open(proc / str(pid) / "task", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return any(_state_of(task_fd, tid) == state for tid in os.listdir(task_fd))
    finally:
        os.close(task_fd)


def _state_of(task_fd: int, tid: str) -> bytes:
    try:
        line = read_at(task_fd, f"{tid}/stat")
    except OSError:
        return b""
    return line[line.rindex(b")") + 2 :][:1]
