"""The iterator's program, for a kernel by its BTF: it writes a record of each process to the seq file.

Belongs here: where the kernel keeps what a record has. Must not know: how it is loaded, what is made of a record.

For every task (bpf_iter_task, kernel/bpf/task_iter.c): of a process its leader; of the other threads those alone that
have memory while their leader has none any more. Nothing is locked, and each field is read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from oompolicy.bpf.assembly import Label, Line
from oompolicy.bpf.btf import Btf
from oompolicy.bpf.instructions import Alu, Call, Exit, Jump, Load, Store, add, move
from oompolicy.bpf.opcodes import R0, R1, R2, R3, R6, R7, R8, R9, R10, AluOp, JumpOp, Reg, Width
from oompolicy.bpf.uapi import Helper
from oompolicy.sources.task_iterator.record import (
    COMM_BYTES,
    DUMPS_CORE,
    HAS_MM,
    IN_VFORK,
    IS_OOM_VICTIM,
    LAYOUT,
    OFFSETS,
    OOM_SKIP,
    SIZES,
)

FUNCTION: Final = "bpf_iter_task"
_CONTEXT: Final = "bpf_iter__task"
_TASK, _SIGNAL, _MM = "task_struct", "signal_struct", "mm_struct"
_FRAME: Final = -LAYOUT.size
# A macro, and so not in BTF: include/linux/sched/coredump.h, later include/linux/mm_types.h.
_MMF_OOM_SKIP: Final = 21
_COUNTERS: Final = {
    "rss_file": "MM_FILEPAGES",
    "rss_anon": "MM_ANONPAGES",
    "swap": "MM_SWAPENTS",
    "rss_shmem": "MM_SHMEMPAGES",
}


class TaskProgram:
    """probes: read a process's counters by bpf_probe_read_kernel(): the verifier of older kernels allows no load."""

    def __init__(self, btf: Btf, probes: bool) -> None:
        self._btf = btf
        self._probes = probes

    def lines(self) -> Iterator[Line]:
        """r9 is the context, r6 the task, r7 its mm, r8 its signal_struct. Raises BtfError for what is not there."""
        yield from (move(R9, R1), *self._load(R6, R9, _CONTEXT, "task"), Jump(JumpOp.EQ, R6, 0, "done"))
        yield from self._load(R7, R6, _TASK, "mm")
        yield from self._leaders_alone()
        yield from (Store(Width.U64, R10, _FRAME + at, 0) for at in range(0, LAYOUT.size, 8))
        yield from self._of_task()
        yield from self._of_signal()
        yield from self._of_memcg()
        yield from (Jump(JumpOp.EQ, R7, 0, "write"), *self._bit(HAS_MM), *self._of_mm(), Label("write"))
        yield from (*self._load(R1, R9, _CONTEXT, "meta"), *self._load(R1, R1, "bpf_iter_meta", "seq"))
        yield from (move(R2, R10), add(R2, _FRAME), move(R3, LAYOUT.size), Call(Helper.SEQ_WRITE))
        yield from (Label("done"), move(R0, 0), Exit())

    def _leaders_alone(self) -> Iterator[Line]:
        yield from (*self._load(R1, R6, _TASK, "pid"), *self._load(R2, R6, _TASK, "tgid"))
        yield from (Jump(JumpOp.EQ, R1, R2, "wanted"), Jump(JumpOp.EQ, R7, 0, "done"))
        yield from (*self._load(R1, R6, _TASK, "group_leader"), *self._load(R1, R1, _TASK, "mm"))
        yield from (Jump(JumpOp.NE, R1, 0, "done"), Label("wanted"))

    def _of_task(self) -> Iterator[Line]:
        for name in ("pid", "tgid", "flags"):
            yield from (*self._load(R1, R6, _TASK, name), self._keep(name, R1))
        yield from (*self._load(R1, R6, _TASK, "group_leader"), *self._load(R1, R1, _TASK, "start_boottime"))
        yield self._keep("start_ns", R1)
        yield from (*self._load(R1, R6, _TASK, "real_parent"), *self._load(R1, R1, _TASK, "tgid"))
        yield self._keep("ppid", R1)
        # task_uid(): the real one.
        yield from (*self._load(R1, R6, _TASK, "real_cred"), *self._load(R1, R1, "cred", "uid.val"))
        yield self._keep("uid", R1)
        yield from (move(R1, R10), add(R1, _FRAME + OFFSETS["comm"]), move(R2, COMM_BYTES))
        yield from (move(R3, R6), add(R3, self._at(_TASK, "comm")), Call(Helper.PROBE_READ_KERNEL))

    def _of_signal(self) -> Iterator[Line]:
        yield from self._load(R8, R6, _TASK, "signal")
        for name, path in (
            ("oom_score_adj", "oom_score_adj"),
            ("thread_count", "nr_threads"),
            ("signal_flags", "flags"),
        ):
            yield from (*self._load(R1, R8, _SIGNAL, path), self._keep(name, R1))
        yield from (*self._load(R1, R8, _SIGNAL, "shared_pending.signal.sig[0]"),)
        yield from (*self._load(R2, R6, _TASK, "pending.signal.sig[0]"), Alu(AluOp.OR, R1, R2))
        yield self._keep("pending", R1)
        yield from (*self._load(R1, R8, _SIGNAL, "oom_mm"), Jump(JumpOp.EQ, R1, 0, "no_victim"))
        yield from (*self._bit(IS_OOM_VICTIM), Label("no_victim"))
        # Of the mm before commit 0258b5fd7c71 "coredump: Limit coredumps to a single thread group" (in v5.16).
        if self._btf.has_field(_SIGNAL, "core_state"):
            yield from (*self._load(R1, R8, _SIGNAL, "core_state"), Jump(JumpOp.EQ, R1, 0, "no_dump"))
            yield from (*self._bit(DUMPS_CORE), Label("no_dump"))

    def _of_memcg(self) -> Iterator[Line]:
        memory = self._btf.enumerator("memory_cgrp_id", "cgroup_subsys_id")
        yield from (*self._load(R1, R6, _TASK, "cgroups"), *self._load(R1, R1, "css_set", f"subsys[{memory}]"))
        yield from (*self._load(R1, R1, "cgroup_subsys_state", "cgroup"), *self._load(R1, R1, "cgroup", "kn"))
        yield from (*self._load(R1, R1, "kernfs_node", "id"), self._keep("memcg_id", R1))

    def _of_mm(self) -> Iterator[Line]:
        for name, counter in _COUNTERS.items():
            yield from self._counted(name, self._counter(counter))
        yield from self._counted("pgtables_bytes", "pgtables_bytes.counter")
        yield from (*self._load(R1, R7, _MM, "total_vm"), self._keep("total_vm", R1))
        # A bitmap of its own since commit bb6525f2f8c4 "mm: add bitmap mm->flags field" (in v6.18).
        flags = next(path for path in ("flags.__mm_flags[0]", "flags") if self._btf.has_field(_MM, path))
        yield from (*self._load(R1, R7, _MM, flags), Alu(AluOp.AND, R1, 1 << _MMF_OOM_SKIP))
        yield from (Jump(JumpOp.EQ, R1, 0, "not_reaped"), *self._bit(OOM_SKIP), Label("not_reaped"))
        # C: static inline bool in_vfork(struct task_struct *tsk), include/linux/sched/mm.h.
        yield from (*self._load(R1, R6, _TASK, "vfork_done"), Jump(JumpOp.EQ, R1, 0, "no_vfork"))
        yield from (*self._load(R1, R6, _TASK, "real_parent"), *self._load(R1, R1, _TASK, "mm"))
        yield from (Jump(JumpOp.NE, R1, R7, "no_vfork"), *self._bit(IN_VFORK), Label("no_vfork"))

    def _counted(self, name: str, path: str) -> tuple[Line, ...]:
        if not self._probes:
            return (*self._load(R1, R7, _MM, path), self._keep(name, R1))
        where = (move(R1, R10), add(R1, _FRAME + OFFSETS[name]), move(R2, SIZES[name]))
        return (*where, move(R3, R7), add(R3, self._at(_MM, path)), Call(Helper.PROBE_READ_KERNEL))

    def _counter(self, name: str) -> str:
        """A percpu_counter each since commit f1a7941243c1 "mm: convert mm's rss stats into percpu_counter" (in v6.2);
        what counts for oom_badness() is the part that is folded.
        """
        number = self._btf.enumerator(name)
        if self._btf.has_field(_MM, "rss_stat.count"):
            return f"rss_stat.count[{number}].counter"
        return f"rss_stat[{number}].count"

    def _at(self, struct: str, path: str) -> int:
        return self._btf.field(struct, path).offset_bytes

    def _load(self, to: Reg, base: Reg, struct: str, path: str) -> tuple[Line, ...]:
        found = self._btf.field(struct, path)
        load = Load(Width(found.window.size_bytes), to, base, found.offset_bytes)
        unused = 64 - 8 * found.size_bytes
        if not unused or not found.signed:
            return (load,)
        return (load, Alu(AluOp.LSH, to, unused), Alu(AluOp.ARSH, to, unused))

    def _keep(self, name: str, register: Reg) -> Line:
        return Store(Width(SIZES[name]), R10, _FRAME + OFFSETS[name], register)

    def _bit(self, bit: int) -> tuple[Line, ...]:
        at = _FRAME + OFFSETS["bits"]
        load, store = Load(Width.U32, R0, R10, at), Store(Width.U32, R10, at, R0)
        return (load, Alu(AluOp.OR, R0, bit), store)
