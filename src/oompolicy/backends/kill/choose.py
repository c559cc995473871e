"""Who is to go: the processes of an order's scope, worst first, and what goes with each. Pure.

Belongs here: the candidates, whom the shield and preferences take out or put last. Must not know: how one is killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from oompolicy.backends.kill.shield import Shield
from oompolicy.backends.scopes import choosable
from oompolicy.errors import GoneError
from oompolicy.mm.memcontrol import (
    MemCgroup,
    ancestors,
    mem_cgroup_get_oom_group,
    mem_cgroup_is_descendant,
    mem_cgroup_is_root,
)
from oompolicy.mm.oom import Kernel, OomControl
from oompolicy.mm.sched import Task
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit, Candidate, Fault, decide
from oompolicy.rules.preference import Preference, Preferences
from oompolicy.rules.ranking import worst_first
from oompolicy.rules.rule import Kill, Order
from oompolicy.rules.words import short
from oompolicy.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Target:
    """One that can go, and what goes with it: all of `group`, or all its descendants, or nobody else.

    group is None unless a whole cgroup is to go, by the rule or by memory.oom.group (then is_oom_group).
    """

    victim: Task
    reason: str
    points: int
    group: MemCgroup | None = None
    is_oom_group: bool = False
    is_tree: bool = False

    @property
    def name(self) -> str:
        """The victim in words."""
        return f"{self.victim.comm} ({self.victim.process_id})"

    @property
    def cgroup(self) -> str | None:
        """The path of the cgroup that goes, or of the victim's; None where it is in none."""
        home = self.group or self.victim.memcg
        return None if home is None else home.path

    @property
    def in_words(self) -> str:
        """All that goes, in words."""
        if self.group is not None:
            why = ", by its memory.oom.group" if self.is_oom_group else ""
            return f"all of cgroup {self.group.path} (for {self.name}){why}"
        return f"{self.name} and its descendants" if self.is_tree else self.name


@dataclass(frozen=True, slots=True)
class Choice:
    """targets: worst first. left_out: who cannot go, with the reason. faults: calls of the policy that failed."""

    targets: tuple[Target, ...]
    left_out: tuple[tuple[Task, str], ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def nobody(self) -> str:
        """Where there is no target: why, in words."""
        if not self.left_out:
            return "nobody in the scope can be killed"
        (task, reason), others = self.left_out[0], len(self.left_out) - 1
        more = f", and {others} more" if others else ""
        return f"nobody in the scope can be killed: {task.comm} ({task.process_id}): {reason}{more}"


def choose(
    order: Order,
    snapshot: Snapshot,
    policy: Policy | None,
    shield: Shield,
    preferences: Preferences | None = None,
    limit: CallLimit = nullcontext,
) -> Choice:
    """Whom the order means: nobody that the kernel excludes, that the shield covers, or that has OMIT.

    Preferences go before points, as in oomd (sortDescWithKillPrefs()) and systemd-oomd (compare_swap_usage() and its
    like, src/oom/oomd-util.h). Raises GoneError where the scope is not in the snapshot.
    """
    scope = _scope(order, snapshot)
    preferences = preferences or {}
    left_out: list[tuple[Task, str]] = []
    kernel = choosable(snapshot.kernel, scope)
    allowed = []
    for task in kernel.tasks:
        why_not = shield.why_not(task)
        if why_not is None and preference_of(task.memcg, preferences) is Preference.OMIT:
            why_not = "its cgroup is to be left out (oomd_omit)"
        if why_not is None:
            allowed.append(task)
        else:
            left_out.append((task, why_not))
    decision = decide(_oom(replace(kernel, tasks=tuple(allowed)), scope), policy, snapshot.taken_boottime_ns, limit)
    left_out += [(excluded.task, excluded.why.value) for excluded in decision.excluded]
    if order.rule.among:
        targets = _compared(decision.candidates, order, snapshot.kernel, preferences)
    else:
        ranked = sorted(decision.candidates, key=lambda one: preference_of(one.task.memcg, preferences))
        targets = _targets(ranked, order, scope)
    return Choice(targets, tuple(left_out), decision.faults)


def preference_of(memcg: MemCgroup | None, preferences: Preferences) -> Preference:
    """The preference of the cgroup of a process."""
    return Preference.NONE if memcg is None else preferences.get(memcg.path, Preference.NONE)


def _scope(order: Order, snapshot: Snapshot) -> MemCgroup | None:
    """The cgroup that the order is for; None for the machine."""
    if order.scope.strip("/") == "":
        return None
    found = snapshot.kernel.memcg("/" + order.scope.strip("/"))
    if found is None:
        raise GoneError(f"cgroup {order.scope}", "has gone since the rule fired")
    return found


def _oom(kernel: Kernel, scope: MemCgroup | None) -> OomControl:
    """An OOM of the scope. Where the scope has no limit, what binds it is the nearest one above, or the machine.

    The kernel has no OOM in a memcg without a limit; with totalpages at its greatest, a single point of oom_score_adj
    would outweigh all memory there is.
    """
    if scope is None or mem_cgroup_is_root(scope):
        return OomControl(kernel)
    limits = [memcg.max_pages for memcg in ancestors(scope) if memcg.max_pages is not None]
    return OomControl(kernel, memcg=replace(scope, max_pages=min([*limits, kernel.totalram_pages])))


def _targets(ranked: list[Candidate], order: Order, scope: MemCgroup | None) -> tuple[Target, ...]:
    """What goes with each; a cgroup that goes whole is there once, in its worst one's place."""
    targets = []
    seen: set[str] = set()
    for candidate in ranked:
        group, is_oom_group = _group(candidate.task, order, scope)
        if group is not None:
            if any(above.path in seen for above in ancestors(group)):
                continue
            seen.add(group.path)
        is_tree = group is None and order.rule.action is Kill.TREE
        targets.append(Target(candidate.task, candidate.reason, candidate.points, group, is_oom_group, is_tree))
    return tuple(targets)


def _compared(
    candidates: Sequence[Candidate], order: Order, kernel: Kernel, preferences: Preferences
) -> tuple[Target, ...]:
    """The cgroups that the rule compares, worst first, each with the worst of its processes."""
    homes = {memcg.path: memcg for memcg in kernel.memcgs}
    numbers = {path: found for path, found in order.compared if path in homes}
    paths = worst_first(numbers, preferences, order.rule.is_recursive, lambda path: bool(homes[path].oom_group))
    worst = _worst_of(candidates, frozenset(paths))
    targets = []
    seen: set[str] = set()
    for path in paths:
        candidate, group = worst.get(path), homes[path]
        if candidate is None:
            continue
        oom_group = mem_cgroup_get_oom_group(candidate.task, homes.get(order.scope))
        is_higher = oom_group is not None and oom_group.path != path and mem_cgroup_is_descendant(group, oom_group)
        if is_higher and oom_group is not None:
            group = oom_group
        if group.path not in seen:
            seen.add(group.path)
            reason = _in_numbers(order.rule.by, numbers[path], len(paths))
            targets.append(Target(candidate.task, reason, candidate.points, group, is_higher))
    return tuple(targets)


def _worst_of(candidates: Sequence[Candidate], paths: frozenset[str]) -> dict[str, Candidate]:
    """The first of the candidates that is in each of these cgroups, or below it."""
    worst: dict[str, Candidate] = {}
    for candidate in candidates:
        if candidate.task.memcg is not None:
            for above in ancestors(candidate.task.memcg):
                if above.path in paths:
                    worst.setdefault(above.path, candidate)
    return worst


def _in_numbers(texts: Sequence[str], numbers: Sequence[float | None], count: int) -> str:
    """The first that is not 0: of those before it nothing was to be told."""
    pairs = list(zip(texts, numbers, strict=True))
    text, number = next((pair for pair in pairs if pair[1]), pairs[-1])
    said = f"{text}: {short(number)}"
    return f"the worst of {count} compared by {said}" if count > 1 else said


def _group(task: Task, order: Order, scope: MemCgroup | None) -> tuple[MemCgroup | None, bool]:
    """The cgroup to be killed whole, and whether memory.oom.group says so; None where there is none."""
    oom_group = mem_cgroup_get_oom_group(task, scope)
    if oom_group is not None:
        return oom_group, True
    memcg = task.memcg
    if order.rule.action is not Kill.CGROUP or memcg is None or mem_cgroup_is_root(memcg):
        return None, False
    return memcg, False
