"""Where this kernel keeps what the programs read, by name from its BTF.

Belongs here: the fields, one line each. Must not know: instructions.
"""

from __future__ import annotations

from dataclasses import dataclass

from oompolicy.bpf.btf import Btf


@dataclass(frozen=True, slots=True)
class KernelLayout:
    """Offsets in bytes; a dot goes into an embedded struct, never over a pointer."""

    task_comm: int
    task_pid: int
    task_tgid: int
    task_start_boottime: int
    task_cgroups: int
    css_set_memory: int  # css_set.subsys[memory_cgrp_id]
    css_cgroup: int
    cgroup_kn: int
    cgroup_self_parent: int
    kn_id: int
    oc_memcg: int
    oc_gfp_mask: int
    oc_order: int
    oc_totalpages: int
    oc_chosen: int
    oc_chosen_points: int
    oc_constraint: int
    memcg_css_cgroup: int


def read_layout(btf: Btf) -> KernelLayout:
    """Raises BtfError for a kernel that has not got all of it (no memory controller, no BTF)."""
    memory = btf.enumerator("memory_cgrp_id", "cgroup_subsys_id")

    def at(struct: str, path: str) -> int:
        return btf.field(struct, path).offset_bytes

    return KernelLayout(
        at("task_struct", "comm"),
        at("task_struct", "pid"),
        at("task_struct", "tgid"),
        at("task_struct", "start_boottime"),
        at("task_struct", "cgroups"),
        at("css_set", f"subsys[{memory}]"),
        at("cgroup_subsys_state", "cgroup"),
        at("cgroup", "kn"),
        at("cgroup", "self.parent"),
        at("kernfs_node", "id"),
        at("oom_control", "memcg"),
        at("oom_control", "gfp_mask"),
        at("oom_control", "order"),
        at("oom_control", "totalpages"),
        at("oom_control", "chosen"),
        at("oom_control", "chosen_points"),
        at("oom_control", "constraint"),
        at("mem_cgroup", "css.cgroup"),
    )
