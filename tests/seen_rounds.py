"""A round seen, as one literal: from a fixture's log and what is known beside it.

Belongs here: turning the truth about a fixture into what a guest would have said. Must not know: what is tested.
"""

from __future__ import annotations

import json
from pathlib import Path

from lab.guest import Ended, GuestResult
from lab.kernels import Kernel
from lab.play import Played
from lab.scenario import Scenario
from lab.seen import KILLED, Death, GuestSeen, Marked, Process, RoundSeen, Said
from lab.world import Cgroup, Machine, Memory, Oom, Play, Round, Workload, World

FIXTURES = Path(__file__).parent / "fixtures" / "oom_reports"


def fixture(name: str, **said: object) -> tuple[Play, RoundSeen]:
    """The world and the round of a fixture; `said` are keys of its Round."""
    truth = json.loads((FIXTURES / f"{name}.json").read_text())
    tree = {
        path: Cgroup(Memory(max=files.get("memory.max"), oom=Oom(group=files.get("memory.oom.group") == "1")))
        for path, files in truth["cgroups"].items()
    }
    comms = {task["pid"]: task for task in truth["tasks"]}
    workloads: list[Workload] = []
    born: dict[int, Process] = {}
    for task in comms.values():
        process = Process(task["tgid"], task["comm"], task["cgroup"], task["comm"], task["oom_score_adj"])
        born.setdefault(task["tgid"], process)
        workloads.append(
            Workload(task["comm"], task["cgroup"], f"{task['held_mib']}M", oom_score_adj=process.oom_score_adj)
        )
    deaths = [Death(born[victim["pid"]], KILLED, 0, 0.5) for victim in truth["victims"]]
    marked = [Marked(victim["pid"], 0.4) for victim in truth["victims"]]
    log = (FIXTURES / f"{name}.log").read_text()
    row = Round(**{"runs_out": "/job", "by": "grower", "backend": "none", "within_s": 5, **said})  # type: ignore[arg-type]
    return Play(World(tree, workloads), row), RoundSeen(1, list(born.values()), deaths, marked, log)


def played(
    this: Play,
    *rounds: RoundSeen,
    ended: Ended = Ended.SCRIPT_DONE,
    status: int | None = 0,
    console: str = "",
    stderr: str = "",
    doing: str | None = "round 1",
    guest_log: str = "",
) -> Played:
    """A scenario of one round, played."""
    scenario = Scenario("made-up", "for a test", Machine(), (this,), 30, Path())
    guest = GuestSeen("6.12.0-test", guest_log, 2.5, 500_000)
    result = GuestResult(ended, status, "6.12", "", stderr, console, 7.25, {})
    return Played(scenario, Kernel("6.12", Path("vmlinuz")), Said(guest, list(rounds), doing), result)
