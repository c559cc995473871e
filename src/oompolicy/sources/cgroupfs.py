"""All memory cgroups of a machine, from the files of their directories.

Belongs here: the file names of v1 and v2, and the order of the tree. Must not know: processes, what a value means.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from oompolicy.errors import SourceError
from oompolicy.mm.limits import LONG_MAX
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.sources.cgroup_mount import USAGE_FILE, Hierarchy
from oompolicy.sources.cgroup_value import MalformedValueError, only_root_writes, read_value, read_wish
from oompolicy.sources.kernel_file import is_gone, read_at


@dataclass(slots=True)
class Memcgs:
    """The memcgs of a hierarchy in for_each_mem_cgroup_tree() order, by path too.

    delegated: some cgroup is not root's alone. missing says in sentences what was not read.
    """

    in_order: list[MemCgroup] = field(default_factory=list)
    by_path: dict[str, MemCgroup] = field(default_factory=dict)
    delegated: bool = False
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Walk:
    """What is the same for every cgroup of one reading."""

    hierarchy: Hierarchy
    root_fd: int
    page_size: int
    swappiness: int


def read_memcgs(hierarchy: Hierarchy, page_size: int, swappiness: int) -> Memcgs:
    """Every memcg of the hierarchy; those that vanish are left out.

    Parents come before children, siblings by id: ids grow (idr_alloc_cyclic() in __kernfs_new_node(),
    fs/kernfs/dir.c), and css_next_child() in kernel/cgroup/cgroup.c goes by the time of creation. (On v2 a memcg is
    as old as the enabling of the controller above it, which does not show.) swappiness is vm.swappiness, which v2
    has for all (mem_cgroup_swappiness(), include/linux/swap.h). Raises SourceError where the root cannot be read.
    """
    try:
        root_fd = os.open(hierarchy.directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise SourceError(hierarchy.directory, f"cannot be read ({error.strerror})") from error
    try:
        return _read_tree(_Walk(hierarchy, root_fd, page_size, swappiness))
    finally:
        os.close(root_fd)


def _read_tree(walk: _Walk) -> Memcgs:
    memcgs = Memcgs()
    unreadable: list[str] = []
    stack: list[tuple[str, MemCgroup | None]] = [("/", None)]
    while stack:
        path, parent = stack.pop()
        try:
            dir_fd = os.open(path[1:] or ".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=walk.root_fd)
            try:
                memcg, children = _read_memcg(dir_fd, path, parent, walk, memcgs)
            finally:
                os.close(dir_fd)
        except OSError as error:
            if not is_gone(error):
                unreadable.append(path)
            continue
        if memcg is None:
            continue
        memcgs.in_order.append(memcg)
        memcgs.by_path[path] = memcg
        stack.extend((path.rstrip("/") + "/" + name, memcg) for name in reversed(children))
    if unreadable:
        first, more = unreadable[0], f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        name = first if len(first) <= 80 else first[:80] + "…"
        memcgs.missing.append(f"cgroup {name}{more} cannot be read: left out, with those below")
    return memcgs


def _read_memcg(
    dir_fd: int, path: str, parent: MemCgroup | None, walk: _Walk, memcgs: Memcgs
) -> tuple[MemCgroup | None, list[str]]:
    """One memcg of an open directory and its children's names, the oldest first.

    None where the cgroup has no memory controller; then no cgroup below it can have one (kernel/cgroup/cgroup.c,
    cgroup_control(): what is not enabled above cannot be enabled below).
    """
    status = os.fstat(dir_fd)
    is_v1 = walk.hierarchy.version == "v1"
    files = _Files(dir_fd, walk.page_size)
    amounts = _v1_amounts(files) if is_v1 else _v2_amounts(files)
    # A file that is not there: an older kernel, the v2 root, a cgroup without the controller, or one that vanished
    # halfway and must not pass for one without limits.
    if files.absent and parent is not None and not _exists(dir_fd, USAGE_FILE[walk.hierarchy.version]):
        return None, []
    memcgs.delegated |= not only_root_writes(status)
    try:
        value = read_value(dir_fd, status)
    except MalformedValueError as error:
        value = None
        memcgs.missing.append(f"cgroup {path}: its value is not a 64-bit integer ({error}): ignored")
    amounts.setdefault("swappiness", walk.swappiness)
    amounts["wish"] = read_wish(dir_fd, status)
    memcg = MemCgroup(path=path, parent=parent, id=status.st_ino, value=value, is_v1=is_v1, **amounts)
    # A kernfs directory counts its subdirectories as links (fs/kernfs/inode.c, kernfs_refresh_inode()): where it
    # says that there are none, its files need not be listed. Other file systems, of a copied tree, may say 1.
    return memcg, [] if status.st_nlink == 2 else _subdirectories(dir_fd)


class _Files:
    """The amounts in the files of one open cgroup directory, in pages; None where there is no limit or no file."""

    __slots__ = ("absent", "dir_fd", "page_size")

    def __init__(self, dir_fd: int, page_size: int) -> None:
        self.dir_fd = dir_fd
        self.page_size = page_size
        self.absent = False

    def text(self, name: str) -> bytes | None:
        """A file's text; None where this kernel has no such file, or the cgroup has vanished: absent says so."""
        try:
            return read_at(self.dir_fd, name)
        except OSError as error:
            if not is_gone(error):
                raise
            self.absent = True
            return None

    def pages(self, name: str) -> int | None:
        """page_counter.max or .usage: v2 prints "max", v1 PAGE_COUNTER_MAX * PAGE_SIZE where there is no limit."""
        text = self.text(name)
        if text is None or text == b"max\n":
            return None
        pages = int(text) // self.page_size
        return None if pages >= LONG_MAX // self.page_size else pages

    def protection(self, name: str) -> int:
        """memory.min, memory.low: 0 where there is none, and "max" is an amount."""
        text = self.text(name)
        if text is None:
            return 0
        return (LONG_MAX if text == b"max\n" else int(text)) // self.page_size


def _v1_amounts(files: _Files) -> dict[str, Any]:
    """mem_cgroup_legacy_files[], mm/memcontrol-v1.c; memory.memsw.* only where swap is accounted."""
    usage = files.pages("memory.usage_in_bytes")
    memsw = files.pages("memory.memsw.usage_in_bytes")
    oom_control = files.text("memory.oom_control") or b""
    amounts: dict[str, Any] = {
        "usage_pages": usage,
        "max_pages": files.pages("memory.limit_in_bytes"),
        "memsw_max_pages": files.pages("memory.memsw.limit_in_bytes"),
        # Two counters read one after the other: their difference may come out below nothing.
        "swap_pages": None if memsw is None or usage is None else max(memsw - usage, 0),
        "oom_kill_disable": oom_control.startswith(b"oom_kill_disable 1"),
    }
    swappiness = files.text("memory.swappiness")
    if swappiness is not None:
        amounts["swappiness"] = int(swappiness)
    return amounts


def _v2_amounts(files: _Files) -> dict[str, Any]:
    """memory_files[] and swap_files[], mm/memcontrol.c; the root has none of them."""
    return {
        "usage_pages": files.pages("memory.current"),
        "max_pages": files.pages("memory.max"),
        "high_pages": files.pages("memory.high"),
        "min_pages": files.protection("memory.min"),
        "low_pages": files.protection("memory.low"),
        "swap_pages": files.pages("memory.swap.current"),
        "swap_max_pages": files.pages("memory.swap.max"),
        "oom_group": files.text("memory.oom.group") == b"1\n",
    }


def _exists(dir_fd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    return True


def _subdirectories(dir_fd: int) -> list[str]:
    with os.scandir(dir_fd) as entries:
        return [name for _, name in sorted((e.inode(), e.name) for e in entries if e.is_dir(follow_symlinks=False))]
