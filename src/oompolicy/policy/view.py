"""What a policy can read: integers, memory in pages, under the names that the compiler and the documents share.

Belongs here: the read-only views of a task, a memcg and the OOM, and the record of what was read.
Must not know: how a policy is called, what its answer means.
"""

from __future__ import annotations

from typing import TypeVar

from oompolicy.mm.memcontrol import PAGE_COUNTER_MAX, MemCgroup
from oompolicy.mm.oom import OomControl as KernelOomControl
from oompolicy.mm.oom_kill import oom_badness
from oompolicy.mm.sched import Task as KernelTask

Read = TypeVar("Read", int, str, bool)

# What a policy read, by the field's name as its source spells it; the value is what it got.
Reads = dict[str, int | str | bool | None]


class FailedReadError(Exception):
    """The source does not have this field: in the kernel, a read that fails. Counts as a fault of the policy."""


class _View:
    """A named view of one kernel object that notes what is read of it."""

    __slots__ = ("_name", "_reads")

    def __init__(self, name: str, reads: Reads) -> None:
        self._name = name
        self._reads = reads

    def _note(self, field: str, value: Read | None) -> Read:
        """Note a read; a field that the source does not have is a failed read."""
        if value is None:
            raise FailedReadError(f"{self._name}.{field} is not known here")
        self._reads[f"{self._name}.{field}"] = value
        return value

    def _note_optional(self, field: str, value: int | None) -> int | None:
        self._reads[f"{self._name}.{field}"] = value
        return value


class Memcg(_View):
    """struct mem_cgroup, as a policy sees it. Amounts in pages."""

    __slots__ = ("_memcg",)

    def __init__(self, memcg: MemCgroup, name: str, reads: Reads) -> None:
        super().__init__(name, reads)
        self._memcg = memcg

    @property
    def id(self) -> int:
        """The cgroup id."""
        return self._note("id", self._memcg.id)

    @property
    def value(self) -> int | None:
        """The opaque value: its own, or the nearest ancestor's that has one; None where none has."""
        return self._note_optional("value", self._memcg.nearest_value)

    @property
    def usage(self) -> int:
        """memory.current (v1: memory.usage_in_bytes), with up to 64 pages per CPU charged ahead; the root has none."""
        return self._note("usage", self._memcg.usage_pages)

    @property
    def limit(self) -> int:
        """memory.max (v1: memory.limit_in_bytes); a huge number where unlimited."""
        limit = self._memcg.max_pages
        return self._note("limit", PAGE_COUNTER_MAX if limit is None else limit)

    @property
    def min(self) -> int:
        """memory.min; 0 on v1."""
        return self._note("min", self._memcg.min_pages)

    @property
    def low(self) -> int:
        """memory.low; 0 on v1."""
        return self._note("low", self._memcg.low_pages)

    @property
    def swap(self) -> int:
        """memory.swap.current (v1: memsw usage less memory usage); the root has none."""
        return self._note("swap", self._memcg.swap_pages)

    @property
    def depth(self) -> int:
        """Steps to the root, which is 0."""
        return self._note("depth", self._memcg.depth)

    @property
    def parent(self) -> Memcg | None:
        """The memcg above; None at the root."""
        above = self._memcg.parent
        return None if above is None else Memcg(above, f"{self._name}.parent", self._reads)

    def is_under(self, other: str | Memcg) -> bool:
        """Is it that memcg, or below it? A path from the root ("/kubepods.slice"), or a memcg."""
        path = other._memcg.path if isinstance(other, Memcg) else "/" + other.strip("/")
        mine = self._memcg.path
        return self._note(f"is_under({path})", path == "/" or mine == path or mine.startswith(path + "/"))


class Task(_View):
    """struct task_struct, as a policy sees it. Amounts in pages, times as their names say."""

    __slots__ = ("_now_ns", "_oc", "_task")

    def __init__(self, task: KernelTask, oc: KernelOomControl, now_ns: int | None, name: str, reads: Reads) -> None:
        super().__init__(name, reads)
        self._task = task
        self._oc = oc
        self._now_ns = now_ns

    @property
    def pid(self) -> int:
        """The thread's id, in the first pid namespace."""
        return self._note("pid", self._task.pid)

    @property
    def tgid(self) -> int:
        """The process's id: what user space calls the pid."""
        return self._note("tgid", self._task.process_id)

    @property
    def comm(self) -> str:
        """The name, at most 15 bytes: ==, !=, in, startswith with constants."""
        return self._note("comm", self._task.comm)

    @property
    def uid(self) -> int:
        """The real user id, in the first user namespace."""
        return self._note("uid", self._task.uid)

    @property
    def oom_score_adj(self) -> int:
        """-999 to 1000: -1000 never reaches a policy."""
        return self._note("oom_score_adj", self._task.oom_score_adj)

    def _mm(self, field: str) -> int | None:
        mm = self._task.mm
        found: int | None = None if mm is None else getattr(mm, f"{field}_pages")
        return found

    @property
    def rss_anon(self) -> int:
        """Anonymous pages in memory."""
        return self._note("rss_anon", self._mm("rss_anon"))

    @property
    def rss_file(self) -> int:
        """Pages of files in memory."""
        return self._note("rss_file", self._mm("rss_file"))

    @property
    def rss_shmem(self) -> int:
        """Shared memory in memory (tmpfs, shm)."""
        return self._note("rss_shmem", self._mm("rss_shmem"))

    @property
    def rss(self) -> int:
        """Resident pages as oom_badness() counts them; where counters lag per CPU, not exactly the sum of the three."""
        return self._note("rss", self._mm("rss"))

    @property
    def swap(self) -> int:
        """Anonymous pages in swap."""
        return self._note("swap", self._mm("swap"))

    @property
    def pgtables(self) -> int:
        """Pages that hold page tables."""
        return self._note("pgtables", self._mm("pgtables"))

    @property
    def badness(self) -> int:
        """The kernel's own points for this task in this OOM."""
        return self._note("badness", oom_badness(self._task, self._oc.totalpages, self._oc.kernel.rules))

    @property
    def start_time_ns(self) -> int:
        """When it started, from boot."""
        return self._note("start_time_ns", self._task.start_time_ns)

    @property
    def age_ms(self) -> int:
        """How long it has run."""
        start = self._task.start_time_ns
        age = None if start is None or self._now_ns is None else max(self._now_ns - start, 0) // 1_000_000
        return self._note("age_ms", age)

    @property
    def value(self) -> int | None:
        """The opaque value of the task itself; None where it has none."""
        return self._note_optional("value", self._task.value)

    @property
    def memcg(self) -> Memcg | None:
        """The memory cgroup it is in; None where that is not known."""
        memcg = self._task.memcg
        return None if memcg is None else Memcg(memcg, f"{self._name}.memcg", self._reads)


class OomControl(_View):
    """struct oom_control, as a policy sees it."""

    __slots__ = ("_now_ns", "_oc")

    def __init__(self, oc: KernelOomControl, now_ns: int | None, reads: Reads) -> None:
        super().__init__("oc", reads)
        self._oc = oc
        self._now_ns = now_ns

    @property
    def totalpages(self) -> int:
        """The pages that the scope has, swap included."""
        return self._note("totalpages", self._oc.totalpages)

    @property
    def order(self) -> int:
        """log2 of the pages asked for; -1 for sysrq."""
        return self._note("order", self._oc.order)

    @property
    def gfp_mask(self) -> int:
        """The flags of the allocation that failed."""
        return self._note("gfp_mask", self._oc.gfp_mask)

    @property
    def constraint(self) -> int:
        """enum oom_constraint: 0 none, 1 cpuset, 2 mempolicy, 3 memcg."""
        return self._note("constraint", list(type(self._oc.constraint)).index(self._oc.constraint))

    @property
    def is_memcg_oom(self) -> bool:
        """Did a memcg run out, and not the machine?"""
        return self._note("is_memcg_oom", self._oc.memcg is not None)

    @property
    def memcg(self) -> Memcg | None:
        """The memcg that ran out; None where it is not a memcg's OOM."""
        return None if self._oc.memcg is None else Memcg(self._oc.memcg, "oc.memcg", self._reads)

    @property
    def trigger(self) -> Task | None:
        """The task that ran out; None where that is not known."""
        if self._oc.trigger is None:
            return None
        return Task(self._oc.trigger, self._oc, self._now_ns, "oc.trigger", self._reads)
