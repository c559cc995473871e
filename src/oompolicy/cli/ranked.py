"""Candidates of an OOM as rows, and what else is to be said of a choice.

Belongs here: what `rank` and `top` show alike. Must not know: whose snapshot it is, where rows go.
"""

from __future__ import annotations

from collections.abc import Iterator

from oompolicy.cli.render import Column, mib, points_text
from oompolicy.mm.oom_kill import OomEnd
from oompolicy.policy.decision import Candidate, Decision

TOP_OF_A_TABLE = 20

COLUMNS = (
    Column("RANK", is_number=True),
    Column("PID", is_number=True),
    Column("COMM"),
    Column("POINTS", is_number=True),
    Column("VERDICT"),
    Column("MIB", is_number=True),
    Column("SWAP MIB", is_number=True),
    Column("ADJ", is_number=True),
    Column("CGROUP"),
    Column("REASON", is_wide=True),
)


def remarks(decision: Decision) -> Iterator[str]:
    """In sentences: where nobody is killed, who goes too, and a tie."""
    outcome = decision.outcome
    if outcome.end is not OomEnd.KILLED:
        yield f"{outcome.end.value}."
    if outcome.oc.aborted_by is not None:
        yield f"The victim on its way out is {outcome.oc.aborted_by.comm} ({outcome.oc.aborted_by.process_id})."
    if outcome.oom_group is not None:
        names = ", ".join(f"{task.comm} ({task.process_id})" for task in outcome.killed[1:])
        yield f"memory.oom.group of {outcome.oom_group.path}: dies with it: {names or 'nobody'}"
    if decision.is_tie:
        yield "The first two have equal points: the order of the kernel's scan decides between them."


def row_of(candidate: Candidate, page_size_bytes: int) -> tuple[object, ...]:
    """Cells of COLUMNS."""
    task = candidate.task
    mm = task.mm
    return (
        candidate.rank,
        task.process_id,
        task.comm,
        points_text(candidate.points),
        candidate.band.value,
        mib(None if mm is None else mm.rss_pages, page_size_bytes),
        mib(None if mm is None else mm.swap_pages, page_size_bytes),
        task.oom_score_adj,
        "" if task.memcg is None else task.memcg.path,
        candidate.reason,
    )


def as_json(candidate: Candidate) -> dict[str, object]:
    """The same with stable keys; amounts in pages."""
    task = candidate.task
    mm = task.mm
    return {
        "rank": candidate.rank,
        "pid": task.process_id,
        "comm": task.comm,
        "cgroup": None if task.memcg is None else task.memcg.path,
        "points": candidate.points,
        "verdict": candidate.band.value,
        "badness": candidate.badness,
        "oom_score_adj": task.oom_score_adj,
        "rss_pages": None if mm is None else mm.rss_pages,
        "swap_pages": None if mm is None else mm.swap_pages,
        "pgtables_pages": None if mm is None else mm.pgtables_pages,
        "reason": candidate.reason,
    }
