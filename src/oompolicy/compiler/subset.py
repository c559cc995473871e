"""The language: every field that a policy can read and every construct it can use, in one table.

Belongs here: names, kinds, ranges and one sentence each; docs/language.md, the editor's stubs and the front end's
messages are made from it. Must not know: how a construct is translated, where a kernel keeps a field.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from oompolicy.mm.limits import LONG_MAX, LONG_MIN
from oompolicy.mm.memcontrol import PAGE_COUNTER_MAX

UINT_MAX: Final = (1 << 32) - 1
INT_MAX: Final = (1 << 31) - 1


class FieldKind(enum.Enum):
    """What reading a field gives. "?" may be None."""

    INT = "int"
    BOOL = "bool"
    OPTIONAL_INT = "int?"
    COMM = "comm"  # only to be compared with constants
    MEMCG = "memcg?"
    TASK = "task?"
    IS_UNDER = "is_under(path or memcg) -> bool"


@dataclass(frozen=True, slots=True)
class Field:
    """A row: the name as the IR has it, what it gives, the least and greatest number, what it means.

    can_fail: a read that the kernel may refuse (an mm that is gone): a fault. candidate_only: known for the task being
    ranked alone.
    """

    name: str
    kind: FieldKind
    least: int
    greatest: int
    doc: str
    can_fail: bool = False
    candidate_only: bool = False


def _pages(name: str, doc: str, can_fail: bool = False) -> Field:
    return Field(name, FieldKind.INT, 0, PAGE_COUNTER_MAX, doc, can_fail)


FIELDS: Final = (
    Field("task.pid", FieldKind.INT, 0, INT_MAX, "The thread's id, in the first pid namespace."),
    Field("task.tgid", FieldKind.INT, 0, INT_MAX, "The process's id: what user space calls the pid."),
    Field("task.comm", FieldKind.COMM, 0, 0, "The name, at most 15 bytes: ==, !=, in, startswith with constants."),
    Field("task.uid", FieldKind.INT, 0, UINT_MAX, "The real user id, in the first user namespace."),
    Field("task.oom_score_adj", FieldKind.INT, -1000, 1000, "-999 to 1000: -1000 never reaches a policy."),
    _pages("task.rss_anon", "Anonymous pages in memory.", can_fail=True),
    _pages("task.rss_file", "Pages of files in memory.", can_fail=True),
    _pages("task.rss_shmem", "Shared memory in memory (tmpfs, shm).", can_fail=True),
    _pages("task.rss", "Resident pages as oom_badness() counts them; where counters lag per CPU, not exactly the sum "
           "of the three.", can_fail=True),
    _pages("task.swap", "Anonymous pages in swap.", can_fail=True),
    _pages("task.pgtables", "Pages that hold page tables.", can_fail=True),
    Field("task.badness", FieldKind.INT, LONG_MIN + 1, LONG_MAX, "The kernel's own points for this task in this OOM.",
          candidate_only=True),
    Field("task.start_time_ns", FieldKind.INT, 0, LONG_MAX, "When it started, from boot."),
    Field("task.age_ms", FieldKind.INT, 0, LONG_MAX // 1_000_000, "How long it has run."),
    Field("task.value", FieldKind.OPTIONAL_INT, LONG_MIN, LONG_MAX,
          "The opaque value of the task itself; None where it has none."),
    Field("task.memcg", FieldKind.MEMCG, 0, 0, "The memory cgroup it is in; None where that is not known."),
    Field("memcg.id", FieldKind.INT, 0, LONG_MAX, "The cgroup id."),
    Field("memcg.value", FieldKind.OPTIONAL_INT, LONG_MIN, LONG_MAX,
          "The opaque value: its own, or the nearest ancestor's that has one; None where none has."),
    _pages("memcg.usage", "memory.current (v1: memory.usage_in_bytes)."),
    _pages("memcg.limit", "memory.max (v1: memory.limit_in_bytes); a huge number where unlimited."),
    _pages("memcg.min", "memory.min; 0 on v1."),
    _pages("memcg.low", "memory.low; 0 on v1."),
    _pages("memcg.swap", "memory.swap.current (v1: memsw usage less memory usage)."),
    Field("memcg.depth", FieldKind.INT, 0, INT_MAX, "Steps to the root, which is 0."),
    Field("memcg.parent", FieldKind.MEMCG, 0, 0, "The memcg above; None at the root."),
    Field("memcg.is_under", FieldKind.IS_UNDER, 0, 1,
          'Is it that memcg, or below it? A path from the root ("/kubepods.slice"), or a memcg.'),
    _pages("oc.totalpages", "The pages that the scope has, swap included."),
    Field("oc.order", FieldKind.INT, -1, 64, "log2 of the pages asked for; -1 for sysrq."),
    Field("oc.gfp_mask", FieldKind.INT, 0, UINT_MAX, "The flags of the allocation that failed."),
    Field("oc.constraint", FieldKind.INT, 0, 3, "enum oom_constraint: 0 none, 1 cpuset, 2 mempolicy, 3 memcg."),
    Field("oc.is_memcg_oom", FieldKind.BOOL, 0, 1, "Did a memcg run out, and not the machine?"),
    Field("oc.memcg", FieldKind.MEMCG, 0, 0, "The memcg that ran out; None where it is not a memcg's OOM."),
    Field("oc.trigger", FieldKind.TASK, 0, 0, "The task that ran out; None where that is not known."),
)  # fmt: skip

BY_NAME: Final = {field.name: field for field in FIELDS}
COMM_BYTES: Final = 16  # with the NUL that ends it
