"""How long the kernel's scan for a victim takes: without the module, with it, with a program. Runs in a guest, as root.

Belongs here: many tasks in a memcg and a stopwatch inside the kernel. Usage: scan_cost.py TASKS ROUNDS
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
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


def main() -> None:
    tasks, rounds = int(sys.argv[1]), int(sys.argv[2])
    cannot_be_chosen()
    with Stage(LIMIT_MIB) as stage:
        into = f"echo $$ > {stage.path}/cgroup.procs; echo 0 > /proc/self/oom_score_adj"
        subprocess.run(["sh", "-c", f"{into}; for i in $(seq {tasks}); do sleep 1000 & done"], check=True)
        stage.hog("filler", LIMIT_MIB * 5 // 10, adj=-1000)
        start_stopwatch()
        for variant in ("without the module", "module, no program", "module, program"):
            policy = None
            if variant != "without the module":
                load()
            if variant == "module, program":
                policy = ByComm()
                policy.answer(sleep=score(5), asks=score(1 << 30))
                policy.attach()
            took_us = [one_scan_us(stage) for _ in range(rounds)]
            held = len((stage.path / "cgroup.procs").read_text().split())
            median_us = statistics.median(took_us)
            print(
                json.dumps({"variant": variant, "median_us": median_us, "all_us": took_us, "tasks": held}), flush=True
            )
            if policy:
                policy.detach()
            if variant != "without the module":
                command("rmmod", "oom_policy")


if __name__ == "__main__":
    main()
