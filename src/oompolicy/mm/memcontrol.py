"""The memory controller's part of the selection, transcribed from mm/memcontrol.c.

Belongs here: struct mem_cgroup and the functions of that file that bound or widen an OOM kill.
Must not know: cgroup file systems, v1 or v2 file names, policies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from oompolicy.mm.sched import Task

# include/linux/page_counter.h: LONG_MAX / PAGE_SIZE, what an unlimited counter holds (4 kB pages).
PAGE_COUNTER_MAX: Final = ((1 << 63) - 1) // 4096


@dataclass(frozen=True, slots=True, eq=False)
class MemCgroup:
    """struct mem_cgroup: one memory cgroup; all amounts in pages.

    path is the cgroup's own, from the root of its hierarchy ("/" for the root). id is the cgroup id (the inode
    number of its directory), None where the source has none. max_pages, high_pages, swap_max_pages and
    memsw_max_pages are None where there is no limit. memsw_max_pages exists on the v1 hierarchy only, swap_max_pages,
    min_pages, low_pages, high_pages and oom_group on v2 only. value is the one set on this very cgroup; wish what its
    owner asks for, where it was delegated.
    """

    path: str
    parent: MemCgroup | None = None
    id: int | None = None
    usage_pages: int | None = None
    max_pages: int | None = None
    high_pages: int | None = None
    min_pages: int = 0
    low_pages: int = 0
    swap_pages: int | None = None
    swap_max_pages: int | None = None
    memsw_max_pages: int | None = None
    swappiness: int = 60
    oom_group: bool = False
    oom_kill_disable: bool = False  # v1: memory.oom_control
    is_v1: bool = False
    value: int | None = None
    wish: int | None = None

    @property
    def depth(self) -> int:
        """Steps to the root, which is 0."""
        steps, above = 0, self.parent
        while above is not None:
            steps, above = steps + 1, above.parent
        return steps

    @property
    def nearest_value(self) -> int | None:
        """The value of this cgroup, or of the nearest ancestor that has one; None where none has."""
        return next((memcg.value for memcg in ancestors(self) if memcg.value is not None), None)


def ancestors(memcg: MemCgroup) -> Iterator[MemCgroup]:
    """The cgroup itself, its parent, and so on to the root."""
    here: MemCgroup | None = memcg
    while here is not None:
        yield here
        here = here.parent


def mem_cgroup_is_root(memcg: MemCgroup) -> bool:
    """C: static inline bool mem_cgroup_is_root(struct mem_cgroup *memcg), include/linux/memcontrol.h."""
    return memcg.path == "/"


def mem_cgroup_is_descendant(memcg: MemCgroup, root: MemCgroup) -> bool:
    """Is memcg the root given, or below it?

    C: static inline bool mem_cgroup_is_descendant(struct mem_cgroup *memcg, struct mem_cgroup *root),
    include/linux/memcontrol.h. By path: a recording and a live tree then agree.
    """
    return mem_cgroup_is_root(root) or memcg.path == root.path or memcg.path.startswith(root.path + "/")


def mem_cgroup_get_max(memcg: MemCgroup, total_swap_pages: int) -> int:
    """The most memory a cgroup may hold with its swap, in pages: totalpages of a memcg OOM.

    Only its own limit counts, not its ancestors'. C: unsigned long mem_cgroup_get_max(struct mem_cgroup *memcg),
    mm/memcontrol.c; v1 reads memsw.max, v2 swap.max.
    """
    limit = PAGE_COUNTER_MAX if memcg.max_pages is None else memcg.max_pages
    if not memcg.swappiness:
        return limit
    if memcg.is_v1:
        memsw = PAGE_COUNTER_MAX if memcg.memsw_max_pages is None else memcg.memsw_max_pages
        return limit + min(max(memsw - limit, 0), total_swap_pages)
    swap = PAGE_COUNTER_MAX if memcg.swap_max_pages is None else memcg.swap_max_pages
    return limit + min(swap, total_swap_pages)


def mem_cgroup_get_oom_group(victim: Task, oom_domain: MemCgroup | None) -> MemCgroup | None:
    """The memcg to be killed whole, the highest with memory.oom.group between the victim and the OOM's scope.

    oom_domain is None for a global OOM. C: struct mem_cgroup *mem_cgroup_get_oom_group(struct task_struct *victim,
    struct mem_cgroup *oom_domain), mm/memcontrol.c; commit 3d8b38eb81ca "mm, oom: introduce memory.oom.group"
    (in v4.19).
    """
    memcg = victim.memcg
    if memcg is None or memcg.is_v1 or mem_cgroup_is_root(memcg):
        return None
    if oom_domain is not None and not mem_cgroup_is_descendant(memcg, oom_domain):
        return None
    oom_group = None
    for here in ancestors(memcg):
        if here.oom_group:
            oom_group = here
        if oom_domain is not None and here.path == oom_domain.path:
            break
    return oom_group
