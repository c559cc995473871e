"""How long the kernel's scan for a victim and its dump of tasks take, with a compiled policy and without. In a guest.

Belongs here: many tasks in one memcg, the variants in turn, a stopwatch inside the kernel. Runs as root.
Must not know: what is too much. Usage: compiled_cost.py TASKS ROUNDS, in 2 GiB; one JSON object a variant.

In one event mem_cgroup_scan_tasks() is called twice: for the scan, and for the kernel's own list of the tasks
(mm/oom_kill.c, select_bad_process() and dump_tasks()).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from guest.hook_stage import InForce
from guest.oom_stage import Stage, cannot_be_chosen, command, load, wait
from guest.scan_cost import LIMIT_MIB, SCAN, TRACING
from oompolicy.backends.hook.ruling import Wanted
from oompolicy.policies.kernel_default import kernel_default
from oompolicy.policies.memcg_priority import memcg_priority
from oompolicy.policy import Policy

TTL_MS = 3_600_000


def start_stopwatch() -> None:
    """The graph tracer on one function alone; the dump goes into the log's buffer, not over a slow console."""
    Path("/proc/sys/kernel/printk").write_text("1")
    (TRACING / "set_ftrace_filter").write_text(SCAN)
    (TRACING / "current_tracer").write_text("function_graph")
    # A walk that is interrupted is written as two lines; the second shall say of what it is the end.
    (TRACING / "options" / "funcgraph-tail").write_text("1")


def one_event_us(stage: Stage) -> tuple[float, float]:
    """(scan, dump) of the first event that has both."""
    (TRACING / "trace").write_text("")
    before = len(stage.lines("ends"))
    stage.hog("asks", 1, f"grow={LIMIT_MIB}")
    wait(lambda: len(stage.lines("ends")) > before, limit_s=60)
    time.sleep(0.3)
    trace = (TRACING / "trace").read_text()
    took = [float(us) for us in re.findall(rf"([\d.]+) us\s+\|\s+(?:\}} /\* )?{SCAN}", trace)]
    assert len(took) >= 2, f"{len(took)} walks in this event:\n{trace[-1500:]}"
    return took[0], took[1]


def hooked(stage: Stage, policy: Policy) -> tuple[float, float]:
    """The same with the policy compiled into the kernel, its values fresh."""
    force = InForce(TTL_MS, Wanted.COMPILED)
    force.see(policy)
    took = one_event_us(stage)
    (event, *_) = force.events()
    assert {one.source.name for one in event.weighed} == {"POLICY"}, "the policy was not asked"
    force.stop()
    return took


def variants(stage: Stage) -> Iterator[tuple[str, tuple[float, float]]]:
    """One event of each, in one go: what disturbs one round disturbs them alike."""
    yield "without the hook", one_event_us(stage)
    load()
    yield "module, no policy", one_event_us(stage)
    yield "kernel_default", hooked(stage, kernel_default)
    yield "memcg_priority", hooked(stage, memcg_priority)
    command("rmmod", "oom_policy")


def main() -> None:
    tasks, rounds = int(sys.argv[1]), int(sys.argv[2])
    cannot_be_chosen()
    with Stage(LIMIT_MIB) as stage:
        os.setxattr(stage.path, "user.oompolicy.value", b"7")
        into = f"echo $$ > {stage.path}/cgroup.procs; echo 0 > /proc/self/oom_score_adj"
        subprocess.run(["sh", "-c", f"{into}; for i in $(seq {tasks}); do sleep 10000 & done"], check=True)
        stage.hog("filler", LIMIT_MIB // 2, adj=-1000)
        start_stopwatch()
        all_us: dict[str, list[tuple[float, float]]] = {}
        for _ in range(rounds):
            for variant, took in variants(stage):
                all_us.setdefault(variant, []).append(took)
        for variant, rows in all_us.items():
            print(json.dumps({"variant": variant, "us": rows}))


if __name__ == "__main__":
    main()
