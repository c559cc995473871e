"""The types of a kernel that is none: as many fields as reads of a policy need, in two ages.

Belongs here: BTF with the kernel's names and nobody's offsets. Must not know: who reads it.
"""

from __future__ import annotations

from oompolicy.bpf.btf import Btf
from oompolicy.bpf.btf_blob import BtfBlob
from oompolicy.bpf.btf_types import Enumerator, Member, Parameter
from oompolicy.bpf.btf_writer import BtfWriter


class _Types:
    def __init__(self) -> None:
        self.writer = BtfWriter()
        self.sizes: dict[int, int] = {}
        self.int = self.plain("int", 4, True)
        self.u32, self.u64, self.s64 = self.plain("u32", 4), self.plain("u64", 8), self.plain("s64", 8, True)
        self.short, self.char = self.plain("short", 2, True), self.plain("char", 1)
        self.pointer = self.writer.pointer(0)
        self.sizes[self.pointer] = 8

    def plain(self, name: str, size_bytes: int, signed: bool = False) -> int:
        made = self.writer.integer(name, size_bytes, signed)
        self.sizes[made] = size_bytes
        return made

    def array(self, element: int, length: int) -> int:
        made = self.writer.array(element, length, self.int)
        self.sizes[made] = length * self.sizes[element]
        return made

    def struct(self, name: str, /, **members: int) -> int:
        """One member after the other, each at a multiple of 8."""
        rows, at = [], 0
        for member, type_id in members.items():
            rows.append(Member(member, type_id, 8 * at, None))
            at += -(-self.sizes[type_id] // 8) * 8
        made = self.writer.struct(name, at, rows)
        self.sizes[made] = at
        return made


def made_up_kernel(newer: bool = True) -> Btf:
    """newer: counters of an mm for each CPU, cgroups that list their ancestors, and casts."""
    t = _Types()
    writer, pointer = t.writer, t.pointer
    atomic = t.struct("atomic64_t", counter=t.s64)
    node = t.struct("list_head", next=pointer, prev=pointer)
    t.struct("cred", usage=t.u64, uid=t.struct("kuid_t", val=t.u32))
    t.struct("signal_struct", live=t.int, thread_head=node, oom_score_adj=t.short)
    counters = t.struct("percpu_counter", lock=t.u64, count=t.s64, counters=pointer)
    older = t.struct("mm_rss_stat", count=t.array(atomic, 4))
    t.struct("mm_struct", pgd=pointer, pgtables_bytes=atomic, rss_stat=t.array(counters, 4) if newer else older)
    t.struct(
        "task_struct",
        state=t.int,
        pid=t.int,
        tgid=t.int,
        mm=pointer,
        group_leader=pointer,
        cgroups=pointer,
        start_boottime=t.u64,
        real_cred=pointer,
        comm=t.array(t.char, 16),
        signal=pointer,
        thread_node=node,
    )
    t.struct("css_set", refcount=t.u64, subsys=t.array(pointer, 8))
    css = t.struct("cgroup_subsys_state", cgroup=pointer, ss=pointer, parent=pointer)
    page_counter = t.struct("page_counter", usage=atomic, min=t.u64, low=t.u64, max=t.u64)
    t.struct("mem_cgroup", css=css, id=t.u64, memory=page_counter, swap=page_counter)
    ancestors = {"ancestors": t.array(pointer, 0)} if newer else {"ancestor_ids": t.array(t.u64, 0)}
    t.struct("cgroup", level=t.int, kn=pointer, root=pointer, **ancestors)
    t.struct("cgroup_root", kf_root=pointer, hierarchy_id=t.int)
    t.struct("kernfs_node", count=t.u64, id=t.u64)
    t.struct("bpf_map", ops=pointer, id=t.u32)
    t.struct(
        "oom_control",
        zonelist=pointer,
        memcg=pointer,
        gfp_mask=t.u32,
        order=t.int,
        totalpages=t.u64,
        constraint=t.u32,
    )
    writer.enum("cgroup_subsys_id", [Enumerator("cpu_cgrp_id", 0), Enumerator("memory_cgrp_id", 4)])
    kinds = ("MM_FILEPAGES", "MM_ANONPAGES", "MM_SWAPENTS", "MM_SHMEMPAGES")
    writer.enum("", [Enumerator(name, number) for number, name in enumerate(kinds)])
    writer.variable("bpf_prog_active", t.int)
    if newer:
        parameters = [Parameter("obj__ign", pointer), Parameter("btf_id__k", t.u32)]
        writer.function("bpf_rdonly_cast", writer.prototype(pointer, parameters))
    return Btf(BtfBlob(writer.to_bytes(), "a made-up kernel"), "a made-up kernel")
