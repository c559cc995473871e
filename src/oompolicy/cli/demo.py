"""`oompolicy demo`: one real, contained OOM, first as the kernel would, then with a policy.

Belongs here: the command and its words. Must not know: how a memcg is made, how adjustments are computed.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path

import click

from oompolicy.backends.oom_score_adj.plan import Plan, Room, plan
from oompolicy.cli.inputs import policy_options, usable_policy
from oompolicy.cli.render import mib, points_text, print_json, print_line, print_note
from oompolicy.contained_oom import scene
from oompolicy.contained_oom.own_memcg import OwnMemcg
from oompolicy.contained_oom.scene import BIG, BIG_MIB, GROWTH_MIB, LIMIT_MIB, SMALL, SMALL_MIB, Ending, Scene
from oompolicy.contained_oom.spare_the_database import spare_the_database
from oompolicy.contained_oom.workers import Worker
from oompolicy.errors import BackendError, OompolicyError, PrivilegeError
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import Kernel, OomControl
from oompolicy.mm.sched import Mm, Task
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import Candidate, Decision, decide
from oompolicy.policy_limit import call_limit
from oompolicy.replay import replay
from oompolicy.snapshot import Snapshot
from oompolicy.sources.live import live_snapshot
from oompolicy.sources.offers import can_lower_oom_score_adj
from oompolicy.sources.oom_report import read_reports

PAGES_PER_MIB = 256
TRIES = 5


@dataclass
class _Round:
    """What one round was expected to do, and did."""

    decision: Decision | None = None
    made: Plan | None = None
    ending: Ending | None = None


@click.command()
@policy_options(default=None)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a round.")
def demo(policy_name: str | None, parameters: tuple[str, ...], as_json: bool) -> None:
    """A big important process and a small unimportant one share a memcg, and it runs out: twice.

    First the kernel alone decides, then a policy (by default one of three lines, made into oom_score_adj). The OOM is
    real, and stays in a memcg that is gone afterwards. Without root, or without a memory controller, the model answers.
    """
    policy = spare_the_database if policy_name is None else usable_policy(policy_name, parameters)
    try:
        hierarchy = scene.memory_hierarchy()
        with scene.memcg_of_our_own(hierarchy) as memcg:
            if not as_json:
                _print_stage(f"A memcg of {LIMIT_MIB} MiB ({memcg.path}, cgroup {hierarchy.version})")
            for number, chosen_by in enumerate((None, policy), start=1):
                done = _play_until_one_dies(memcg, chosen_by)
                if as_json:
                    print_json(_as_json(chosen_by, done))
                else:
                    _print_round(number, chosen_by, done)
    except (PrivilegeError, BackendError) as error:
        print_note(f"no real OOM here: {error}")
        _show_model(policy, as_json)


def _play_until_one_dies(memcg: OwnMemcg, policy: Policy | None) -> _Round:
    """One round; again where the kernel, choosing anew before its victim had given everything back, killed both."""
    for _ in range(TRIES):
        done = _play(memcg, policy)
        if done.ending is None or len(done.ending.killed) <= 1:
            break
        print_note("the kernel killed both: it chose again before the first had given back its memory; once more")
    return done


def _play(memcg: OwnMemcg, policy: Policy | None) -> _Round:
    """One round, with the policy in force."""
    this = _Round()

    def before(stage: Scene) -> None:
        snapshot = live_snapshot()
        this.decision = decide(snapshot.oom_control(stage.scope), policy, snapshot.taken_boottime_ns, call_limit())
        if policy is not None:
            room = Room(may_lower=can_lower_oom_score_adj())
            this.made = plan(snapshot, policy, stage.scope, room, call_limit())
            for adjustment in this.made.adjustments:
                # Two processes that we started a moment ago and that only we end: their pids are theirs.
                Path(f"/proc/{adjustment.task.process_id}/oom_score_adj").write_text(str(adjustment.adj))

    this.ending = scene.play(memcg, before)
    return this


def _print_stage(where: str) -> None:
    print_line(f"{where} holds two processes:")
    print_line(f"  {BIG:<10} {BIG_MIB:>3} MiB  big and important")
    print_line(f"  {SMALL:<10} {SMALL_MIB:>3} MiB  small and unimportant")
    print_line(f"Then {BIG} asks for {GROWTH_MIB} MiB more than fits.")


def _print_round(number: int, policy: Policy | None, done: _Round) -> None:
    assert done.decision is not None
    assert done.ending is not None
    print_line("")
    if policy is None:
        print_line(f"{number}. The kernel alone: the process with the most memory dies.")
    else:
        print_line(f"{number}. With a policy:")
        for line in inspect.getsource(policy.function).splitlines():
            print_line(f"     {line.partition('  # noqa')[0]}")
    for candidate in done.decision.candidates:
        print_line(f"   model:  {candidate.rank}. {_candidate(candidate)}")
    if done.made is not None:
        for adjustment in done.made.adjustments:
            task = adjustment.task
            print_line(f"   oom_score_adj of {task.comm} ({task.process_id}): {task.oom_score_adj} -> {adjustment.adj}")
        for unmet in done.made.unmet:
            print_line(f"   oom_score_adj cannot hold: {unmet.above.comm} above {unmet.below.comm}")
    killed = ", ".join(f"{worker.name} ({worker.pid})" for worker in done.ending.killed)
    print_line(f"   kernel: killed {killed or 'nobody'}")
    if done.ending.big_got_its_memory:
        print_line(f"           {BIG} lives, and has its {GROWTH_MIB} MiB")
    print_line(f"   report: {_report_says(done)}")
    print_line(
        f"   {'As the policy wanted.' if policy else 'As the model said.'}"
        if _as_expected(done)
        else "   NOT as expected."
    )


def _candidate(candidate: Candidate) -> str:
    mm = candidate.task.mm
    size = mib(None if mm is None else mm.rss_pages, 4096)
    points = points_text(candidate.points)
    return f"{candidate.task.comm} ({candidate.task.process_id}): {points} points, {size} MiB ({candidate.reason})"


def _as_expected(done: _Round) -> bool:
    """Was it exactly the one whom the model, with the policy, had picked?"""
    assert done.decision is not None
    assert done.ending is not None
    chosen = done.decision.chosen
    return chosen is not None and [worker.pid for worker in done.ending.killed] == [chosen.process_id]


def _report_says(done: _Round) -> str:
    """What the kernel's own report says, compared with the model."""
    assert done.ending is not None
    if done.ending.records is None:
        return "the kernel log cannot be read here"
    for report in read_reports(done.ending.records):
        again = replay(report)
        if report.killed is None or not _is_ours(report.killed.pid, done.ending.killed):
            continue
        if again.agrees and again.model.pick is not None:
            pick = again.model.pick
            return f"the model, given the kernel's own report, picks {pick.comm} ({pick.pid}) too"
        return f"the model, given the kernel's own report, disagrees: {again.why_not}"
    return "the kernel's log has no report of it (it prints at most ten in five seconds)"


def _is_ours(pid: int, killed: tuple[Worker, ...]) -> bool:
    return any(worker.pid == pid for worker in killed)


def _as_json(policy: Policy | None, done: _Round) -> dict[str, object]:
    assert done.decision is not None
    assert done.ending is not None
    chosen = done.decision.chosen
    return {
        "policy": None if policy is None else policy.name,
        "real": True,
        "expected": None if chosen is None else {"pid": chosen.process_id, "comm": chosen.comm},
        "killed": [{"pid": worker.pid, "comm": worker.name} for worker in done.ending.killed],
        "as_expected": _as_expected(done),
        "report": _report_says(done),
    }


def _model_snapshot() -> Snapshot:
    """The same two processes on paper."""
    root = MemCgroup("/", id=1)
    memcg = MemCgroup("/demo", root, 2, max_pages=LIMIT_MIB * PAGES_PER_MIB, swap_max_pages=0)
    sizes = ((BIG, BIG_MIB + GROWTH_MIB), (SMALL, SMALL_MIB))
    tasks = tuple(
        Task(pid, comm, Mm(size * PAGES_PER_MIB, 0, 0, size * PAGES_PER_MIB, 0, 0), memcg=memcg, start_time_ns=pid)
        for pid, (comm, size) in enumerate(sizes, start=2)
    )
    return Snapshot(Kernel(tasks, LIMIT_MIB * PAGES_PER_MIB, memcgs=(root, memcg)))


def _show_model(policy: Policy, as_json: bool) -> None:
    """The model's answer for the same two processes."""
    snapshot = _model_snapshot()
    if not as_json:
        _print_stage(f"In the model: a memcg of {LIMIT_MIB} MiB")
    for chosen_by in (None, policy):
        decision = decide(OomControl(snapshot.kernel, memcg=snapshot.memcg("/demo")), chosen_by, 0, call_limit())
        chosen = decision.chosen
        if chosen is None:
            raise OompolicyError(f"policy {policy.name}", "nobody was chosen in the model")
        if as_json:
            expected = {"pid": chosen.process_id, "comm": chosen.comm}
            name = None if chosen_by is None else chosen_by.name
            print_json(
                {"policy": name, "real": False, "expected": expected, "killed": [], "as_expected": None, "report": None}
            )
            continue
        print_line("")
        print_line(
            f"{'The kernel alone' if chosen_by is None else f'With the policy {chosen_by.name}'} kills {chosen.comm}:"
        )
        for candidate in decision.candidates:
            print_line(f"   {candidate.rank}. {_candidate(candidate)}")
