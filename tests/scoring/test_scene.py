"""What a scorer sees of changes: growth over a span, its own earlier values, kills, protection."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.mm.oom import Kernel
from oompolicy.mm.sched import Mm
from oompolicy.mm.sched import Task as KernelTask
from oompolicy.policy.decision import PolicyTimeoutError
from oompolicy.policy.view import Memcg, Task
from oompolicy.policy_limit import call_limit
from oompolicy.rules.readings import CgroupReading, MachineReading, Pressure, Stall
from oompolicy.scoring import PastKill, Scene, Scorer, Scoring, scorer
from oompolicy.scoring.scoring import RESTS_AFTER_TIMEOUT_MS
from oompolicy.snapshot import Snapshot

ROOT = MemCgroup("/", id=1)
JOB = MemCgroup("/job", parent=ROOT, id=2, usage_pages=700, min_pages=100, low_pages=500)


def at(ms: int, sizes: dict[str, int]) -> Snapshot:
    tasks = tuple(
        KernelTask(pid, name, Mm(pages), pid, ppid=1, memcg=JOB, start_time_ns=pid, has_cap_sys_admin=False)
        for pid, (name, pages) in enumerate(sizes.items(), start=100)
    )
    return Snapshot(Kernel(tasks, totalram_pages=1 << 20, memcgs=(ROOT, JOB)), taken_boottime_ns=ms * 1_000_000)


class Seen:
    """A scorer that notes what `look` says of each scene."""

    def __init__(self, look: Callable[[Scene], object]) -> None:
        self.look = look
        self.found: list[object] = []

    def scorer(self) -> Scorer:
        @scorer
        def notes(scene: Scene) -> Iterable[tuple[Task, int]]:
            self.found.append(self.look(scene))
            return [(task, task.rss) for task in scene.tasks]

        return notes


def first(scene: Scene) -> Task:
    return scene.tasks[0]


def test_growth_is_told_since_the_last_look_and_over_longer() -> None:
    """It grows 1,000 pages a second for ten seconds, and then not at all."""
    seen = Seen(lambda scene: (scene.growth(first(scene)), scene.growth(first(scene), over_ms=10_000)))
    scoring = Scoring([seen.scorer()])
    for second in range(0, 21, 5):
        scoring.scored(at(1000 * second + 1, {"a": 1000 * min(second, 10)}))
    assert seen.found == [(None, None), (1000, 1000), (1000, 1000), (0, 500), (0, 0)]


def test_looks_that_follow_each_other_closely_are_not_compared() -> None:
    seen = Seen(lambda scene: (scene.elapsed_ms, scene.growth(first(scene))))
    scoring = Scoring([seen.scorer()])
    for ms, pages in ((1000, 0), (2000, 1000), (2100, 9000), (2700, 1700)):
        scoring.scored(at(ms, {"a": pages}))
    assert seen.found == [(None, None), (1000, 1000), (1100, 8181), (700, 1000)]


def test_a_minute_is_remembered_and_no_more() -> None:
    seen = Seen(lambda scene: scene.growth(first(scene), over_ms=3_600_000))
    scoring = Scoring([seen.scorer()])
    for second in range(1, 200):
        scoring.scored(at(1000 * second, {"a": 1_000_000 if second > 100 else 0}))
    assert seen.found[98] == 0
    assert seen.found[120] == 1_000_000 // 60  # since 60 s ago, when there was nothing
    assert seen.found[-1] == 0
    assert len(list(scoring._memory.before())) <= 14


def test_it_knows_what_it_said_and_who_was_killed() -> None:
    kill = PastKill(900, 4242, "gone", "/job", "rule low")
    seen = Seen(lambda scene: (scene.earlier(first(scene)), scene.kills))
    scoring = Scoring([seen.scorer()])
    scoring.scored(at(1000, {"a": 7}))
    scoring.scored(at(2000, {"a": 8}), (kill,))
    assert seen.found == [(None, ()), (7, (kill,))]


def test_over_protection_is_above_the_larger_of_min_and_low() -> None:
    seen = Seen(lambda scene: [scene.over_protection(memcg) for memcg in scene.memcgs])
    Scoring([seen.scorer()]).scored(at(1000, {"a": 1}))
    assert seen.found == [[None, 200]]


class Machine:
    """Senses of a machine that gets shorter by the look."""

    def __init__(self) -> None:
        self.read = 0

    def machine(self) -> MachineReading:
        self.read += 1
        stall = Stall(avg10=1.5 * self.read, total_us=200_000 * self.read)
        return MachineReading(1000, swap_total_bytes=100, swap_free_bytes=25, memory=Pressure(some=stall))

    def cgroup(self, path: str, files: tuple[str, ...]) -> CgroupReading | None:
        return CgroupReading(path, events_oom_kill=3) if path == "/job" and files == ("memory.events",) else None

    def faults(self, task: KernelTask) -> int | None:
        return task.process_id * self.read * 10

    def charges(self, path: str) -> int | None:
        return 5000 * self.read


def test_it_reads_what_conditions_read_once_a_look() -> None:
    names = ("psi.memory.some.avg10", "psi.memory.some.now", "swap_used_percent")
    seen = Seen(lambda scene: [scene.read(name) for name in names])
    senses = Machine()
    scoring = Scoring([seen.scorer(), seen.scorer()], senses=senses)
    scoring.scored(at(1000, {"a": 1}))
    scoring.scored(at(3000, {"a": 1}))
    assert seen.found[0] == seen.found[1] == [1.5, None, 75.0]
    assert seen.found[3] == [3.0, 10.0, 75.0]  # 0.2 s of 2 s
    assert senses.read == 2


def test_a_memcg_s_fields_are_read_of_that_memcg() -> None:
    seen = Seen(lambda scene: [scene.read("cgroup.events.oom_kill", memcg) for memcg in scene.memcgs])
    Scoring([seen.scorer()], senses=Machine()).scored(at(1000, {"a": 1}))
    assert seen.found == [[None, 3]]


def test_a_field_that_is_none_is_a_fault_with_the_nearest_name() -> None:
    seen = Seen(lambda scene: scene.read("psi.memory.sum.avg10"))
    fault = Scoring([seen.scorer()]).scored(at(1000, {"a": 1})).faults[0]
    assert "did you mean psi.memory.some.avg10?" in fault.why


def test_where_no_machine_is_at_hand_nothing_is_known() -> None:
    seen = Seen(lambda scene: (scene.read("psi.memory.some.avg10"), scene.allocation(first(scene))))
    Scoring([seen.scorer()]).scored(at(1000, {"a": 1}))
    assert seen.found == [(None, None)]


def test_allocation_counts_what_was_given_back_and_growth_where_that_is_more() -> None:
    senses = Machine()

    def look(scene: Scene) -> object:
        scene.read("mem_total_mib")  # the clock of these senses
        return [scene.allocation(task) for task in scene.tasks], scene.allocation(scene.memcgs[1])

    seen = Seen(look)
    scoring = Scoring([seen.scorer()], senses=senses)
    scoring.scored(at(1000, {"churns": 50, "huge": 0}))
    scoring.scored(at(3000, {"churns": 50, "huge": 8192}))
    assert seen.found == [([None, None], None), ([500, 4096], 2500)]


def test_who_was_not_asked_about_at_the_last_look_is_not_known() -> None:
    senses = Machine()
    seen = Seen(lambda scene: scene.allocation(first(scene)) if scene.read("mem_total_mib") and senses.read != 2 else 0)
    scoring = Scoring([seen.scorer()], senses=senses)
    for second in (1, 2, 3, 4):
        scoring.scored(at(1000 * second, {"a": 1}))
    assert seen.found == [None, 0, 0, 1000]  # at the third only growth is known


def test_one_that_exits_ends_itself_alone() -> None:
    def leaves(scene: Scene) -> Iterable[tuple[Task, int]]:
        sys.exit(3)

    assert Scoring([Scorer(leaves)]).scored(at(1000, {"a": 1})).faults[0].why == "SystemExit: 3"


def raises_after_the_first(scene: Scene) -> Iterable[tuple[Memcg | Task, int]]:
    if scene.at_ms > 1000:
        raise ValueError("no more")
    return [(task, 5) for task in scene.tasks]


def values(snapshot: Snapshot) -> list[int | None]:
    return [task.value for task in snapshot.kernel.tasks]


def test_the_values_of_one_that_fails_count_until_their_time_is_over() -> None:
    scoring = Scoring([Scorer(raises_after_the_first)], ttl_ms=30_000)
    assert values(scoring.scored(at(1000, {"a": 1})).snapshot) == [5]
    kept = scoring.scored(at(31_000, {"a": 1}))
    assert values(kept.snapshot) == [5]
    over = scoring.scored(at(31_001, {"a": 1}))
    assert values(over.snapshot) == [None]
    assert over.notes[0] == kept.notes[0]  # one line, however often
    assert over.notes[1] == "scorer raises_after_the_first: its values are older than 30 s: they do not count"
    assert "ValueError: no more: its earlier values stay" in kept.notes[0]
    assert len(scoring.scored(at(40_000, {"a": 1})).notes) == 1


def test_one_that_takes_too_long_rests() -> None:
    asked = []

    @scorer
    def endless(scene: Scene) -> Iterable[tuple[Task, int]]:
        asked.append(scene.at_ms)
        while len(asked) == 1:
            pass
        return [(task, 9) for task in scene.tasks]

    scoring = Scoring([endless], call_limit(0.05))
    slow = scoring.scored(at(1000, {"a": 1}))
    assert "it took longer than 0.05 s" in slow.notes[0]
    assert f"It is asked again in {RESTS_AFTER_TIMEOUT_MS // 1000} s" in slow.notes[0]
    assert scoring.scored(at(2000, {"a": 1})).notes == slow.notes
    later = scoring.scored(at(1000 + RESTS_AFTER_TIMEOUT_MS, {"a": 1}))
    assert (later.notes, values(later.snapshot)) == ((), [9])
    assert asked == [1000, 61_000]


def test_one_that_fails_does_not_keep_others_from_being_asked_and_the_last_counts() -> None:
    @scorer
    def threes(scene: Scene) -> Iterable[tuple[Task, int]]:
        return [(task, 3) for task in scene.tasks]

    @scorer
    def fours_for_b(scene: Scene) -> Iterable[tuple[Task, int]]:
        return [(task, 4) for task in scene.tasks if task.comm == "b"]

    @scorer
    def fails(scene: Scene) -> Iterable[tuple[Task, int]]:
        raise PolicyTimeoutError("it took longer")

    found = Scoring([fails, threes, fours_for_b]).scored(at(1000, {"a": 1, "b": 1}))
    assert values(found.snapshot) == [3, 4]
    assert len(found.faults) == 1


def test_a_reload_keeps_what_is_known_of_sizes() -> None:
    before, after = Seen(lambda scene: None), Seen(lambda scene: scene.growth(first(scene)))
    scoring = Scoring([before.scorer()])
    scoring.scored(at(1000, {"a": 0}))
    scoring.obey([after.scorer()], call_limit(), None)
    scoring.scored(at(2000, {"a": 50}))
    assert after.found == [50]


@pytest.mark.parametrize("taken_ns", [None, 0])
def test_a_recording_without_a_time_has_no_growth(taken_ns: int | None) -> None:
    seen = Seen(lambda scene: (scene.elapsed_ms, scene.growth(first(scene))))
    scoring = Scoring([seen.scorer()])
    for _ in range(2):
        scoring.scored(replace(at(0, {"a": 1}), taken_boottime_ns=taken_ns))
    assert seen.found == [(None, None)] * 2
