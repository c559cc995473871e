"""Many OOMs in one guest, each in a random world: the model's victim and points are the kernel's, or both are shown.

Belongs here: the comparison, report by report. Must not know: how a world is made up, how it is played.
Usage: python3 -m lab.random_oom --count 300 --seed S [--kernel 6.12] [--policy P --backend B] [--only NUMBER]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oompolicy.mm.oom_kill import OomOutcome
from oompolicy.mm.sched import Task
from oompolicy.policy.decision import Decision, decide
from oompolicy.policy_limit import call_limit
from oompolicy.replay import replay
from oompolicy.sources.oom_report import OomReport, read_reports

from lab import LabError
from lab.known import known_oom
from lab.log_problems import log_problems
from lab.play import Played, play
from lab.random_world import random_play
from lab.report_check import asker, built_in
from lab.scenario import Scenario
from lab.seen import Marked, RoundSeen
from lab.verdict import victims_of
from lab.world import Backend, Machine, Play

GUEST_S = 60.0
OOM_S = 4.0  # the mean, with much to spare
POLICY_S = 12.0  # a daemon started and stopped


@dataclass
class Compared:
    """One OOM: how many reports agree with the model, and what differs, in sentences.

    obeyed: is the first victim the one that the policy picks? None without a policy that can be asked.
    """

    number: int
    reports: int = 0
    points: int = 0
    obeyed: bool | None = None
    differs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """All OOMs of one guest."""

    compared: list[Compared]
    trouble: str | None
    log_problems: list[str]
    kernel: str
    guest_s: float

    @property
    def agree(self) -> int:
        """In how many OOMs the model and the kernel agree in everything."""
        return sum(not each.differs and each.reports > 0 for each in self.compared)


def run(
    seed: str, numbers: Sequence[int], kernel: str, policy: str | None = None, backend: Backend = "none"
) -> Outcome:
    """Play the OOMs of these numbers in one guest, and compare. Raises LabError when it cannot be started."""
    rounds = tuple(random_play(seed, number, policy, backend) for number in numbers)
    each_s = OOM_S if policy is None else OOM_S + POLICY_S
    played = play(Scenario("random", f"seed {seed}", Machine(), rounds, GUEST_S + each_s * len(rounds), Path()), kernel)
    guest = played.said.guest
    logs = [guest.log if guest else "", *(seen.log for seen in played.said.rounds), played.result.console]
    release = guest.release if guest else played.kernel.release
    return Outcome(compare_all(played), played.trouble, log_problems(logs), release, played.result.elapsed_s)


def compare_all(played: Played) -> list[Compared]:
    """Each OOM that was played."""
    plays = {this.number: this for this in played.scenario.rounds}
    return [compare(plays[seen.number], seen) for seen in played.said.rounds]


def compare(this: Play, seen: RoundSeen) -> Compared:
    """One OOM: what each of its reports shows, played in the model, against what the kernel did."""
    result = Compared(this.number)
    if seen.trouble is not None:
        result.differs.append(f"not played: {seen.trouble}")
        return result
    expected: set[int] = set()
    marks = list(seen.marked)
    ask = asker(this, seen)
    for report in read_reports([seen.log.encode()]):
        result.reports += 1
        decision = by_model(this, seen, report)
        outcome = decision.outcome
        if decision.faults:
            result.differs.append(
                f"cannot be compared: no report tells what the policy reads: {decision.faults[0].why}"
            )
            return result
        wanted = ask(report) if result.reports == 1 else None
        if wanted is not None and report.killed is not None:
            result.obeyed = replay(report).is_kernels(wanted)
        expected |= {task.process_id for task in outcome.killed}
        result.differs += victim_differs(report, outcome)
        mark = taken(marks, outcome.victim)
        if mark is not None and mark.points is not None:
            result.points += len(mark.points)
            result.differs += points_differ(mark.points, outcome)
    died = {death.process.pid for death in victims_of(seen)}
    if died != expected:
        names = {process.pid: process.comm for process in seen.born}
        shown = [", ".join(f"{names.get(pid, '?')} ({pid})" for pid in sorted(pids)) for pids in (died, expected)]
        result.differs.append(f"died: {shown[0]}; by the model: {shown[1]}")
    if not result.reports:
        result.differs.append("the kernel printed no report")
    return result


def by_model(this: Play, seen: RoundSeen, report: OomReport) -> Decision:
    """Whom the model picks in a report: with the policy where the kernel itself asks it, else by badness alone."""
    is_hook = this.round.backend == "hook"
    oc = known_oom(report, this.world, seen.born, own_adj=is_hook)
    return decide(oc, built_in(this.round) if is_hook else None, None, call_limit())


def victim_differs(report: OomReport, outcome: OomOutcome) -> list[str]:
    """The kernel's victim and the model's, where they are not the same process."""
    killed, victim = report.killed, outcome.victim
    if killed is None or victim is None:
        return [f"the kernel killed {killed and killed.comm}, the model {victim and victim.comm}"]
    if victim.same_process(killed.pid):
        return []
    return [f"the kernel killed {killed.comm} ({killed.pid}), the model picks {victim.comm} ({victim.process_id})"]


def taken(marks: list[Marked], victim: Task | None) -> Marked | None:
    """The mark of a victim, which is taken away with those before it."""
    for place, mark in enumerate(marks):
        if victim is not None and victim.same_process(mark.pid):
            del marks[: place + 1]
            return mark
    return None


def points_differ(by_kernel: Sequence[int], outcome: OomOutcome) -> list[str]:
    """What oom_badness() returned for each candidate, in the order of the scan, and what the model says.

    With the module's hook it returns twice for each: the kernel's own word, then what the policy made of it.
    """
    weighed = [item for item in outcome.oc.evaluated if item.badness is not None]
    width = 2 if weighed and len(by_kernel) == 2 * len(weighed) else 1
    in_kernel = [tuple(by_kernel[place : place + width]) for place in range(0, len(by_kernel), width)]
    by_model = [(item.badness or 0, item.points or 0)[:width] for item in weighed]
    if not outcome.oc.kernel.rules.memcg_dump_in_scan_order:
        in_kernel, by_model = sorted(in_kernel), sorted(by_model)
    if in_kernel == by_model:
        return []
    names = ", ".join(item.task.comm for item in weighed)
    return [f"points of {names}: the kernel has {in_kernel}, the model {by_model}"]


def show(outcome: Outcome, seed: str) -> None:
    """What a person reads: every disagreement with both sides and its seed, then the numbers."""
    for each in outcome.compared:
        for difference in each.differs:
            print(f"seed {seed}, OOM {each.number}: {difference}")
        if each.differs:
            print(f"    again: python3 -m lab.random_oom --seed {seed} --only {each.number}")
    for problem in outcome.log_problems:
        print(f"the kernel was in trouble: {problem}")
    if outcome.trouble is not None:
        print(f"trouble: {outcome.trouble}")
    if asked := [each.obeyed for each in outcome.compared if each.obeyed is not None]:
        print(f"the policy's first victim was the kernel's in {sum(asked)} of {len(asked)}")
    reports, points = (sum(getattr(each, name) for each in outcome.compared) for name in ("reports", "points"))
    print(
        f"{outcome.agree} of {len(outcome.compared)} random OOMs agree on {outcome.kernel}: victims and all who died "
        f"with them in {reports} reports, {points} points of oom_badness(); {outcome.guest_s:.0f} s"
    )


def what_was_met(plays: Sequence[Play]) -> Counter[str]:
    """How often each kind of thing was in these worlds."""
    met: Counter[str] = Counter()
    for this in plays:
        workloads = this.world.workload
        met["sysrq"] += this.round.scope is None
        met["nested"] += this.round.scope is not None and any(
            workload.cgroup != this.round.scope for workload in workloads
        )
        met["oom.group"] += any(cgroup.memory.oom.group for cgroup in this.world.cgroup.values())
        for name in ("leader_exits", "shmem", "mlock", "uid"):
            met[name] += any(getattr(workload, name) for workload in workloads)
        met["threads"] += any(workload.threads > 1 for workload in workloads)
        met["adj"] += any(workload.oom_score_adj for workload in workloads)
        met["-1000"] += any(workload.oom_score_adj == -1000 for workload in workloads)
    return met


def main() -> int:
    """Play and compare as the command line says; exit 1 where anything differs."""
    parser = argparse.ArgumentParser("python3 -m lab.random_oom", description="random OOMs, model against kernel")
    add = parser.add_argument
    add("--count", type=int, default=40)
    add("--seed", default=None, help="default: the time")
    add("--kernel", default="6.12")
    add("--policy", help="a built-in policy that reads values, names and users; cgroups get random values")
    add("--backend", choices=("oom_score_adj", "hook"), default="oom_score_adj", help="how the policy is forced")
    add("--only", type=int, action="append", help="play only the OOM of this number")
    asked = parser.parse_args()
    seed = asked.seed or str(int(time.time()))
    numbers = asked.only or range(1, asked.count + 1)
    backend: Backend = "none" if asked.policy is None else "hook" if asked.backend == "hook" else "oom_score_adj"
    try:
        outcome = run(seed, numbers, asked.kernel, asked.policy, backend)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    met = what_was_met([random_play(seed, number) for number in numbers])
    print(f"seed {seed}: " + ", ".join(f"{name} in {count}" for name, count in met.items()))
    show(outcome, seed)
    is_whole = outcome.agree == len(numbers) and outcome.trouble is None and not outcome.log_problems
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
