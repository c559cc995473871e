"""How long the kernel's scan for a victim takes: without the module, with it, with a program. Runs in a guest, as root.

Belongs here: many tasks in a memcg and a stopwatch inside the kernel. Usage: scan_cost.py TASKS ROUNDS
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from guest.by_comm import ByComm, score
from guest.oom_stage import Stage, cannot_be_chosen, command, load, wait

TRACING = Path("/sys/kernel/tracing")
SCAN = "mem_cgroup_scan_tasks"  # walks the tasks of an OOM's memcgs; the dump of tasks would be a second walk
LIMIT_MIB = 700


def start_stopwatch() -> None:
    """The graph tracer on one function alone writes down how long each call took."""
    Path("/proc/sys/vm/oom_dump_tasks").write_text("0")
    (TRACING / "set_ftrace_filter").write_text(SCAN)
    (TRACING / "current_tracer").write_text("function_graph")


def one_scan_us(stage: Stage) -> float:
    """The longest scan of one OOM: those that find a victim on its way out end early."""
    (TRACING / "trace").write_text("")
    before = len(stage.lines("ends"))
    stage.hog("asks", 1, f"grow={LIMIT_MIB}")
    wait(lambda: len(stage.lines("ends")) > before, limit_s=30)
    time.sleep(0.3)
    trace = (TRACING / "trace").read_text()
    return max(float(us) for us in re.findall(rf"([\d.]+) us\s+\|\s+{SCAN}", trace))


def variants(stage: Stage) -> Iterator[tuple[str, float]]:
    """One scan of each, in one go: what disturbs one round disturbs them alike."""
    yield "without the module", one_scan_us(stage)
    load()
    yield "module, no program", one_scan_us(stage)
    policy = ByComm()
    policy.answer(sleep=score(5), asks=score(1 << 30))
    policy.attach()
    yield "module, program", one_scan_us(stage)
    policy.detach()
    policy.close()
    command("rmmod", "oom_policy")


def main() -> None:
    tasks, rounds = int(sys.argv[1]), int(sys.argv[2])
    cannot_be_chosen()
    with Stage(LIMIT_MIB) as stage:
        into = f"echo $$ > {stage.path}/cgroup.procs; echo 0 > /proc/self/oom_score_adj"
        subprocess.run(["sh", "-c", f"{into}; for i in $(seq {tasks}); do sleep 1000 & done"], check=True)
        stage.hog("filler", LIMIT_MIB // 2, adj=-1000)
        start_stopwatch()
        took_us: dict[str, list[float]] = {}
        for _ in range(rounds):
            for variant, us in variants(stage):
                took_us.setdefault(variant, []).append(us)
        for variant, all_us in took_us.items():
            print(json.dumps({"variant": variant, "least_us": min(all_us), "all_us": all_us}))


if __name__ == "__main__":
    main()
