"""The kernel's reports of a round, played again: by the model of the kernel, and by the round's policy.

Belongs here: whom either picks, and whether it is whom the kernel killed. Must not know: what was expected.
"""

from __future__ import annotations

from collections.abc import Callable

from oompolicy.errors import PolicyError
from oompolicy.policies import BUILT_IN
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import decide
from oompolicy.policy_file import load_policy
from oompolicy.policy_limit import call_limit
from oompolicy.replay import Pick, replay
from oompolicy.sources.oom_report import OomReport, read_reports

from lab.known import known_oom
from lab.result import Picked, Report
from lab.seen import RoundSeen
from lab.world import Play, Round


def check_reports(this: Play, seen: RoundSeen) -> list[Report]:
    """The kernel's reports, played again: by the model of the kernel, and by the round's policy."""
    ask = asker(this, seen)
    reports = []
    for report in read_reports([seen.log.encode()]):
        played = replay(report)
        killed = report.killed
        asked = ask(report)
        reports.append(
            Report(
                None if report.constraint is None else report.constraint.value,
                report.oom_memcg,
                None if killed is None else Picked(killed.pid, killed.comm or "?", None),
                _picked(played.model.pick),
                played.agrees,
                played.why_not,
                _picked(asked),
                None if asked is None or killed is None else played.is_kernels(asked),
            )
        )
    return reports


def _picked(pick: Pick | None) -> Picked | None:
    return None if pick is None else Picked(pick.pid, pick.comm, pick.points)


def built_in(said: Round) -> Policy | None:
    """The round's policy, where it is a built-in one whose parameters it takes."""
    if said.policy not in BUILT_IN:
        return None
    said_values = (said.params or {}).items()
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in said_values}
    try:
        return load_policy(said.policy).with_parameters(values)
    except PolicyError:  # the daemon in the guest has said so
        return None


def asker(this: Play, seen: RoundSeen) -> Callable[[OomReport], Pick | None]:
    """Asks the round's policy whom it picks in a report; nobody where there is none, or no table to choose from.

    Only built-in policies are asked: somebody's file is run in the guest, and not on the machine that runs the lab.
    """
    policy = built_in(this.round)

    def ask(report: OomReport) -> Pick | None:
        if policy is None or not report.rows:
            return None
        decision = decide(known_oom(report, this.world, seen.born, own_adj=True), policy, None, call_limit())
        if decision.chosen is None or decision.faults:  # it reads what is not known here
            return None
        return Pick(decision.chosen.process_id, decision.chosen.comm, decision.chosen_points)

    return ask
