"""What the kernel has done of its own accord, beside what the plan wanted.

Belongs here: whom the policy wanted first in that scope, in a sentence. Must not know: how a kill is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from oompolicy.backends.oom_score_adj.plan import Plan
from oompolicy.backends.oom_score_adj.ranking import Scope
from oompolicy.scoring.scene import PastKill

# Kills since the last call.
TakeKills: TypeAlias = Callable[[], Sequence[PastKill]]


def in_words(kill: PastKill, plan: Plan | None, policy: str) -> str:
    """The sentence for the log."""
    where = {None: "out of memory", "/": "OOM of the machine"}.get(kill.scope, f"OOM of {kill.scope}")
    line = f"{where}: the kernel killed {kill.comm} ({kill.pid})"
    if kill.cgroup is not None:
        line += f" in {kill.cgroup}"
    ranked = None if plan is None or kill.scope is None else _scope_of(plan, kill.scope)
    return line if plan is None or ranked is None else f"{line}: {_place(kill, plan, ranked, policy)}"


def _scope_of(plan: Plan, path: str) -> Scope | None:
    """None where it is no scope of the plan's: it has come since, or it is not ours."""
    return next((scope for scope in plan.ranking.scopes if (scope.path or "/") == path), None)


def _place(kill: PastKill, plan: Plan, scope: Scope, policy: str) -> str:
    """Where it stood in the policy's order at the last look."""
    tasks = plan.ranking.tasks
    for place, members in enumerate(scope.classes, start=1):
        if any(tasks[member.number].process_id == kill.pid for member in members):
            if place == 1:
                return f"as policy {policy} wanted"
            first = tasks[scope.classes[0][0].number]
            return f"number {place} of policy {policy}, whose first was {first.comm} ({first.process_id})"
    return f"policy {policy} had not seen it yet"
