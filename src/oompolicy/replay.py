"""An OOM report played again: whom the kernel killed, whom the model picks, whom a policy would have picked.

Belongs here: the comparison, and saying in a sentence why it fails or cannot be made. Must not know: files, tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from oompolicy.assign import Assignment, assigned
from oompolicy.mm.oom import Kernel, OomConstraint
from oompolicy.mm.oom_kill import oom_badness
from oompolicy.mm.sched import Task
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit, Decision, Fault, decide
from oompolicy.scoring import Scoring, scorers_of
from oompolicy.sources.oom_report.report import Kill, OomReport
from oompolicy.sources.oom_report.scene import Scene, to_scene


@dataclass(frozen=True, slots=True)
class Pick:
    """One choice: the process, what it scored, and why. points is None where nobody was compared."""

    pid: int
    comm: str
    points: int | None
    reason: str | None = None

    def same_process(self, other: Pick | None) -> bool:
        """Is it the same process?"""
        return other is not None and self.pid == other.pid


@dataclass(frozen=True, slots=True)
class Choice:
    """What one way of choosing made of a report: pick is None where nobody is picked, or where why_not says why."""

    pick: Pick | None
    why_not: str | None = None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Replayed:
    """One report, compared.

    agrees: does the model pick the one that the kernel killed, or nobody as it did? None where that cannot be told;
    why_not says why whenever it is not True, and that nobody was killed. policy and against are None where none was
    asked for. notes say in sentences what was assumed, and who else died.
    """

    report: OomReport
    candidates: int
    model: Choice
    agrees: bool | None
    why_not: str | None
    policy: Choice | None = None
    against: Choice | None = None
    notes: tuple[str, ...] = ()

    def is_kernels(self, pick: Pick) -> bool:
        """Is it the process that the kernel chose or killed, by its thread or by its leader?"""
        killed = self.report.killed
        if killed is None:
            return False
        named = {killed.pid, killed.chosen_pid}
        return any(pick.pid in {row.pid, row.tgid} and named & {row.pid, row.tgid} for row in self.report.rows)

    @property
    def differs(self) -> bool | None:
        """Do policy and against pick different processes? None where one of them cannot be told."""
        if self.policy is None or self.against is None:
            return None
        if self.policy.why_not is not None or self.against.why_not is not None:
            return None
        one, other = self.policy.pick, self.against.pick
        return (one is None) != (other is None) or (one is not None and not one.same_process(other))


def replay(
    report: OomReport,
    policy: Policy | None = None,
    against: Policy | None = None,
    table: Sequence[Assignment] = (),
    limit: CallLimit = nullcontext,
) -> Replayed:
    """Compare one report with the model of its kernel, and with one policy or two.

    table gives values to tasks and memcgs; limit bounds each call of a policy.
    """
    scene = to_scene(report)
    if not report.rows:
        nobody = Choice(None, _why_no_rows(report))
        return Replayed(
            report,
            0,
            nobody,
            None,
            _why_nobody_killed(report, None) if report.killed is None else nobody.why_not,
            policy=None if policy is None else nobody,
            against=None if against is None else nobody,
            notes=_notes(scene),
        )
    decision = decide(scene.oom_control(), None)
    model = Choice(None, scene.undecidable) if scene.undecidable else _choice(scene, decision, None, (), limit)
    agrees, why_not = _judge(scene, decision, model)
    return Replayed(
        report,
        len(decision.candidates),
        model,
        agrees,
        why_not,
        policy=None if policy is None else _policy_choice(scene, policy, table, limit),
        against=None if against is None else _policy_choice(scene, against, table, limit),
        notes=_notes(scene),
    )


def _policy_choice(scene: Scene, policy: Policy, table: Sequence[Assignment], limit: CallLimit) -> Choice:
    scored = Scoring(scorers_of(policy), limit).scored(assigned(scene.snapshot, table))
    most = None
    if scene.most is not None:
        most = Scoring(scorers_of(policy), limit).scored(assigned(scene.most, table)).snapshot
    valued = replace(scene, snapshot=scored.snapshot, most=most)
    decision = decide(valued.oom_control(), policy, None, limit)
    faults = tuple(fault.of_policy for fault in scored.faults)
    decision = replace(decision, faults=(*faults, *decision.faults))
    if scene.undecidable:
        return Choice(None, scene.undecidable, decision.faults)
    return _choice(valued, decision, policy, table, limit)


def _choice(
    scene: Scene, decision: Decision, policy: Policy | None, table: Sequence[Assignment], limit: CallLimit
) -> Choice:
    """The pick of a decision, if it is the same however much memory the machine can have had."""
    pick = _pick(decision)
    if scene.most is not None and pick is not None:
        with_most = decide(scene.oom_control(scene.most), policy, None, limit)
        other = _pick(with_most)
        if not pick.same_process(other):
            assert other is not None
            why = (
                f"how much memory and swap there was is not in the report, and it decides: "
                f"{_named(pick.pid, pick.comm)} with the least there can have been, "
                f"{_named(other.pid, other.comm)} with much more"
            )
            return Choice(None, why, decision.faults)
    return Choice(pick, None, decision.faults)


def _pick(decision: Decision) -> Pick | None:
    victim = decision.chosen
    if victim is None:
        return None
    chosen = next((candidate for candidate in decision.candidates if candidate.task is victim), None)
    if chosen is None:  # oom_kill_allocating_task: nobody was compared
        return Pick(victim.process_id, victim.comm, None, "it is the task that ran out (vm.oom_kill_allocating_task)")
    return Pick(victim.process_id, victim.comm, chosen.points, chosen.reason)


def _why_no_rows(report: OomReport) -> str:
    """Why there is nothing to choose from."""
    if report.damaged_rows:
        return f"the task table cannot be read: all of its {report.damaged_rows} rows are damaged"
    if report.columns is not None:
        return "the task table is empty"
    if report.invoker_comm is not None or report.kernel_release is not None:
        return "the log has no task table: vm.oom_dump_tasks is 0, or the lines are lost"
    return (
        "the log has no task table for this kill: the kernel prints at most ten in five seconds, or the lines are lost"
    )


def _why_nobody_killed(report: OomReport, model: Pick | None) -> str:
    """Why there is no victim to compare with."""
    panicked = "" if report.panic is None else f", and panicked ({report.panic})"
    if report.no_killable and model is not None:
        return (
            f"the kernel found no killable process{panicked}, though by the rules of its release "
            f"{_named(model.pid, model.comm)} can be killed{_odd_kernel(report)}"
        )
    if report.no_killable:
        table = "the table is empty" if not report.rows else f"none of the {len(report.rows)} in the table can be"
        return f"nobody was killed: the kernel found no killable process{panicked}; {table}"
    if report.panic is not None:
        return f"nobody was killed: the kernel panicked ({report.panic})"
    where = "ends inside the task table" if not report.table_is_whole and report.rows else "does not say who was killed"
    return f"the log {where}, so there is no victim to compare with"


def _judge(scene: Scene, decision: Decision, model: Choice) -> tuple[bool | None, str | None]:
    """Does the model's pick agree with the kernel's kill, and why not."""
    report, killed = scene.report, scene.report.killed
    if killed is None:
        agrees = None if not report.no_killable or model.why_not is not None else model.pick is None
        return agrees, _why_nobody_killed(report, model.pick)
    if model.why_not is not None:
        return None, model.why_not
    if model.pick is None:
        return False, f"the kernel killed {_said(killed)}, but nobody in the table can be killed{_odd_kernel(report)}"
    chosen = decision.chosen
    assert chosen is not None
    if any(chosen.same_process(pid) for pid in (killed.pid, killed.chosen_pid) if pid is not None):
        return True, None
    return _disagreement(scene, decision, model.pick, killed)


def _disagreement(scene: Scene, decision: Decision, pick: Pick, killed: Kill) -> tuple[bool | None, str]:
    """False or None, and the sentence: what in the report explains that the kernel killed another."""
    report = scene.report
    kernel = scene.snapshot.kernel
    whom = _said(killed)
    wanted = killed.pid if killed.chosen_pid is None else killed.chosen_pid
    task = next((task for task in kernel.tasks if task.same_process(wanted) or task.same_process(killed.pid)), None)
    picked = f"the model picks {_named(pick.pid, pick.comm)}"
    if task is None:
        lost = "" if report.table_is_whole else f" (the log lacks {'; '.join(report.missing)})"
        return None, f"{whom}, whom the kernel killed, is not in the table{lost}; of those in it {picked}"
    if kernel.rules.sacrifice_child and killed.chosen_pid is None:
        return None, f"{picked}; the kernel may have killed its child {whom} instead, and the table names no parents"
    points = oom_badness(task, decision.totalpages, kernel.rules)
    if points is None or pick.points is None:
        excluded = next((item.why.value for item in decision.excluded if item.task is task), "it cannot be killed")
        return False, f"{picked}, the kernel killed {whom}, which by the table cannot be killed: {excluded}"
    hidden = _hidden_points(report, kernel, decision.totalpages)
    if points == pick.points and hidden == 0:
        return _tie(scene, decision, task, picked)
    gap = pick.points - points
    scored = f"{picked} with {pick.points:,} points, the kernel killed {whom}, which has {points:,} by the table"
    if hidden is None or hidden >= gap:
        printed = "" if killed.score is None else f"; the kernel itself scored it {killed.score} per mille"
        return None, f"{scored}: this kernel's table shows neither swap nor page tables, which count{printed}"
    if not report.table_is_whole:
        return None, f"{scored}; the table is damaged: the log lacks {'; '.join(report.missing)}"
    if gap * 100 <= pick.points:
        return False, f"{scored}: the table is printed after the choice, and memory moves in between"
    return False, f"{scored}{_odd_kernel(report)}"


def _tie(scene: Scene, decision: Decision, task: Task, picked: str) -> tuple[bool | None, str]:
    """The kernel killed one of several with equal points, and the model picks another of them."""
    rules = scene.snapshot.kernel.rules
    chosen = decision.chosen
    tie = f"a tie: {picked}, but {_named(task.process_id, task.comm)}, whom the kernel killed, has the same points"
    if scene.report.constraint is OomConstraint.CONSTRAINT_MEMCG and not rules.memcg_dump_in_scan_order:
        return None, f"{tie}, and this kernel does not print a memcg's tasks in the order in which it weighs them"
    if chosen is not None and chosen.mm == task.mm:
        return None, (
            f"{tie} and the same memory: a child in the middle of vfork is passed over, and no table shows who is"
        )
    return False, tie


def _hidden_points(report: OomReport, kernel: Kernel, totalpages: int) -> int | None:
    """The most points that one task may have and the table not show; None where that is unknown."""
    if report.has_swap_column:
        return 0
    if report.total_swap_kb is None or report.free_swap_kb is None:
        return None
    pages = (report.total_swap_kb - report.free_swap_kb) * 1024 // report.page_size_bytes
    pages += report.pagetables_pages or 0  # the stable kernels 2.6.36.y to 2.6.38.y may count them, others do
    # Rounding down hides up to one point more on each side.
    return pages * 1000 // max(totalpages, 1) + 1 if kernel.rules.per_mille else pages


def _odd_kernel(report: OomReport) -> str:
    """What may be the matter where the rules of a release do not explain a kernel."""
    release = report.kernel_release or ""
    if "-next-" in release or "-mm" in release:
        return f"; {release} is a development kernel, with changes that no release has"
    return "; a patched kernel, or one of several tasks that were already dying"


def _notes(scene: Scene) -> tuple[str, ...]:
    """What else is to be said of a report."""
    report = scene.report
    notes = list(scene.guesses)
    of_group = [kill for kill in report.kills[1:] if kill.of_group]
    others = [kill for kill in report.kills[1:] if not kill.of_group]
    if of_group:
        notes.append(f"memory.oom.group of {report.oom_group}: killed with it: {_list(of_group)}")
    if others:
        notes.append(f"killed after it, with no table of their own (dumps are rate-limited): {_list(others)}")
    if report.already_killed:
        count = len(report.already_killed)
        notes.append(f"{count} of the table had been killed before, and the kernel passed over them")
    return tuple(notes)


def _list(kills: Sequence[Kill]) -> str:
    shown = ", ".join(_said(kill) for kill in kills[:8])
    return f"{shown} and {len(kills) - 8} more" if len(kills) > 8 else shown


def _said(kill: Kill) -> str:
    return _named(kill.pid, kill.comm)


def _named(pid: int, comm: str | None) -> str:
    """ "java (1234)"."""
    return f"pid {pid}" if not comm else f"{comm} ({pid})"
