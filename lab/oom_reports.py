"""Real OOM reports: a scenario played in a guest, the kernel's log of it, and the truth about it beside the log.

Belongs here: which scenarios there are, the machine each one wants, the form of the fixtures.
Must not know: how a report is read. Usage: python3 -m lab.oom_reports --into DIR [--kernel 6.12] [SCENARIO...]
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from lab import LabError
from lab.guest import Machine, run_guest
from lab.here import MOUNT, play_here
from lab.hog import hog
from lab.kernels import SERIES

SCENARIOS = Path(__file__).with_name("reports")
PLAIN = Machine()
SMALL = Machine(memory_mib=256)
TWO_NODES = Machine(memory_mib=512, numa_nodes=2)
MACHINES = {  # a scenario that is not here gets the plain one
    "global": SMALL,
    "allocating_task": SMALL,
    "cpuset": TWO_NODES,
    "mempolicy": TWO_NODES,
    "swap": Machine(swap_mib=128),
}
BEGINS = re.compile(r" invoked oom-killer: |sysrq: Manual OOM execution")
LINES_BEFORE = 4
REPORTS = {"unkillable": 3}  # how many of a log's reports are kept, where not all
HERE = "here"  # this machine, in place of a guest
CONTAINED = ("leader_exited", "memcg", "nested", "shared_mm", "shmem", "vfork")  # need nothing but a memcg
CGROUP_ROOT = "/sys/fs/cgroup"

Truth = dict[str, object]


def names() -> list[str]:
    """The scenarios, by the names of their scripts."""
    return sorted(path.stem for path in SCENARIOS.glob("*.sh") if path.stem != "stage")


def play(scenario: str, where: str) -> dict[str, str]:
    """What a scenario left in its /out, as text; LabError when its script did not come to its end."""
    script = "\n".join(SCENARIOS.joinpath(f"{part}.sh").read_text() for part in ("stage", scenario))
    script += "\nfinish\n"
    if where == HERE:
        if scenario not in CONTAINED:
            raise LabError(f"{scenario}: not for this machine, where only {', '.join(CONTAINED)} are contained")
        out = play_here(script)
    else:
        result = run_guest(script, where, MACHINES.get(scenario, PLAIN), {"/bin/hog": hog()})
        if result.status is None:
            told = result.stderr + result.console[-1000:]
            raise LabError(f"{scenario} on {where}: {result.ended.name} after {result.elapsed_s:.0f} s: {told}")
        out = dict(result.out)
    return {name: content.decode() for name, content in out.items()}


def trimmed(dmesg: str, reports: int) -> str:
    """The log from a few lines before the first report on, and of many reports the first ones."""
    lines = dmesg.splitlines(keepends=True)
    begins = [number for number, line in enumerate(lines) if BEGINS.search(line)] + [len(lines)]
    return "".join(lines[max(0, begins[0] - LINES_BEFORE) : begins[min(reports, len(begins) - 1)]])


def truth(scenario: str, machine: Machine | None, text: Mapping[str, str]) -> Truth:
    """What is known of a scenario without the kernel's log; tests/fixtures/README.md tells the keys."""
    mount = f"{MOUNT}" if machine is None else CGROUP_ROOT
    tasks = [task_of(line, text["before"], mount) for line in text["born"].splitlines()]
    comms = {task["pid"]: task["comm"] for task in tasks}
    killed = [int(line.split()[0]) for line in text["ends"].splitlines() if line.endswith(" signal 9")]
    victims = [pid for pid in killed if str(pid) not in text["released"].split()]
    return {
        "kernel": text["release"].strip(),
        "scenario": scenario,
        "about": SCENARIOS.joinpath(f"{scenario}.sh").read_text().splitlines()[0].removeprefix("# "),
        "cgroup_version": 1 if machine is None else 2,
        "machine": machine
        and {
            "memory_mib": machine.memory_mib,
            "swap_mib": machine.swap_mib,
            "numa_nodes": machine.numa_nodes,
        },
        "page_size_bytes": int(text["page_size"]),
        "mem_total_kb": int(text["meminfo"].split()[1]),
        "victims": [{"pid": pid, "comm": comms[pid]} for pid in victims],
        "tasks": tasks,
        "cgroups": cgroups(text["cgroups"]),
    }


def task_of(born: str, before: str, mount: str) -> Truth:
    """One task from its line in the ledger; `before` is None for a task that came after that note was taken."""
    tid, tgid, comm, oom_score_adj, mib, cgroup, words = born.split("\t")
    noted = [line.split()[1:] for line in before.splitlines() if line.startswith(f"{tid} ")]
    return {
        "pid": int(tid),
        "tgid": int(tgid),
        "comm": comm,
        "oom_score_adj": int(oom_score_adj),
        "cgroup": cgroup.removeprefix(mount).removesuffix("/.") or "/",
        "held_mib": int(mib),
        "words": words.split(",") if words else [],
        "before": {name: int(value) for name, value in noted} or None,
    }


def cgroups(text: str) -> dict[str, dict[str, str]]:
    """Path -> file -> value, from lines "./path/file:value"; an event's name is put behind its file's."""
    tree: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        path, _, value = line.removeprefix(".").partition(":")
        folder, _, file = path.rpartition("/")
        if file in ("memory.events", "memory.oom_control"):
            event, _, value = value.partition(" ")
            file += f":{event}"
        tree.setdefault(folder, {})[file] = value
    return dict(sorted(tree.items()))


def write(folder: Path, name: str, log: str, known: Truth) -> None:
    """The two files of a fixture."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath(f"{name}.log").write_text(log)
    folder.joinpath(f"{name}.json").write_text(json.dumps(known, indent=1) + "\n")


def main() -> int:
    """Play scenarios and write their fixtures; each prints one line."""
    parser = argparse.ArgumentParser("python3 -m lab.oom_reports", description="make real OOM reports")
    add = parser.add_argument
    add("--into", type=Path, required=True, help="the folder for the fixtures")
    add("--kernel", action="append", choices=(*SERIES, HERE), help=f"default: {' and '.join(SERIES)}")
    add("scenario", nargs="*", help=f"default: all of {', '.join(names())}")
    asked = parser.parse_args()
    try:
        for where in asked.kernel or SERIES:
            for scenario in asked.scenario or (CONTAINED if where == HERE else names()):
                text = play(scenario, where)
                machine = None if where == HERE else MACHINES.get(scenario, PLAIN)
                known = truth(scenario, machine, text)
                series = ".".join(text["release"].split(".")[:2]) + ("-v1" if where == HERE else "")
                write(asked.into, f"{series}-{scenario}", trimmed(text["dmesg"], REPORTS.get(scenario, 99)), known)
                print(f"{series} {scenario}: {known['victims']}", flush=True)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
