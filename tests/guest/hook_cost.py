"""How long the kernel's scan for a victim takes with the hook's programs, history included. Runs in a guest, as root.

Belongs here: the variants of the hook beside scan_cost.py's. Usage: hook_cost.py TASKS ROUNDS, in 2 GiB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from guest.hook_stage import InForce
from guest.oom_stage import Stage, cannot_be_chosen, command, load
from guest.scan_cost import LIMIT_MIB, one_scan_us, start_stopwatch
from oompolicy.backends.hook.ruling import Wanted
from oompolicy.policy import OomControl, Policy, Task, Verdict, policy
from oompolicy.policy_file import load_policy

PRIORITY = load_policy("memcg_priority", ())


@policy
def by_comm(task: Task, oc: OomControl) -> int | Verdict:
    return 5 if task.comm == "sleep" else (1 << 30) + task.badness


@policy
def by_memcg(task: Task, oc: OomControl) -> int | Verdict:
    return task.badness + (0 if task.memcg is None or task.memcg.value is None else task.memcg.value)


def main() -> None:
    tasks, rounds = int(sys.argv[1]), int(sys.argv[2])
    cannot_be_chosen()
    with Stage(LIMIT_MIB) as stage:
        into = f"echo $$ > {stage.path}/cgroup.procs; echo 0 > /proc/self/oom_score_adj"
        subprocess.run(["sh", "-c", f"{into}; for i in $(seq {tasks}); do sleep 1000 & done"], check=True)
        stage.hog("filler", LIMIT_MIB // 2, adj=-1000)
        os.setxattr(stage.path, "user.oompolicy.value", b"10")
        start_stopwatch()
        took_us: dict[str, list[float]] = {}

        def hook(name: str, ruling: Policy, ttl_ms: int = 600_000, wanted: Wanted = Wanted.PUBLISHED) -> None:
            force = InForce(ttl_ms, wanted)
            force.see(ruling)
            took_us.setdefault(name, []).append(one_scan_us(stage))
            force.stop()

        for _ in range(rounds):
            took_us.setdefault("without the module", []).append(one_scan_us(stage))
            load()
            took_us.setdefault("module, no program", []).append(one_scan_us(stage))
            hook("hook, tasks have entries", by_comm)
            hook("hook, expired", by_memcg, 1)
            hook("hook, memcg_priority compiled", PRIORITY, wanted=Wanted.COMPILED)
            command("rmmod", "oom_policy")
        for variant, all_us in took_us.items():
            print(json.dumps({"variant": variant, "least_us": min(all_us), "all_us": all_us}))


if __name__ == "__main__":
    main()
