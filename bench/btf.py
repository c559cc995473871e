"""How long it takes to find out where a policy's fields are: with the kernel's whole BTF, and with the cache.

Belongs here: the questions that a policy of many fields asks, timed. Must not know: how they are answered.
Bounds: cold 150 ms, warm 10 ms, on a processor and not in an emulator.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from oompolicy.bpf.btf import Btf
from oompolicy.bpf.errors import BtfError
from oompolicy.bpf.kernel_btf import vmlinux_btf

RUNS = 15
BOUNDS_MS = {"cold": 150.0, "warm": 10.0}
FIELDS = {
    "task_struct": "pid tgid comm mm signal cred cgroups real_parent start_boottime flags vfork_done static_prio",
    "signal_struct": "oom_score_adj nr_threads oom_mm flags",
    "mm_struct": "pgtables_bytes total_vm rss_stat flags owner",
    "cred": "uid euid",
    "css_set": "subsys dfl_cgrp",
    "cgroup_subsys_state": "cgroup id parent",
    "cgroup": "kn level self",
    "kernfs_node": "id name",
    "mem_cgroup": "css memory.usage memory.max memory.min memory.low swap.usage oom_group",
    "oom_control": "memcg gfp_mask order totalpages chosen chosen_points constraint",
}
FUNCTIONS = ("oom_badness", "out_of_memory", "oom_evaluate_task", "bpf_iter_task")


def ask(btf: Btf) -> int:
    """What a program that ranks tasks must know; how many answers there were."""
    answers = [btf.field(struct, path) for struct, paths in FIELDS.items() for path in paths.split()]
    names = [btf.function(name) for name in FUNCTIONS if btf.has_function(name)]
    enumerators = [btf.enumerator("MM_SWAPENTS"), btf.enumerator("memory_cgrp_id", "cgroup_subsys_id")]
    return len(answers) + len(names) + len(enumerators)


def timed_ms(cache_folder: Path | None) -> float:
    """One start: open, ask, and write the cache if there is one and it is new."""
    start = time.perf_counter()
    with vmlinux_btf(cache_folder) as btf:
        ask(btf)
    return (time.perf_counter() - start) * 1e3


def main() -> int:
    """Print a line a way; status 1 where a median is over its bound."""
    with tempfile.TemporaryDirectory(dir="/run" if Path("/run").stat().st_uid == 0 else None) as folder:
        cache = Path(folder, "cache")
        try:
            taken = {"cold": [timed_ms(None) for _ in range(RUNS)], "first": [timed_ms(cache)]}
        except BtfError as error:
            print(f"not measured: {error}")
            return 0
        taken["warm"] = [timed_ms(cache) for _ in range(RUNS)]
        size_bytes = sum(path.stat().st_size for path in cache.iterdir())
    with vmlinux_btf() as btf:
        print(
            f"{ask(btf)} questions, {btf.source.type_count} types, cache of {size_bytes} bytes, median of {RUNS} runs"
        )
    status = 0
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:<6} {median:7.2f} ms (worst {max(times):.2f})")
        if median > BOUNDS_MS.get(name, float("inf")):
            print(f"  over its bound of {BOUNDS_MS[name]} ms")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
