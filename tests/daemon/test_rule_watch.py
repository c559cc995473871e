"""Rules watched over, with made-up readings and a made-up clock: hours pass without a sleep."""

from __future__ import annotations

import itertools
import select
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

import pytest

from oompolicy.daemon.judging import Judging
from oompolicy.daemon.rule_watch import Clocks, RuleWatch
from oompolicy.errors import BackendError, SourceError
from oompolicy.rules.judge import armed
from oompolicy.rules.pace import CLOSE_MS
from oompolicy.rules.readings import CgroupReading, MachineReading, Pressure, Readings, Stall
from oompolicy.rules.rule import Kill, Order, Outcome, Rule, Victim
from oompolicy.rules.watch import EventsWatch, PsiWatch

GIB = 1 << 30
FINE = MachineReading(16 * GIB, 12 * GIB, 12 * GIB, 4 * GIB, 4 * GIB)
LOW = Rule("low", "mem_available_percent < 10")
STALLS = Rule("stalls", "psi.memory.some.avg10 > 20")
OF_BATCH = Rule("batch", "cgroup.current_mib > 100", scope=("/batch/*",))


class World:
    """The sensors, the executor and the clock of one test; each look is noted."""

    def __init__(self, machine: MachineReading = FINE, is_blind: bool = False) -> None:
        self.machine, self.is_blind = machine, is_blind
        self.notes: list[str] = []
        self.generation = 0
        self.paths: set[str] = set()
        self.now_ms = 0
        self.looks: list[int] = []
        self.glances: list[int] = []
        self.pressures: set[PsiWatch] = set()
        self.files: set[EventsWatch] = set()
        self.followed: set[str] = set()
        self.orders: list[tuple[int, Order]] = []
        self.is_closed = False
        self.trouble: Exception | None = None

    def register(self, poll: select.poll) -> None:
        pass

    def owns(self, fd: int) -> bool:
        return fd == 1

    def take(self, fd: int, events: int) -> bool:
        return events == select.POLLPRI

    def follow(self, paths: Iterable[str]) -> None:
        self.followed = set(paths)

    def arm(self, pressures: Iterable[PsiWatch], files: Iterable[EventsWatch]) -> None:
        self.pressures, self.files = set(pressures), set(files)

    def glance(self) -> tuple[int, int, int, int, int]:
        self.glances.append(self.now_ms)
        is_ = self.machine
        memory = is_.mem_total_bytes, is_.mem_available_bytes, is_.mem_free_bytes
        return (*memory, is_.swap_total_bytes, is_.swap_free_bytes)

    def read(self, at_ms: int) -> Readings:
        self.looks.append(at_ms)
        if self.trouble is not None:
            raise self.trouble
        used = {path: CgroupReading(path, current_bytes=200 << 20) for path in self.followed - {"/"}}
        return Readings(at_ms, self.machine, used)

    def close(self) -> None:
        self.is_closed = True

    def act(self, order: Order, now_ms: int) -> Doing:
        self.orders.append((now_ms, order))
        return Doing(order, now_ms)

    def clocks(self) -> Clocks:
        return Clocks(lambda: self.now_ms, lambda: 0)

    def watch(self, *rules: Rule) -> RuleWatch:
        watch = RuleWatch(self, Judging([armed(rule) for rule in rules]), self.act, self.clocks())
        watch.start(select.poll())
        return watch

    def run(self, watch: RuleWatch, until_ms: int, **changes: int) -> None:
        """Let time pass, turn by turn. changes: bytes a millisecond by which an amount changes."""
        while watch.due_ms is not None and watch.due_ms <= until_ms:
            self._pass(watch.due_ms, changes)
            watch.turn(self.now_ms)
        self._pass(until_ms, changes)

    def _pass(self, to_ms: int, changes: dict[str, int]) -> None:
        span_ms, self.now_ms = max(to_ms - self.now_ms, 0), max(to_ms, self.now_ms)
        amounts = {name: max(getattr(self.machine, name) + each * span_ms, 0) for name, each in changes.items()}
        self.machine = replace(self.machine, **amounts)


class Doing:
    """A kill that takes 200 ms."""

    def __init__(self, order: Order, now_ms: int) -> None:
        self.order, self.until_ms = order, now_ms + 200
        self.wake_at_ms = now_ms
        self.is_closed = False

    def fds(self) -> tuple[int, ...]:
        return ()

    def advance(self, now_ms: int) -> Outcome | None:
        self.wake_at_ms = self.until_ms
        if now_ms < self.until_ms:
            return None
        return Outcome(self.order, killed=1, freed_bytes=GIB, at_ms=now_ms, victims=(Victim(7, "big"),))

    def close(self) -> None:
        self.is_closed = True


def stalled(avg10: float) -> MachineReading:
    return replace(FINE, memory=Pressure(Stall(avg10=avg10, total_us=int(avg10 * 1e5)), Stall()))


def test_a_rule_of_pressure_sleeps_until_the_kernel_tells() -> None:
    world = World(stalled(0))
    watch = world.watch(STALLS)
    world.run(watch, 3_600_000)
    assert world.looks == [0]
    assert watch.due_ms is None
    assert {(each.scope, each.resource, each.kind) for each in world.pressures} == {("/", "memory", "some")}


def test_told_of_stalls_it_looks_for_a_while_and_fires_when_it_is_true() -> None:
    world = World(stalled(0))
    watch = world.watch(STALLS)
    world.run(watch, 60_000)
    world.machine = stalled(15)
    watch.woken(1, select.POLLPRI, world.now_ms)
    world.run(watch, 61_000)
    assert world.orders == []
    world.machine = stalled(25)  # the average moves at most 2 s after the stall
    world.run(watch, 61_500)
    (at_ms, order), *more = world.orders
    assert (order.rule.name, order.scope, more) == ("stalls", "/", [])
    assert at_ms <= 61_500
    assert "25" in order.why


def test_a_hiccup_costs_a_handful_of_looks() -> None:
    world = World(stalled(0))
    watch = world.watch(STALLS)
    world.run(watch, 60_000)
    watch.woken(1, select.POLLPRI, world.now_ms)
    world.run(watch, 3_600_000)
    assert len(world.looks) <= 8
    assert watch.due_ms is None


def test_told_all_the_time_it_does_not_look_all_the_time() -> None:
    """An OOM storm, or a cgroup at its memory.high."""
    world = World(stalled(0))
    watch = world.watch(STALLS)
    world.run(watch, 60_000)
    for now_ms in range(60_000, 61_000):
        world.now_ms = now_ms
        watch.told(now_ms)
        world.run(watch, now_ms)
    assert world.looks[1] == 60_000
    assert 20 <= len(world.looks) <= 1000 / CLOSE_MS + 2


def test_far_from_a_level_a_glance_at_the_amounts_is_all() -> None:
    world = World()
    watch = world.watch(LOW)
    world.run(watch, 60_000)
    assert len(world.looks) <= 2
    # 10.4 GiB at 6,000 MiB/s are 1.8 s: earlyoom looks once a second.
    assert len(world.glances) == pytest.approx(60 / 1.77, abs=2)


@pytest.mark.parametrize("mib_per_s", [6000, 2000, 400, 50])
def test_however_fast_memory_goes_the_order_follows_the_crossing_within_30_ms(mib_per_s: int) -> None:
    world = World()
    watch = world.watch(LOW)
    rate = mib_per_s * (1 << 20) // 1000
    world.run(watch, 120_000 if mib_per_s > 100 else 400_000, mem_available_bytes=-rate)
    crossing_ms = (12 * GIB - 16 * GIB // 10) / rate
    assert crossing_ms <= world.orders[0][0] <= crossing_ms + 30
    assert len(world.looks) + len(world.glances) < 1000


def test_while_an_order_is_carried_out_nobody_else_dies_for_the_same_memory() -> None:
    world = World(replace(FINE, mem_available_bytes=GIB))
    watch = world.watch(LOW, Rule("low too", "mem_available_percent < 9"))
    world.run(watch, 150)
    assert [order.rule.name for _, order in world.orders] == ["low"]
    world.run(watch, 1000)
    assert [order.rule.name for _, order in world.orders] == ["low", "low too"]


class AtOnce(Doing):
    """A kill whose victim is gone before anybody asks."""

    def advance(self, now_ms: int) -> Outcome:
        return Outcome(self.order, killed=1, freed_bytes=1, at_ms=now_ms, victims=(Victim(7, "big"),))


def test_what_an_order_costs_does_not_put_off_the_next_look() -> None:
    """It takes a snapshot of the machine; a look may take a hundredth of the time, and this is none."""

    class Costly(World):
        cpu_ns = 0

        def act(self, order: Order, now_ms: int) -> Doing:
            self.cpu_ns += 300_000_000
            super().act(order, now_ms)
            return AtOnce(order, now_ms)

    world = Costly(replace(FINE, mem_available_bytes=GIB))
    watch = RuleWatch(
        world,
        Judging([armed(replace(LOW, cooldown_ms=0))]),
        world.act,
        Clocks(lambda: world.now_ms, lambda: world.cpu_ns),
    )
    watch.start(select.poll())
    world.run(watch, 1000)
    assert len(world.orders) > 3


def test_near_a_threshold_costly_looks_are_rare_until_memory_falls() -> None:
    """Of 500 MiB: whatever the threshold, memory could be there within 100 ms, at every look."""

    class Costly(World):
        cpu_ns = 0

        def read(self, at_ms: int) -> Readings:
            self.cpu_ns += 15_000_000
            return super().read(at_ms)

    small = replace(FINE, mem_total_bytes=500 << 20, mem_available_bytes=400 << 20, mem_free_bytes=400 << 20)
    world = Costly(small)
    rule = Rule("low", "mem_available_percent < 25", cooldown_ms=60_000)
    watch = RuleWatch(world, Judging([armed(rule)]), world.act, Clocks(lambda: world.now_ms, lambda: world.cpu_ns))
    watch.start(select.poll())
    world.run(watch, 60_000)
    assert len(world.looks) <= 41, "a hundredth of the time"
    assert len(world.glances) <= 601
    began_ms, before = world.now_ms, len(world.looks)
    world.run(watch, began_ms + 1800, mem_available_bytes=-(200 << 20) // 1000, mem_free_bytes=-(200 << 20) // 1000)
    # It is crossed after 1,375 ms.
    assert [at_ms - began_ms < 1375 + 160 for at_ms, _ in world.orders] == [True]
    assert len(world.looks) - before <= 1 + 1800 // 150, "a tenth of the time"


def test_a_fork_bomb_is_judged_while_there_is_memory_left() -> None:
    """On 512 MiB, where a look takes 50 ms: it is seen coming by amounts, and growth is told from looks since then."""

    class Bombed(World):
        cpu_ns = 0

        def read(self, at_ms: int) -> Readings:
            self.cpu_ns += 50_000_000
            self.looks.append(at_ms)
            pids = max(at_ms - 60_000, 0) // 10  # a hundred more a second
            return Readings(at_ms, self.machine, {"/batch/a": CgroupReading("/batch/a", pids=pids)})

    mib = 1 << 20
    world = Bombed(replace(FINE, mem_total_bytes=450 * mib, mem_available_bytes=230 * mib, mem_free_bytes=230 * mib))
    world.paths = {"/batch/a"}
    when = "growth(cgroup.pids, 2) > 100 and mem_available_percent < 25"
    watch = RuleWatch(
        world,
        Judging([armed(Rule("forks", when, scope=("/batch/*",), cooldown_ms=60_000))]),
        world.act,
        Clocks(lambda: world.now_ms, lambda: world.cpu_ns),
    )
    watch.start(select.poll())
    world.run(watch, 60_000)
    assert world.looks == [0], "no polling while memory is fine"
    world.run(watch, 62_000, mem_available_bytes=-110 * mib // 1000, mem_free_bytes=-110 * mib // 1000)
    # 25 % is crossed after 1.07 s, the growth reached after 1 s.
    assert [at_ms < 60_000 + 1070 + 510 for at_ms, _ in world.orders] == [True]


def test_a_victim_has_its_time_from_the_signal_on_and_not_from_the_look_before() -> None:
    """To choose one takes a look at all processes: seconds, where memory is gone."""

    class Slow(World):
        def act(self, order: Order, now_ms: int) -> Told:
            self.now_ms += 3000
            return told

    class Told(Doing):
        times_ms: ClassVar[list[int]] = []

        def advance(self, now_ms: int) -> Outcome | None:
            self.times_ms.append(now_ms)
            return super().advance(now_ms)

    world = Slow(replace(FINE, mem_available_bytes=GIB))
    told = Told(Order(LOW, "/", "it is low"), 0)
    watch = world.watch(LOW)
    world.run(watch, 10)
    assert Told.times_ms[:1] == [3000]


def test_cgroups_that_come_are_judged_and_those_that_go_are_not() -> None:
    world = World()
    watch = world.watch(OF_BATCH)
    world.run(watch, 10)
    assert world.followed == set()
    world.paths, world.generation = {"/", "/batch", "/batch/one"}, 1
    watch.woken(1, select.POLLIN, world.now_ms)
    world.run(watch, 10)
    assert world.followed == {"/batch/one"}
    world.run(watch, 3000)
    assert [order.scope for _, order in world.orders] == ["/batch/one"]
    world.paths, world.generation = {"/"}, 2
    watch.woken(1, select.POLLIN, world.now_ms)
    world.run(watch, 3000)
    assert world.followed == set()


def test_cgroups_that_a_condition_asks_about_or_a_rule_compares_are_read_too() -> None:
    world = World()
    world.paths, world.generation = {"/", "/a", "/b", "/b/c", "/d"}, 1
    condition = 'of("/a", cgroup.current_mib > 100)'
    watch = world.watch(Rule("r", condition, action=Kill.CGROUP, among=("/b/*",), by=("cgroup.current_mib",)))
    world.run(watch, 10)
    assert world.followed == {"/", "/a", "/b/c"}
    assert [order.compared for _, order in world.orders] == [(("/b/c", (200.0,)),)]


def test_where_cgroups_come_and_go_all_the_time_they_are_followed_now_and_then() -> None:
    """Following takes 15 ms here, as with 10,000 cgroups: one part in a hundred of the time."""
    world = World()
    spent_ns = itertools.count(0, 15_000_000)
    watch = RuleWatch(world, Judging([armed(OF_BATCH)]), world.act, Clocks(lambda: world.now_ms, spent_ns.__next__))
    watch.start(select.poll())
    world.run(watch, 10_000)
    follows, follow = [], world.follow

    def noted(paths: Iterable[str]) -> None:
        follows.append(world.now_ms)
        follow(paths)

    world.follow = noted  # type: ignore[method-assign]
    for now_ms in range(10_000, 20_000, 10):
        world.now_ms, world.generation = now_ms, world.generation + 1
        world.paths = {"/", "/batch", f"/batch/{now_ms}"}
        watch.woken(1, select.POLLIN, now_ms)
        world.run(watch, now_ms)
    assert follows[0] == 10_000  # the first at once
    assert 6 <= len(follows) <= 8


@pytest.mark.parametrize("trouble", [SourceError("/proc", "cannot be read"), RuntimeError("a bug"), MemoryError()])
def test_trouble_is_one_line_and_the_watch_goes_on(trouble: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(replace(FINE, mem_available_bytes=GIB))
    watch = world.watch(LOW)
    world.trouble = trouble
    world.run(watch, 5000)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert world.orders == []
    world.trouble = None
    world.run(watch, 10_000)
    assert world.orders


@pytest.mark.parametrize(
    ("error", "said"), [(BackendError("kill", "no way"), "kill: no way"), (MemoryError(), "MemoryError")]
)
def test_an_executor_that_refuses_is_said_and_the_rule_rests(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Refusing(World):
        def act(self, order: Order, now_ms: int) -> Doing:
            super().act(order, now_ms)
            raise error

    world = Refusing(replace(FINE, mem_available_bytes=GIB))
    watch = world.watch(LOW)
    world.run(watch, 4000)
    assert f"rule low: {said}" in capsys.readouterr().err
    assert len(world.orders) == 1
    world.run(watch, 7000)
    assert len(world.orders) == 2, "after its cooldown"


def test_an_order_that_breaks_midway_does_not_break_the_watch(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(Doing):
        def advance(self, now_ms: int) -> Outcome | None:
            raise RuntimeError("a bug")

    class Breaking(World):
        def act(self, order: Order, now_ms: int) -> Doing:
            super().act(order, now_ms)
            return Broken(order, now_ms)

    world = Breaking(replace(FINE, mem_available_bytes=GIB))
    watch = world.watch(LOW)
    world.run(watch, 1000)
    assert "please report this" in capsys.readouterr().err
    world.run(watch, 7000)
    assert len(world.orders) == 2, "its order is over, and it has rested"
    watch.close()
    assert world.is_closed


def test_after_an_hour_of_sigstop_it_goes_on_where_the_machine_is() -> None:
    world = World()
    watch = world.watch(LOW)
    world.run(watch, 1000)
    world.now_ms = 3_600_000
    watch.turn(world.now_ms)
    assert watch.due_ms is not None
    assert watch.due_ms > 3_600_000
    assert world.orders == []


def test_where_nobody_tells_it_looks_once_a_second() -> None:
    world = World(stalled(0), is_blind=True)
    world.run(world.watch(STALLS), 10_000)
    assert world.looks == list(range(0, 10_001, 1000))
