"""What was seen, held against what was expected.

Belongs here: the comparison, and saying in a sentence why it fails. Must not know: guests, reports' text, tables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from oompolicy.mm.oom import OomConstraint

from lab.log_problems import log_problems
from lab.play import Played
from lab.report_check import check_reports
from lab.result import Report, Result, RoundVerdict, Who
from lab.scenario import Scenario
from lab.seen import KILLED, Death, Process, RoundSeen
from lab.world import MORE, Play, Round

# What `oompolicy run` says of itself.
TOOK: Final = re.compile(r"^oompolicy: policy .+, backend (\w+), pid \d+$", re.MULTILINE)
TOOK_WHY: Final = re.compile(r"^oompolicy: (not the hook: .+)$", re.MULTILINE)


def judge(played: Played) -> Result:
    """The result of a scenario on a kernel."""
    seen = {each.number: each for each in played.said.rounds}
    rounds = [judge_round(this, seen.get(this.number)) for this in played.scenario.rounds]
    guest = played.said.guest
    logs = [guest.log if guest else "", *(each.log for each in played.said.rounds), played.result.console]
    problems = log_problems(logs)
    return Result(
        played.scenario.name,
        played.scenario.about,
        guest.release if guest else played.kernel.release,
        all(each.ok for each in rounds) and not problems and played.trouble is None,
        played.trouble,
        rounds,
        problems,
        {
            "ready": round(guest.ready_after_s, 2) if guest else 0.0,
            "guest": round(played.result.elapsed_s, 2),
        },
        list(played.result.faults),
    )


def nothing_played(scenario: Scenario, kernel: str) -> Result:
    """The result of a scenario of which every round is skipped."""
    rounds = [judge_round(this, None) for this in scenario.rounds]
    return Result(scenario.name, scenario.about, kernel, True, None, rounds, [], {})


def judge_round(this: Play, seen: RoundSeen | None) -> RoundVerdict:
    """One round; seen is None where it is skipped, or where the guest did not come so far."""
    if seen is None:
        why = [] if this.skipped is not None else ["it was not played"]
        return _verdict(this, RoundSeen(this.number, [], [], [], ""), [], why)
    if this.round.backend == "auto":
        return judge_auto(this, seen)
    reports = check_reports(this, seen)
    return _verdict(this, seen, reports, why_not_ok(this.round, seen, reports))


def judge_auto(this: Play, seen: RoundSeen) -> RoundVerdict:
    """A round of backend auto: as one of the backend that was taken, which may be one that cannot do it.

    Then it was played all the same, but nothing is expected of it.
    """
    took, why = TOOK.search(seen.policy_log), TOOK_WHY.search(seen.policy_log)
    if took is None:  # the daemon did not come so far, and the round says why
        return _verdict(this, seen, [], why_not_ok(this.round, seen, []) or ["nobody knows what auto took"])
    taken = msgspec.structs.replace(this, round=msgspec.structs.replace(this.round, backend=took[1]))
    reports = check_reports(taken, seen)
    cannot = taken.skipped
    excused = cannot is not None and seen.trouble is None
    verdict = _verdict(this, seen, reports, [] if excused else why_not_ok(this.round, seen, reports))
    return msgspec.structs.replace(
        verdict,
        skipped=f"auto took {took[1]}: {cannot}" if excused else None,
        took=took[1],
        took_why=None if why is None else why[1],
    )


def _verdict(this: Play, seen: RoundSeen, reports: list[Report], why: list[str]) -> RoundVerdict:
    said, victims = this.round, victims_of(seen)
    keys = ("victims", "victims_among", "survivors", "within_s")
    return RoundVerdict(
        number=this.number,
        about=said.about,
        policy=said.policy,
        backend=said.backend or "none",
        runs_out=said.runs_out or "",
        victims=[who(death.process) for death in victims],
        survivors=[who(process) for process in survivors_of(seen)],
        expected={key: value for key in keys if (value := getattr(said, key)) is not None},
        ok=not why,
        why=why,
        reports=reports,
        seconds=round(victims[-1].after_s, 3) if victims else None,
        timings_s=seen.timings_s,
        skipped=this.skipped,
    )


def who(process: Process) -> Who:
    """A process as a result names it."""
    return Who(process.pid, process.comm, process.cgroup)


def victims_of(seen: RoundSeen) -> list[Death]:
    """Who was killed, in the order in which the kernel marked them; of those not marked, in that of their deaths."""
    order: dict[int, int] = {}
    for place, mark in enumerate(seen.marked):
        order.setdefault(mark.pid, place)
    killed = [death for death in seen.deaths if death.signal == KILLED]
    return sorted(killed, key=lambda death: order.get(death.process.pid, len(seen.marked)))


def survivors_of(seen: RoundSeen) -> list[Process]:
    """Who lived when the round was over."""
    dead = {death.process.pid for death in seen.deaths}
    return [process for process in seen.born if process.pid not in dead]


def why_not_ok(said: Round, seen: RoundSeen, reports: Sequence[Report]) -> list[str]:
    """Why a round is not as expected, in sentences; empty where it is."""
    victims = victims_of(seen)
    names = [death.process.workload for death in victims]
    if seen.trouble is not None:
        return [seen.trouble]
    why = []
    if said.victims is not None:
        why += why_not_these(said.victims, names)
    else:
        among = set(said.victims_among or ())
        why += [] if names else ["nobody died"]
        why += [f"{name} died, who is not among those expected" for name in dict.fromkeys(names) if name not in among]
    living = {process.workload for process in survivors_of(seen)}
    why += [f"{name} was to live, and died" for name in said.survivors or () if name not in living]
    for death in seen.deaths:
        if death.signal != KILLED:
            how = f"by signal {death.signal}" if death.signal else f"with exit status {death.status}"
            why.append(f"{death.process.workload} ended {how}, killed by nobody")
    if victims and victims[-1].after_s > (said.within_s or 0):
        why.append(f"it took {victims[-1].after_s:.1f} s, and {said.within_s:g} s were expected")
    return [*why, *why_not_there(said, reports)]


def why_not_these(expected: Sequence[str | list[str]], names: Sequence[str]) -> list[str]:
    """Why the victims are not the expected ones, in their order.

    >>> why_not_these(["a", ["b", "c"]], ["a", "c", "b"]), why_not_these(["a", "..."], ["a", "b"])
    ([], [])
    >>> why_not_these(["a"], ["b"])
    ['a was to die, and b died']
    """
    rest = list(names)
    for item in expected:
        if item == MORE:
            return []
        wanted = [item] if isinstance(item, str) else item
        here, rest = rest[: len(wanted)], rest[len(wanted) :]
        if sorted(here) != sorted(wanted):
            return [f"{' and '.join(wanted)} {_was(wanted)} to die, and {' and '.join(here) or 'nobody'} died"]
    return [f"{' and '.join(rest)} died, too"] if rest else []


def _was(names: Sequence[str]) -> str:
    return "was" if len(names) == 1 else "were"


def why_not_there(said: Round, reports: Sequence[Report]) -> list[str]:
    """Why it did not run out where it was to. A report that was cut short does not say where."""
    first = next((report for report in reports if report.constraint is not None and report.has_table), None)
    if first is None:
        return []
    is_memcg = first.constraint == OomConstraint.CONSTRAINT_MEMCG.value
    if said.scope is not None and not (is_memcg and first.oom_memcg == said.scope):
        return [f"{said.scope} was to run out, and {first.oom_memcg if is_memcg else 'the machine'} did"]
    if said.scope is None and is_memcg:
        return [f"the machine was to run out, and {first.oom_memcg} did"]
    return []
