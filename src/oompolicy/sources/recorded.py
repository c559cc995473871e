"""The form of a snapshot in a recording: version 1.

Belongs here: one struct for each dataclass of a snapshot, and going there and back. Must not know: files, compression.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Annotated, Any, Final

import msgspec

from oompolicy.mm.memcontrol import MemCgroup, ancestors
from oompolicy.mm.oom import Kernel
from oompolicy.mm.rules import Rules, rules_for
from oompolicy.mm.sched import Mm, Task
from oompolicy.snapshot import Snapshot

# Add no field without a new number: a reader of this one must not lose what it does not know.
VERSION: Final = 1

# JSON has no place for bytes that are not UTF-8; in Python they are surrogates. They are written as \udcXX, and
# the backslash as two.
_TO_ESCAPE = re.compile("[\\\\\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(\\|u[0-9a-f]{4})")

Index = Annotated[int, msgspec.Meta(ge=0)]


class RecordedMm(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """mm.sched.Mm."""

    rss_pages: int
    swap_pages: int = 0
    pgtables_pages: int = 0
    rss_anon_pages: int | None = None
    rss_file_pages: int | None = None
    rss_shmem_pages: int | None = None
    total_vm_pages: int | None = None
    oom_skip: bool = False


class RecordedTask(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """mm.sched.Task; memcg is an index into RecordedSnapshot.memcgs."""

    pid: int
    comm: str
    mm: RecordedMm | None = None
    tgid: int | None = None
    ppid: int | None = None
    uid: int = 0
    oom_score_adj: int = 0
    memcg: Index | None = None
    start_time_ns: int | None = None
    value: int | None = None
    is_kthread: bool = False
    in_vfork: bool = False
    is_oom_victim: bool = False
    is_exiting: bool = False
    oom_task_origin: bool = False
    has_cap_sys_admin: bool | None = None
    mems_allowed: list[int] | None = None
    mempolicy_nodes: list[int] | None = None


class RecordedMemCgroup(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """mm.memcontrol.MemCgroup; parent is an index of one before it."""

    path: str
    parent: Index | None = None
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
    oom_kill_disable: bool = False
    is_v1: bool = False
    value: int | None = None
    wish: int | None = None


class RecordedKernel(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """mm.oom.Kernel; memcgs are indexes. rules are by name, enums by the name of their member."""

    tasks: list[RecordedTask]
    totalram_pages: int
    total_swap_pages: int = 0
    memcgs: list[Index] = []
    node_present_pages: dict[int, int] = {}
    sysctl_oom_kill_allocating_task: bool = False
    sysctl_panic_on_oom: int = 0
    rules: dict[str, bool | str] = {}


class RecordedSnapshot(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """snapshot.Snapshot, and all memcgs that it names, parents before children."""

    kernel: RecordedKernel
    page_size_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 4096
    taken_boottime_ns: int | None = None
    taken_unix_ns: int | None = None
    kernel_release: str | None = None
    hostname: str | None = None
    hierarchy: str | None = None
    missing: list[str] = []
    memcgs: list[RecordedMemCgroup] = []


def record(snapshot: Snapshot) -> RecordedSnapshot:
    """The snapshot in the form of a recording."""
    kernel = snapshot.kernel
    indexes = {memcg: index for index, memcg in enumerate(_all_memcgs(kernel))}

    def of_task(task: Task) -> RecordedTask:
        own = _own_fields(task)
        own["memcg"] = None if task.memcg is None else indexes[task.memcg]
        own["mm"] = None if task.mm is None else RecordedMm(**_own_fields(task.mm))
        for mask in ("mems_allowed", "mempolicy_nodes"):
            own[mask] = None if own[mask] is None else sorted(own[mask])
        return RecordedTask(**own)

    def of_memcg(memcg: MemCgroup) -> RecordedMemCgroup:
        own = _own_fields(memcg)
        own["parent"] = None if memcg.parent is None else indexes[memcg.parent]
        return RecordedMemCgroup(**own)

    own = _own_fields(kernel)
    own["tasks"] = [of_task(task) for task in kernel.tasks]
    own["memcgs"] = [indexes[memcg] for memcg in kernel.memcgs]
    own["rules"] = {
        name: flag.name if isinstance(flag, enum.Enum) else flag for name, flag in _own_fields(kernel.rules).items()
    }
    whole = _own_fields(snapshot)
    del whole["details"]  # asks the machine it was taken on, which a recording leaves behind
    whole["kernel"] = RecordedKernel(**own)
    whole["missing"] = [_escape(sentence) for sentence in snapshot.missing]
    return RecordedSnapshot(**whole, memcgs=[of_memcg(memcg) for memcg in indexes])


def restore(recorded: RecordedSnapshot) -> Snapshot:
    """The snapshot of a recording. Raises ValueError where it contradicts itself."""
    memcgs: list[MemCgroup] = []
    for one in recorded.memcgs:
        own = _struct_fields(one)
        own["parent"] = None if one.parent is None else _at(memcgs, one.parent, "a cgroup's parent")
        memcgs.append(MemCgroup(**own))

    def task(one: RecordedTask) -> Task:
        own = _struct_fields(one)
        own["memcg"] = None if one.memcg is None else _at(memcgs, one.memcg, "a process's cgroup")
        own["mm"] = None if one.mm is None else Mm(**_struct_fields(one.mm))
        for mask in ("mems_allowed", "mempolicy_nodes"):
            own[mask] = None if own[mask] is None else frozenset(own[mask])
        return Task(**own)

    own = _struct_fields(recorded.kernel)
    own["tasks"] = tuple(task(one) for one in recorded.kernel.tasks)
    own["memcgs"] = tuple(_at(memcgs, index, "a cgroup") for index in recorded.kernel.memcgs)
    own["rules"] = _rules(recorded.kernel.rules, recorded.kernel_release)
    whole = _struct_fields(recorded)
    whole["kernel"] = Kernel(**own)
    whole["missing"] = tuple(_unescape(sentence) for sentence in recorded.missing)
    del whole["memcgs"]
    return Snapshot(**whole)


def _all_memcgs(kernel: Kernel) -> Iterator[MemCgroup]:
    """Every memcg once, parents before children: those of the kernel, and any that only a task names."""
    seen: set[MemCgroup] = set()
    of_tasks = (task.memcg for task in kernel.tasks if task.memcg is not None)
    for named in (*kernel.memcgs, *of_tasks):
        line = [] if named in seen else [memcg for memcg in ancestors(named) if memcg not in seen]
        seen.update(line)
        yield from reversed(line)


def _rules(flags: dict[str, bool | str], release: str | None) -> Rules:
    """The recorded rules; what an older recording does not say is taken from the release."""
    rules = rules_for(release)
    changes: dict[str, Any] = {}
    for name, flag in flags.items():
        known = getattr(rules, name, None) if name in {one.name for one in fields(Rules)} else None
        if isinstance(known, enum.Enum) and isinstance(flag, str) and flag in type(known).__members__:
            changes[name] = type(known)[flag]
        elif isinstance(known, bool) and isinstance(flag, bool):
            changes[name] = flag
        else:
            raise ValueError(f"{name} = {flag} is no rule of a kernel that is known here")
    return replace(rules, **changes)


def _own_fields(instance: Any) -> dict[str, Any]:
    """The fields of a dataclass, texts escaped."""
    return {one.name: _escaped(getattr(instance, one.name)) for one in fields(instance)}


def _struct_fields(instance: msgspec.Struct) -> dict[str, Any]:
    """The fields of a struct, texts as they were."""
    return {name: _unescaped(getattr(instance, name)) for name in instance.__struct_fields__}


def _escaped(value: Any) -> Any:
    return _escape(value) if isinstance(value, str) else value


def _unescaped(value: Any) -> Any:
    return _unescape(value) if isinstance(value, str) else value


def _escape(text: str) -> str:
    def escape(match: re.Match[str]) -> str:
        return "\\\\" if match[0] == "\\" else f"\\u{ord(match[0]):04x}"

    return _TO_ESCAPE.sub(escape, text)


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: "\\" if match[1] == "\\" else chr(int(match[1][1:], 16)), text)


def _at(memcgs: list[MemCgroup], index: int, what: str) -> MemCgroup:
    if index >= len(memcgs):
        raise ValueError(f"{what} is number {index} of {len(memcgs)}")
    return memcgs[index]
