"""`oompolicy explain`: why one task would or would not be chosen, in every OOM it can be part of.

Belongs here: the command and its sentences. Must not know: how a victim is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from oompolicy.cli.inputs import (
    json_option,
    named_policy,
    policy_options,
    refuse_faults,
    scope_option,
    scope_path,
    scored,
    snapshot_options,
    taken_snapshot,
)
from oompolicy.cli.render import Column, mib, points_text, print_json, print_line, print_table
from oompolicy.mm.memcontrol import ancestors
from oompolicy.mm.sched import Task
from oompolicy.policy.decision import Candidate, Decision, decide
from oompolicy.policy_limit import call_limit

RUNNERS_UP = 5

COLUMNS = (
    Column("RANK", is_number=True),
    Column("PID", is_number=True),
    Column("COMM"),
    Column("POINTS", is_number=True),
    Column("REASON", is_wide=True),
)


@click.command()
@click.argument("pid", type=int)
@policy_options()
@snapshot_options
@scope_option
@json_option
def explain(
    pid: int,
    policy_name: str | None,
    parameters: tuple[str, ...],
    snapshot_path: Path | None,
    config_path: Path | None,
    scope: str | None,
    as_json: bool,
) -> None:
    """Why PID would or would not be chosen, when the machine or a limited cgroup above it runs out."""
    policy = named_policy(policy_name, parameters)
    snapshot = scored(policy, taken_snapshot(snapshot_path, config_path))
    task = snapshot.task(pid)
    scopes = [scope_path(scope)] if scope is not None else list(_scopes(task))
    if not as_json:
        print_line(f"{task.comm} ({task.process_id}): {_memory(task, snapshot.page_size_bytes)}")
    for path in scopes:
        decision = decide(snapshot.oom_control(path), policy, snapshot.taken_boottime_ns, call_limit())
        if as_json:
            print_json(_as_json(task, path, decision))
        else:
            _print(task, path, decision, snapshot.page_size_bytes)
        refuse_faults(policy, decision)


def _scopes(task: Task) -> Iterator[str | None]:
    """The machine, then each memcg above the task that can run out on its own, the outermost first."""
    yield None
    if task.memcg is not None:
        limited = [memcg.path for memcg in ancestors(task.memcg) if memcg.max_pages is not None]
        yield from (path for path in reversed(limited) if path != "/")


def _memory(task: Task, page_size_bytes: int) -> str:
    if task.mm is None:
        return "no memory of its own"
    mm = task.mm
    resident, swapped, tables = (
        mib(pages, page_size_bytes) for pages in (mm.rss_pages, mm.swap_pages, mm.pgtables_pages)
    )
    return f"{resident} MiB resident, {swapped} swapped, {tables} of page tables, oom_score_adj {task.oom_score_adj}"


def _find(task: Task, decision: Decision) -> Candidate | None:
    return next((item for item in decision.candidates if item.task is task), None)


def _verdict(task: Task, decision: Decision) -> str:
    """The sentence that answers the question."""
    found = _find(task, decision)
    if found is None:
        for item in decision.excluded:
            if item.task is task:
                return f"cannot be chosen: {item.why.value}"
        if decision.outcome.oc.aborted_by is not None:
            return f"is not reached: {decision.outcome.end.value}"
        return "is outside this OOM's scope"
    if task in decision.outcome.killed[1:]:
        return f"would die with {decision.outcome.killed[0].comm}, by memory.oom.group"
    if decision.chosen is task:
        return "would be chosen"
    chosen = decision.candidates[0]
    ahead = points_text(chosen.points - found.points)
    return f"would not be chosen: rank {found.rank} of {len(decision.candidates)}, {ahead} points behind the victim"


def _print(task: Task, path: str | None, decision: Decision, page_size_bytes: int) -> None:
    where = "the whole machine" if path is None else path
    size = mib(decision.totalpages, page_size_bytes)
    print_line("")
    print_line(f"When {where} runs out ({size} MiB with swap), it {_verdict(task, decision)}.")
    found = _find(task, decision)
    if found is not None:
        print_line(f"  {_arithmetic(found, decision.totalpages)}")
    shown = list(decision.candidates[:RUNNERS_UP])
    if found is not None and found not in shown:
        shown.append(found)
    rows = [(item.rank, item.task.process_id, item.task.comm, points_text(item.points), item.reason) for item in shown]
    print_table(COLUMNS, rows)


def _arithmetic(candidate: Candidate, totalpages: int) -> str:
    """How the kernel's own points came about."""
    task = candidate.task
    assert task.mm is not None
    memory_pages = candidate.badness - task.oom_score_adj * (totalpages // 1000)
    return (
        f"badness {candidate.badness:,} = {memory_pages:,} pages of memory"
        f" + oom_score_adj {task.oom_score_adj} x {totalpages // 1000:,} pages (a thousandth of the scope)"
    )


def _as_json(task: Task, path: str | None, decision: Decision) -> dict[str, object]:
    found = _find(task, decision)
    chosen = decision.chosen
    return {
        "scope": path,
        "pid": task.process_id,
        "comm": task.comm,
        "chosen": chosen is task,
        "why": _verdict(task, decision),
        "rank": None if found is None else found.rank,
        "points": None if found is None else found.points,
        "badness": None if found is None else found.badness,
        "reason": None if found is None else found.reason,
        "victim": None if chosen is None else {"pid": chosen.process_id, "comm": chosen.comm},
        "runners_up": [
            {"rank": item.rank, "pid": item.task.process_id, "comm": item.task.comm, "points": item.points}
            for item in decision.candidates[1 : RUNNERS_UP + 1]
        ],
    }
