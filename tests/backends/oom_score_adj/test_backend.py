"""A plan kept in force on processes that only exist on paper."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from backends.oom_score_adj.random_worlds import adjusted, without
from oompolicy import DEFER, KILL, SPARE, OomControl, Task, Verdict, policy
from oompolicy.backends.dry_run import DryRun
from oompolicy.backends.oom_score_adj.backend import OomScoreAdj
from oompolicy.backends.oom_score_adj.journal import Journal
from oompolicy.backends.oom_score_adj.originals import Drift, Identity
from oompolicy.backends.oom_score_adj.process import Written
from oompolicy.engine import Looked
from oompolicy.errors import BackendError
from oompolicy.scoring.scene import PastKill
from oompolicy.snapshot import Snapshot

from worlds import machine, memcg, task


@policy
def by_name(task: Task, oc: OomControl) -> int | Verdict:
    return {"kill": KILL, "spare": SPARE}.get(task.comm, DEFER)


class Paper:
    """Processes on paper: what is written changes the world; `refuses` and `log` are the test's."""

    may_lower = True

    def __init__(self, world: Snapshot) -> None:
        self.world = world
        self.log: list[tuple[int, int]] = []
        self.refuses: set[int] = set()

    def as_written(self, snapshot: Snapshot) -> Snapshot:
        return snapshot

    def write(self, identity: Identity, comm: str, before: int, adj: int) -> Written:
        if identity.pid in self.refuses:
            return Written.REFUSED
        if identity.pid not in self.adj:
            return Written.GONE
        assert self.adj[identity.pid] == before
        self.log.append((identity.pid, adj))
        self.world = adjusted(self.world, {identity.pid: adj})
        return Written.DONE

    @property
    def adj(self) -> dict[int, int]:
        """Of all but init."""
        tasks = self.world.kernel.tasks
        return {task.process_id: task.oom_score_adj for task in tasks if task.process_id != 1}

    def fork(self, parent: int, pid: int) -> None:
        """A child, as fork() makes it: with its parent's oom_score_adj."""
        mother = next(task for task in self.world.kernel.tasks if task.pid == parent)
        child = replace(mother, pid=pid, ppid=parent, start_time_ns=pid * 10**10)
        kernel = replace(self.world.kernel, tasks=(*self.world.kernel.tasks, child))
        self.world = replace(self.world, kernel=kernel)

    def move(self, pid: int, path: str) -> None:
        """Into another memcg."""
        memcg = self.world.memcg(path)
        tasks = tuple(replace(task, memcg=memcg) if task.pid == pid else task for task in self.world.kernel.tasks)
        self.world = replace(self.world, kernel=replace(self.world.kernel, tasks=tasks))

    def end(self, pid: int) -> None:
        """It ends, and its children are init's."""
        orphans = tuple(
            replace(task, ppid=1) if task.ppid == pid else task for task in without(self.world, {pid}).kernel.tasks
        )
        self.world = replace(self.world, kernel=replace(self.world.kernel, tasks=orphans))


def make(paper: Paper, folder: Path, drift: Drift = "correct", within: str | None = None) -> OomScoreAdj:
    backend = OomScoreAdj(paper, Journal(folder, "boot"), drift, within)
    backend.start(paper.world)
    return backend


def turn(backend: OomScoreAdj, paper: Paper, enforce: bool = True) -> Looked:
    looked = backend.look(paper.world, by_name, nullcontext)
    if enforce:
        backend.enforce()
    return looked


def world() -> Paper:
    return Paper(
        machine(
            memcg("mine", tasks=[task("kill", rss="1M", oom_score_adj=10), task("spare", rss="1G")]),
            task("other", rss="100M"),
            task("init", pid=1, ppid=0, rss="8M"),
            totalpages="4G",
        )
    )


KILL_PID, SPARE_PID, OTHER_PID = 100, 101, 102


def test_the_plan_is_written_and_everything_is_put_back(tmp_path: Path) -> None:
    paper = world()
    backend = make(paper, tmp_path)
    turn(backend, paper)
    assert paper.adj == {KILL_PID: 999, SPARE_PID: -999, OTHER_PID: 0}
    assert backend.put_back(lambda: paper.world) == ("2 processes have their own oom_score_adj again",)
    assert paper.adj == {KILL_PID: 10, SPARE_PID: 0, OTHER_PID: 0}
    assert Journal(tmp_path, "boot").read() == {}


def test_the_journal_has_the_originals_before_anything_is_written(tmp_path: Path) -> None:
    paper = world()
    backend = make(paper, tmp_path)
    written = paper.write
    originals = []

    def look_first(identity: Identity, comm: str, before: int, adj: int) -> Written:
        originals.append({entry.original for entry in Journal(tmp_path, "boot").read().values()})
        return written(identity, comm, before, adj)

    paper.write = look_first  # type: ignore[method-assign]
    turn(backend, paper)
    assert originals == [{10, 0}] * 2


def test_without_a_journal_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = world()
    backend = make(paper, tmp_path)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BackendError, match="nothing is changed"):
        turn(backend, paper)
    assert paper.log == []


def test_a_second_plan_writes_only_what_differs(tmp_path: Path) -> None:
    paper = world()
    backend = make(paper, tmp_path)
    turn(backend, paper)
    paper.log.clear()
    turn(backend, paper)
    assert paper.log == []


def test_the_policy_sees_the_originals_not_what_we_wrote(tmp_path: Path) -> None:
    seen = []

    @policy
    def curious(task: Task, oc: OomControl) -> int | Verdict:
        seen.append(task.oom_score_adj)
        return KILL if task.comm == "kill" else DEFER

    paper = world()
    backend = make(paper, tmp_path)
    for _ in range(2):
        backend.look(paper.world, curious, nullcontext)
        backend.enforce()
    assert paper.adj[KILL_PID] == 999
    assert seen == [10, 0, 0] * 2


def test_the_next_victim_is_written_first(tmp_path: Path) -> None:
    paper = world()
    turn(make(paper, tmp_path), paper)
    assert [pid for pid, _ in paper.log] == [KILL_PID, SPARE_PID]


def test_a_child_is_put_back_to_its_parent_s_original_even_after_a_kill_9(tmp_path: Path) -> None:
    paper = world()
    killed = make(paper, tmp_path)
    turn(killed, paper)
    killed.close()
    paper.fork(KILL_PID, 200)
    paper.fork(200, 201)
    paper.end(200)
    assert paper.adj[201] == 999
    again = make(paper, tmp_path)
    assert again.put_back(lambda: paper.world) == ("3 processes have their own oom_score_adj again",)
    assert paper.adj == {KILL_PID: 10, 201: 10, SPARE_PID: 0, OTHER_PID: 0}


def test_what_was_born_is_noted_at_the_next_look_and_found_wherever_it_goes(tmp_path: Path) -> None:
    paper = world()
    killed = make(paper, tmp_path)
    turn(killed, paper)
    paper.fork(KILL_PID, 200)
    turn(killed, paper, enforce=False)
    killed.close()
    paper.end(KILL_PID)
    paper.move(200, "/")
    again = make(paper, tmp_path)
    again.put_back(lambda: paper.world)
    assert paper.adj[200] == 10


def test_children_born_while_all_is_put_back_are_found(tmp_path: Path) -> None:
    paper = world()
    backend = make(paper, tmp_path)
    turn(backend, paper)
    looks: list[int] = []

    def fork_meanwhile() -> Snapshot:
        taken = paper.world
        if not looks:
            paper.fork(KILL_PID, 200)
        looks.append(1)
        return taken

    backend.put_back(fork_meanwhile)
    assert paper.adj[200] == 10


def test_the_next_daemon_takes_over_without_a_write(tmp_path: Path) -> None:
    paper = world()
    killed = make(paper, tmp_path)
    turn(killed, paper)
    killed.close()
    paper.log.clear()
    backend = OomScoreAdj(paper, Journal(tmp_path, "boot"), "correct")
    said = backend.start(paper.world)
    assert said == ("2 processes are still as an earlier daemon has set them: taken over",)
    turn(backend, paper)
    assert paper.log == []
    backend.put_back(lambda: paper.world)
    assert paper.adj == {KILL_PID: 10, SPARE_PID: 0, OTHER_PID: 0}


def test_the_next_daemon_puts_back_what_its_own_policy_does_not_want(tmp_path: Path) -> None:
    paper = world()
    killed = make(paper, tmp_path)
    turn(killed, paper)
    killed.close()
    backend = make(paper, tmp_path)
    backend.look(paper.world, policy(lambda task, oc: DEFER), nullcontext)
    backend.enforce()
    assert paper.adj == {KILL_PID: 10, SPARE_PID: 0, OTHER_PID: 0}
    backend.look(paper.world, policy(lambda task, oc: DEFER), nullcontext)
    assert Journal(tmp_path, "boot").read() == {}


def test_the_journal_of_another_boot_is_not_continued(tmp_path: Path) -> None:
    paper = world()
    before = OomScoreAdj(paper, Journal(tmp_path, "last boot"), "correct")
    before.start(paper.world)
    turn(before, paper)
    before.close()
    paper = world()
    turn(make(paper, tmp_path), paper)
    assert {entry.original for entry in Journal(tmp_path, "boot").read().values()} == {10, 0}


def test_a_child_of_one_whose_value_was_just_put_back_is_put_back_too(tmp_path: Path) -> None:
    paper = world()
    backend = make(paper, tmp_path)
    turn(backend, paper)
    backend.look(paper.world, policy(lambda task, oc: DEFER), nullcontext)
    paper.fork(KILL_PID, 200)
    backend.enforce()
    assert paper.adj == {KILL_PID: 10, SPARE_PID: 0, OTHER_PID: 0, 200: 999}
    backend.look(paper.world, policy(lambda task, oc: DEFER), nullcontext)
    backend.enforce()
    assert paper.adj[200] == 10


def test_drift_is_noticed_set_again_and_their_value_put_back_at_the_end(tmp_path: Path) -> None:
    paper = world()
    backend = make(paper, tmp_path, "correct")
    turn(backend, paper)
    paper.world = adjusted(paper.world, {KILL_PID: -17})
    looked = turn(backend, paper)
    assert looked.drifted == 1
    assert looked.notes == ("kill (100): somebody set its oom_score_adj to -17: set again",)
    assert paper.adj[KILL_PID] == 999
    backend.put_back(lambda: paper.world)
    assert paper.adj[KILL_PID] == -17


def test_drift_is_left_and_the_others_are_planned_around_it(tmp_path: Path) -> None:
    paper = world()
    backend = make(paper, tmp_path, "leave")
    turn(backend, paper)
    paper.world = adjusted(paper.world, {SPARE_PID: 500})
    looked = turn(backend, paper)
    assert looked.drifted == 0
    assert looked.notes == ("spare (101): somebody set its oom_score_adj to 500: left so",)
    assert paper.adj[SPARE_PID] == 500
    assert all(standing.is_whole for standing in backend.look(paper.world, by_name, nullcontext).standings)
    backend.put_back(lambda: paper.world)
    assert paper.adj == {KILL_PID: 10, SPARE_PID: 500, OTHER_PID: 0}


def test_what_others_made_unkillable_stays_so(tmp_path: Path) -> None:
    paper = world()
    backend = make(paper, tmp_path, "correct")
    turn(backend, paper)
    paper.world = adjusted(paper.world, {KILL_PID: -1000})
    turn(backend, paper)
    backend.put_back(lambda: paper.world)
    assert paper.adj[KILL_PID] == -1000


def test_who_cannot_be_changed_is_planned_around_and_said(tmp_path: Path) -> None:
    paper = world()
    paper.refuses = {SPARE_PID}
    backend = make(paper, tmp_path)
    turn(backend, paper)
    assert Identity(SPARE_PID, 100) not in Journal(tmp_path, "boot").read()
    looked = turn(backend, paper)
    assert looked.notes == (f"pid 101: oom_score_adj cannot be changed: {Written.REFUSED.value}",)
    assert all(standing.is_whole for standing in backend.look(paper.world, by_name, nullcontext).standings)


def test_what_cannot_be_put_back_is_said_and_kept_in_the_journal(tmp_path: Path) -> None:
    paper = world()
    backend = make(paper, tmp_path)
    turn(backend, paper)
    paper.refuses = {KILL_PID}
    said = backend.put_back(lambda: paper.world)
    assert said[1].startswith("1 processes could not be put back (the kernel refuses it")
    assert Identity(KILL_PID, 0) in Journal(tmp_path, "boot").read()


def test_one_that_ends_meanwhile_is_no_trouble(tmp_path: Path) -> None:
    paper = world()
    backend = make(paper, tmp_path)
    backend.look(paper.world, by_name, nullcontext)
    paper.end(KILL_PID)
    assert backend.enforce().changed == 1


def test_within_a_cgroup_no_other_process_is_touched(tmp_path: Path) -> None:
    paper = Paper(
        machine(memcg("mine", tasks=[task("kill", rss="1M")]), task("kill", rss="1M"), task("spare", rss="9M"))
    )
    turn(make(paper, tmp_path, within="/mine"), paper)
    assert {pid for pid, _ in paper.log} <= {100}


def test_who_leaves_the_cgroup_is_put_back(tmp_path: Path) -> None:
    paper = world()
    backend = make(paper, tmp_path, within="/mine")
    turn(backend, paper)
    assert paper.adj[SPARE_PID] == -999
    paper.move(SPARE_PID, "/")
    turn(backend, paper)
    assert paper.adj[SPARE_PID] == 0


def test_a_policy_that_faults_leaves_the_kernel_s_order(tmp_path: Path) -> None:
    paper = world()
    backend = make(paper, tmp_path)
    looked = backend.look(paper.world, policy(lambda task, oc: 1 // 0), nullcontext)
    backend.enforce()
    assert paper.log == []
    assert "ZeroDivisionError" in looked.notes[0]
    assert looked.notes[0].endswith("counted as DEFER")
    assert len(set(looked.notes)) == 1


def test_a_dry_run_says_what_it_would_write_and_believes_it() -> None:
    paper = world()
    said: list[str] = []
    backend = DryRun(said.append)
    assert backend.start(paper.world) == ()
    turn(backend, paper)
    assert said == [
        "would set oom_score_adj of kill (100) from 10 to 999",
        "would set oom_score_adj of spare (101) from 0 to -999",
    ]
    looked = turn(backend, paper)
    assert all(standing.is_whole for standing in looked.standings)
    assert len(said) == 2
    assert backend.put_back(lambda: paper.world) == ()
    assert paper.log == []


def test_a_dry_run_does_not_go_on_for_ever() -> None:
    said: list[str] = []
    turn(DryRun(said.append), Paper(machine(*(task("kill", rss="1M") for _ in range(100)), task("o", rss="2G"))))
    assert len(said) == 21
    assert said[-1] == "and so on"


def test_a_kill_of_the_kernels_is_told_with_what_the_policy_wanted(tmp_path: Path) -> None:
    told: list[PastKill] = []
    paper = world()
    backend = OomScoreAdj(paper, Journal(tmp_path, "boot"), "correct", kills=lambda: told)
    backend.start(paper.world)
    turn(backend, paper)
    for pid, comm, scope in ((KILL_PID, "kill", "/"), (SPARE_PID, "spare", "/"), (999, "new", "/"), (7, "x", None)):
        told[:] = [PastKill(1, pid, comm, "/mine", "kernel", scope)]
        (kill,) = backend.take_kills(paper.world)
        assert kill.why in turn(backend, paper).notes
        told.clear()
        assert kill.why.startswith({"/": "OOM of the machine", None: "out of memory"}[scope])
        assert f"the kernel killed {comm} ({pid}) in /mine" in kill.why
        assert kill.why.endswith(
            {
                "kill": ": as policy by_name wanted",
                "spare": ": number 3 of policy by_name, whose first was kill (100)",
                "new": ": policy by_name had not seen it yet",
                "x": "in /mine",
            }[comm]
        )
        assert backend.take_kills(paper.world) == ()
        assert kill.why not in turn(backend, paper).notes


def test_a_log_that_cannot_be_read_is_said_and_nothing_else_fails(tmp_path: Path) -> None:
    def refused() -> list[PastKill]:
        raise PermissionError(1, "Operation not permitted")

    paper = world()
    backend = OomScoreAdj(paper, Journal(tmp_path, "boot"), "correct", kills=refused)
    backend.start(paper.world)
    assert backend.take_kills(paper.world) == ()
    assert "whom the kernel has killed cannot be read: Operation not permitted" in turn(backend, paper).notes
    assert paper.adj[KILL_PID] > paper.adj[SPARE_PID]
