"""The processor time to rank and plan oom_score_adj for 2,000 processes in 221 scopes, beside ranking them alone.

Belongs here: a made-up machine and the clock. Must not know: how a plan is found.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable

from oompolicy.backends.oom_score_adj.plan import plan
from oompolicy.compiler.checked import checked
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import Kernel
from oompolicy.mm.sched import Mm, Task
from oompolicy.policy.decision import decide
from oompolicy.policy_file import load_policy
from oompolicy.snapshot import Snapshot

RUNS = 5
PAGES_PER_MIB = 256
POLICIES = ("kernel_default", "memcg_priority", "memcg_hierarchy", "newest_first")


def machine() -> Snapshot:
    """20 memcgs of 3 GiB, in each 10 of 600 MiB with a value, in each of these 10 processes."""
    draw = random.Random(1)
    root = MemCgroup("/", id=1)
    memcgs = [root]
    tasks: list[Task] = []
    for outer in range(20):
        above = MemCgroup(f"/a{outer}", root, len(memcgs) + 1, 0, 3072 * PAGES_PER_MIB)
        memcgs.append(above)
        for inner in range(10):
            value = draw.choice([10, 50, 100, 500, 900])
            memcg = MemCgroup(
                f"/a{outer}/m{inner}", above, len(memcgs) + 1, 0, 600 * PAGES_PER_MIB, swap_pages=0, value=value
            )
            memcgs.append(memcg)
            for _ in range(10):
                size = draw.randint(300, 40_000)
                pid = 100 + len(tasks)
                tasks.append(Task(pid, f"t{pid}", Mm(size, 0, 9, size, 0, 0), memcg=memcg, start_time_ns=pid * 10**7))
    kernel = Kernel(tuple(tasks), totalram_pages=24576 * PAGES_PER_MIB, memcgs=tuple(memcgs))
    return Snapshot(kernel, taken_boottime_ns=10**12, hierarchy="v2")


def median_s(run: Callable[[], object]) -> float:
    """The median of several runs, after one that is not counted."""
    run()
    seconds = []
    for _ in range(RUNS):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def main() -> int:
    """Print a line a policy; status 1 where a plan takes a second or more."""
    world = machine()
    status = 0
    print(f"{len(world.kernel.tasks)} processes, {len(world.kernel.memcgs)} scopes, CPU seconds, median of {RUNS} runs")
    for name in POLICIES:
        policy = checked(load_policy(name))
        alone = median_s(lambda: decide(world.oom_control(), policy, world.taken_boottime_ns))  # noqa: B023
        planned = median_s(lambda: plan(world, policy))  # noqa: B023
        print(
            f"{name:<16} plan {planned:.2f} s, {planned / alone:.0f} times one ranking of the machine ({alone:.3f} s)"
        )
        if planned >= 1:
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
