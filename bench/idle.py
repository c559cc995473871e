"""What the daemon costs while memory is fine: CPU seconds a minute and PSS, beside earlyoom and nohang, in one run.

Belongs here: making processes and cgroups, starting each daemon, reading its process's counters from outside. Must not
know: what a daemon does. Bounds: 0.005 CPU seconds a minute, 16 MiB PSS.

Run it: `python bench/idle.py [SECONDS [PROCESSES [CGROUPS [ROUNDS]]]]`. Peers that are not installed are left out. Of
the rounds, in which all have their turns, the median is printed: what the host of a virtual machine takes of a CPU
counts as the daemon's. Nobody is killed: every daemon has thresholds that an idle machine does not reach, and ours only
says what it would do.

PSS counts what processes share by halves, thirds and so on; the private part and RSS are printed too, because on a
machine without another interpreter PSS comes near RSS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # for bench itself, as the tests have it

from bench.snapshot import empty_cgroups, sleeping_processes

from oompolicy.daemon import start
from oompolicy.daemon.settings import Settings
from oompolicy.rules.rule import Rule
from oompolicy.sources.cgroup_mount import find_memory_hierarchy

SETTLE_S = 5
BOUND_CPU_S_PER_MIN = 0.005
BOUND_PSS_KIB = 16 * 1024

LEVEL = Rule("low", "mem_available_percent < 4 and swap_free_percent < 10")
STALL = Rule("stall", "psi.memory.full.avg10 > 40")
EITHER = Rule("either", "mem_available_percent < 4 or psi.memory.full.avg10 > 60")
BATCH = Rule("batch", "cgroup.psi.memory.full.avg10 > 60", scope=("/**",))


def become(name: str, state: Path) -> None:
    """In a child: become our daemon with a set of rules, and nothing put in force."""
    rules = {"pressure": (STALL,), "level": (LEVEL, EITHER), "cgroups": (LEVEL, STALL, BATCH)}[name]
    watched = Path("/etc/oompolicy/oompolicy.toml")
    start.exec_daemon(Settings("kill", state_dir=state, rules=rules, command=(sys.executable,), watched=watched))


def commands(state: Path) -> dict[str, list[str]]:
    """Each daemon there is, by its name."""
    ours = [sys.executable, __file__, "--become"]
    found = {
        f"oompolicy, rules of {name}": [*ours, name, str(state / name)] for name in ("pressure", "level", "cgroups")
    }
    if earlyoom := shutil.which("earlyoom"):
        found["earlyoom -m 4 -s 10 -r 0"] = [earlyoom, "-m", "4", "-s", "10", "-r", "0", "--dryrun"]
    config = Path("/etc/nohang/nohang.conf")
    if (nohang := shutil.which("nohang")) and config.exists():
        found["nohang (its own configuration)"] = [nohang, "--monitor", "--config", str(config)]
    return found


def cpu_ns(pid: int) -> int:
    """Time on a CPU of all its threads; schedstat counts nanoseconds, stat only ticks."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def sizes_kib(pid: int) -> dict[str, int]:
    """Of smaps_rollup."""
    lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {words[0].rstrip(":"): int(words[1]) for words in lines}


def woken(pid: int) -> int:
    """How often it has gone to sleep of its own will."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("voluntary_ctxt_switches:")[1].split()[0])


@dataclass(frozen=True)
class Idle:
    """What a daemon has taken in one go, for a minute; sizes in KiB."""

    cpu_s: float
    times: float
    size: dict[str, int]


def idled(command: list[str], seconds: int) -> Idle:
    """Start it, let it settle, look away for so long, end it."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        time.sleep(SETTLE_S)
        pid = process.pid
        before_ns, before = cpu_ns(pid), woken(pid)
        time.sleep(seconds)
        cpu_s = (cpu_ns(pid) - before_ns) / 1e9 * 60 / seconds
        return Idle(cpu_s, (woken(pid) - before) * 60 / seconds, sizes_kib(pid))
    finally:
        process.terminate()
        process.wait()


def main(seconds: int = 60, processes: int = 2000, cgroups: int = 200, rounds: int = 3) -> int:
    """Print a line for each, the median of the rounds; status 1 where ours is over a bound."""
    hierarchy = find_memory_hierarchy(Path("/proc"), Path("/sys"))
    if os.geteuid() != 0 or hierarchy is None:
        print("needs root and a memory controller")
        return 2
    status = 0
    print(
        f"{processes} processes, {cgroups} cgroups ({hierarchy.version}), {rounds} times {seconds} s of an idle machine"
    )
    seen: dict[str, list[Idle]] = {}
    with tempfile.TemporaryDirectory() as state, sleeping_processes(processes), empty_cgroups(cgroups, hierarchy):
        daemons = commands(Path(state))
        for _ in range(rounds):
            for name, command in daemons.items():
                seen.setdefault(name, []).append(idled(command, seconds))
    for name, found in seen.items():
        found.sort(key=lambda idle: idle.cpu_s)
        cpu_s, size = found[rounds // 2].cpu_s, max((idle.size for idle in found), key=lambda size: size["Pss"])
        pss, private = size["Pss"], size["Private_Clean"] + size["Private_Dirty"]
        print(
            f"{name:<32} {cpu_s:.4f} CPU s a minute ({found[0].cpu_s:.4f} to {found[-1].cpu_s:.4f}), "
            f"{found[0].times:3.0f} wakings, PSS {pss / 1024:5.1f} MiB (private {private / 1024:.1f}, "
            f"RSS {size['Rss'] / 1024:.1f})"
        )
        if name.startswith("oompolicy") and (cpu_s > BOUND_CPU_S_PER_MIN or pss > BOUND_PSS_KIB):
            print(f"  over a bound ({BOUND_CPU_S_PER_MIN} CPU s a minute, {BOUND_PSS_KIB // 1024} MiB)")
            status = 1
    return status


if __name__ == "__main__":
    if sys.argv[1:2] == ["--become"]:
        become(sys.argv[2], Path(sys.argv[3]))
    sys.exit(main(*map(int, sys.argv[1:])))
