"""The kernel's reports of a round, played again: by the model of the kernel, and by the round's policy.

Belongs here: whom either picks, and whether it is whom the kernel killed. Must not know: what was expected.
"""

from __future__ import annotations

from collections.abc import Callable

from oompolicy.compiler.checked import checked
from oompolicy.errors import PolicyError
from oompolicy.policies import BUILT_IN
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import decide
from oompolicy.policy_file import load_policy
from oompolicy.policy_limit import call_limit
from oompolicy.replay import Pick, replay
from oompolicy.sources.oom_report import Kill, OomReport, read_reports

from lab.known import known_oom
from lab.result import Picked, Report
from lab.seen import RoundSeen
from lab.world import Play, Round


def check_reports(this: Play, seen: RoundSeen) -> list[Report]:
    """The kernel's reports, played again: by the model of the kernel, and by the round's policy.

    Under the hook the kernel itself asks the policy, so there the model is the kernel's with the policy.
    """
    ask = asker(this, seen)
    return [
        check_report(report, ask(report), this.round.backend == "hook") for report in read_reports([seen.log.encode()])
    ]


def check_report(report: OomReport, asked: Pick | None, is_hook: bool) -> Report:
    """One report; asked is whom the policy picks, None where there is none that can be asked."""
    played, killed = replay(report), report.killed
    obeyed = None if asked is None or killed is None else played.is_kernels(asked)
    model, agrees, why_not = played.model.pick, played.agrees, played.why_not
    if is_hook and killed is not None:
        model, agrees = asked, obeyed
        why_not = None if obeyed else _why_not_obeyed(asked, killed)
    return Report(
        constraint=None if report.constraint is None else report.constraint.value,
        oom_memcg=report.oom_memcg,
        has_table=bool(report.rows),
        killed=None if killed is None else Picked(killed.pid, killed.comm or "?", None),
        model=_picked(model),
        agrees=agrees,
        why_not=why_not,
        policy=_picked(asked),
        obeyed=obeyed,
    )


def _why_not_obeyed(asked: Pick | None, killed: Kill) -> str:
    if asked is None:
        return "the kernel asked the policy, and here it cannot be asked"
    return f"the policy picks {asked.comm} ({asked.pid}), and the kernel killed {killed.comm} ({killed.pid})"


def _picked(pick: Pick | None) -> Picked | None:
    return None if pick is None else Picked(pick.pid, pick.comm, pick.points)


def built_in(said: Round) -> Policy | None:
    """The round's policy, where it is a built-in one whose parameters it takes."""
    if said.policy not in BUILT_IN:
        return None
    said_values = (said.params or {}).items()
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in said_values}
    try:
        return checked(load_policy(said.policy).with_parameters(values))
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
