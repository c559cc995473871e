"""The reader of fields for a kernel: what compiler/emit/reader.py asks for.

Belongs here: the table of fields, who reads each. Must not know: where anything is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from oompolicy.backends.hook.kernel_fields import ancestry, comm, memcgs, mm_counters, oc, tasks, values
from oompolicy.backends.hook.kernel_fields.access import Access
from oompolicy.backends.hook.kernel_fields.ground import Frame, Ground, Memo, Paths, Request
from oompolicy.backends.hook.kernel_fields.threads import settle
from oompolicy.bpf.assembly import Line
from oompolicy.bpf.btf import Btf

Read = Callable[[Ground, Request], Iterator[Line]]

# Loads alone: of r0 to r5 only r0 and r1 change.
LIGHT: Final[dict[str, Read]] = {
    "task.pid": tasks.pid,
    "task.tgid": tasks.tgid,
    "task.uid": tasks.uid,
    "task.oom_score_adj": tasks.oom_score_adj,
    "task.badness": tasks.badness,
    "task.start_time_ns": tasks.start_time_ns,
    "task.memcg": tasks.memcg,
    "memcg.id": memcgs.id_,
    "memcg.depth": memcgs.depth,
    "memcg.parent": memcgs.parent,
    "oc.totalpages": oc.totalpages,
    "oc.order": oc.order,
    "oc.gfp_mask": oc.gfp_mask,
    "oc.constraint": oc.constraint,
    "oc.is_memcg_oom": oc.is_memcg_oom,
    "oc.memcg": oc.memcg,
}
HEAVY: Final[dict[str, Read]] = {
    "task.rss": mm_counters.rss,
    "task.rss_anon": mm_counters.rss_anon,
    "task.rss_file": mm_counters.rss_file,
    "task.rss_shmem": mm_counters.rss_shmem,
    "task.swap": mm_counters.swap,
    "task.pgtables": mm_counters.pgtables,
    "task.age_ms": tasks.age_ms,
    "task.value": values.of_task,
    "memcg.value": values.of_memcg,
    "memcg.usage": memcgs.usage,
    "memcg.limit": memcgs.limit,
    "memcg.min": memcgs.min_,
    "memcg.low": memcgs.low,
    "memcg.swap": memcgs.swap,
    "memcg.is_under": ancestry.is_under,
    "oc.trigger": oc.trigger,
}
COMM: Final[dict[str, Read]] = dict(zip(comm.WORDS, (comm.first_word, comm.second_word), strict=True))
READS: Final = LIGHT | HEAVY | COMM
# What a thread has of its own: what settle() is for.
OF_THE_THREAD: Final = frozenset({"task.pid", "task.comm", "task.uid", *COMM})
SUMS: Final = ("task.rss_anon", "task.rss_file", "task.rss_shmem", "task.swap")


class KernelFields:
    """A FieldReader. Raises BtfError, when a field is read, for a kernel that has not got it."""

    def __init__(
        self, btf: Btf, access: Access, frame: Frame, paths: Paths | None = None, memo: Memo | None = None
    ) -> None:
        self._ground = Ground(btf, access, frame, paths or Paths(), memo)

    def read(self, field: str, argument: str | None, labels: str, fail: str) -> Iterator[Line]:
        """As FieldReader has it."""
        return READS[field](self._ground, Request(argument, labels, fail))

    def is_light(self, field: str) -> bool:
        """As FieldReader has it."""
        return field in LIGHT or (field in COMM and self._ground.access.loads_comm)

    def settle(self, labels: str) -> Iterator[Line]:
        """r6 = the thread that the model takes a process for (threads.py), where this kernel allows it; r0 to r5 and
        the reads' part of the frame are lost. For before a body: without it what is OF_THE_THREAD is the leader's, also
        where the leader has exited.
        """
        return settle(self._ground, labels) if self._ground.access.casts else iter(())

    @property
    def approximate(self) -> tuple[str, ...]:
        """The fields that lag by what each CPU has not folded into the counter, at most a batch for each: where this
        kernel does not let them be summed. All others are exact.
        """
        exact = self._ground.access.sums_cpus or not mm_counters.has_cpu_counters(self._ground)
        return () if exact else SUMS
