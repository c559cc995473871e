"""Machines at the edge of what a policy can meet, to try one on before it is trusted.

Belongs here: the made-up machines and what a policy is held to on them. Must not know: this machine, how it is printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from oompolicy.mm.limits import LONG_MAX, LONG_MIN
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import Kernel, OomControl
from oompolicy.mm.sched import OOM_SCORE_ADJ_MAX, Mm, Task
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit, Candidate, Decision, decide
from oompolicy.policy.verdict import Band

LARGEST_PAGES = 1 << 34  # 64 TiB: the most that x86-64 maps with four levels of page tables


@dataclass(frozen=True, slots=True)
class Trial:
    """A policy on one machine: what the machine is, and what came of it."""

    machine: str
    decision: Decision


def edge_machines() -> Iterator[tuple[str, OomControl, int]]:
    """(what it is, the OOM, now in ns from boot): every field known; values absent and at both ends, memory too."""
    for what, value in (("no values", None), ("value 0", 0), ("least value", LONG_MIN), ("greatest value", LONG_MAX)):
        root = MemCgroup("/", id=1, usage_pages=0, swap_pages=0)
        scope = replace(root, path="/scope", parent=root, id=2, max_pages=1 << 18, value=value)
        deep = replace(scope, path="/scope/deep", parent=scope, id=3, usage_pages=LARGEST_PAGES, max_pages=None)
        tasks = tuple(_edge_tasks(root, scope, deep, value))
        kernel = Kernel(tasks, totalram_pages=LARGEST_PAGES, memcgs=(root, scope, deep))
        yield f"{what}, the machine runs out", OomControl(kernel, trigger=tasks[-1]), 1 << 50
        yield f"{what}, a memcg runs out", OomControl(kernel, memcg=scope), 0


def _edge_tasks(root: MemCgroup, scope: MemCgroup, deep: MemCgroup, value: int | None) -> Iterator[Task]:
    for pid, (memcg, size, adj) in enumerate(
        (
            (root, 0, 0),
            (root, LARGEST_PAGES, OOM_SCORE_ADJ_MAX),
            (scope, 0, -999),
            (scope, 1, 0),
            (deep, LARGEST_PAGES, -999),
            (deep, 5000, OOM_SCORE_ADJ_MAX),
        ),
        start=100,
    ):
        mm = Mm(size, size, size >> 9, size, 0, 0)
        yield Task(pid, "x" * 15, mm, pid, 1, 0, adj, memcg, start_time_ns=pid, value=value)


def trials(policy: Policy, limit: CallLimit) -> list[Trial]:
    """The policy on every edge machine."""
    return [Trial(what, decide(oc, policy, now_ns, limit)) for what, oc, now_ns in edge_machines()]


def lint(policy: Policy, decisions: list[Decision]) -> list[str]:
    """What is suspicious about a policy, seen over many decisions; in sentences."""
    candidates: list[Candidate] = [candidate for decision in decisions for candidate in decision.candidates]
    bands = Counter(candidate.band for candidate in candidates)
    found = []
    if candidates and bands[Band.SPARE] == len(candidates):
        found.append("it spares everyone, so the kernel's badness decides: it does nothing")
    reads = {name for candidate in candidates for name in candidate.reads}
    if not reads and policy.preselection is None and bands[Band.DEFER] != len(candidates):
        found.append("it reads nothing of the task or the OOM, so it says the same for everyone")
    value_reads = [(name, value) for candidate in candidates for name, value in candidate.reads.items()]
    values = [value for name, value in value_reads if name.endswith(".value")]
    if values and all(value is None for value in values):
        found.append("it reads values, and no memcg or task here has one: `oompolicy set CGROUP VALUE`")
    return found
