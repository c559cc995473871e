"""The loop: signals, trouble and reloads, with a backend that only notes what it is asked."""

from __future__ import annotations

import itertools
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.test_rule_watch import LOW, World
from oompolicy import DEFER, OomControl, Scene, Task, Verdict, scorer
from oompolicy.assign import Assignment
from oompolicy.backends.backend import TakeSnapshot
from oompolicy.daemon import Daemon, Orders
from oompolicy.daemon.judging import Judging
from oompolicy.daemon.loop import now_ms
from oompolicy.daemon.rule_watch import Clocks, RuleWatch
from oompolicy.daemon.stalls import Stalls
from oompolicy.daemon.upkeep import NEWS, Upkeep
from oompolicy.engine import Enforced, Looked, Standing
from oompolicy.errors import BackendError, ConfigError, SourceError
from oompolicy.policy.api import Policy, policy
from oompolicy.policy.decision import CallLimit
from oompolicy.rules.judge import armed
from oompolicy.rules.readings import MachineReading, Readings
from oompolicy.scoring import PastKill
from oompolicy.service.own_time import Turns
from oompolicy.snapshot import Snapshot
from oompolicy.values import OfProcess, ValueOrder
from oompolicy.values.given import GivenValue

from worlds import machine, memcg, task

STANDING = Standing(None, 1, 1, 1000, None)


@policy
def first(task: Task, oc: OomControl) -> Verdict:
    return DEFER


@policy
def second(task: Task, oc: OomControl) -> Verdict:
    return DEFER


class PipeBell:
    """A bell that the test rings."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe2(os.O_NONBLOCK)

    def fileno(self) -> int:
        return self.reading

    def ring(self) -> None:
        os.write(self.writing, b"x")

    def silence(self) -> None:
        os.read(self.reading, 100)

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


class Notebook:
    """A backend that does, at each look, the next of the things the test wants done, and then asks to stop."""

    name = "notebook"
    bell: PipeBell | None = None

    def __init__(self, *turns: Callable[[], object]) -> None:
        self.turns = list(turns)
        self.asked: list[str] = []
        self.policies: list[str] = []
        self.values: list[int | None] = []

    def start(self, snapshot: Snapshot) -> tuple[str, ...]:
        self.asked.append("start")
        return ("something was left",)

    def take_kills(self, snapshot: Snapshot) -> tuple[PastKill, ...]:
        return ()

    def look(self, snapshot: Snapshot, policy: Policy, limit: CallLimit) -> Looked:
        self.asked.append("look")
        self.policies.append(policy.name)
        self.values.append(snapshot.kernel.memcgs[1].value)
        if self.turns:
            self.turns.pop(0)()
        else:
            os.kill(os.getpid(), signal.SIGTERM)
        return Looked((STANDING,), 1)

    def enforce(self) -> Enforced:
        self.asked.append("enforce")
        return Enforced((STANDING,), 0)

    def put_back(self, take_snapshot: TakeSnapshot) -> tuple[str, ...]:
        self.asked.append("put_back")
        return ("all is put back",)

    def close(self) -> None:
        self.asked.append("close")


def world() -> Snapshot:
    return machine(memcg("a"), task("t", rss="1M"))


ORDERS = Orders(first, (Assignment(7, cgroup="/a"),), 100, nullcontext)


def run(backend: Notebook, reload: Callable[[], Orders] = lambda: ORDERS, snapshot: TakeSnapshot = world) -> None:
    Daemon(backend, snapshot, replace(ORDERS, interval_ms=1), reload).run()


def nothing() -> None:
    pass


def hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_puts_everything_back(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    backend = Notebook(nothing, lambda: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    run(backend)
    assert backend.asked == ["start", "look", "enforce", "look", "put_back", "close"]
    assert signal.getsignal(number) is before
    err = capsys.readouterr().err
    assert "oompolicy: something was left\noompolicy: policy first, backend notebook, pid" in err
    assert err.endswith(f"oompolicy: {signal.Signals(number).name}: putting back\noompolicy: all is put back\n")


def test_the_table_of_values_is_applied() -> None:
    backend = Notebook()
    run(backend)
    assert backend.values == [7]


def test_hanging_up_reloads_and_the_new_policy_is_enforced_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    backend = Notebook(hang_up)
    run(backend, lambda: replace(ORDERS, policy=second, interval_ms=60_000))
    assert backend.policies == ["first", "second"]
    assert backend.asked == ["start", "look", "enforce", "look", "enforce", "put_back", "close"]
    assert "reloaded: policy second" in capsys.readouterr().err


def test_a_poke_makes_it_look_at_once_under_the_same_orders() -> None:
    backend = Notebook(lambda: os.kill(os.getpid(), signal.SIGUSR1))
    Daemon(backend, world, replace(ORDERS, interval_ms=3_600_000), lambda: ORDERS).run()
    assert backend.policies == ["first", "first"]
    assert backend.asked == ["start", "look", "enforce", "look", "put_back", "close"]


class Noted(Turns):
    """Whether the loop's thread goes first."""

    is_first = False

    def first(self) -> None:
        self.is_first = True

    def as_others(self) -> None:
        self.is_first = False


def test_rules_go_first_and_what_is_kept_in_force_does_not() -> None:
    turns, seen = Noted(), []

    class Watched(World):
        def read(self, at_ms: int) -> Readings:
            seen.append(("rules", turns.is_first))
            return super().read(at_ms)

    def look() -> None:
        seen.append(("policy", turns.is_first))

    rules = RuleWatch(Watched(), Judging([armed(LOW)]), World().act, Clocks(now_ms, lambda: 0))
    backend = Notebook(look, hang_up, look)
    orders = replace(ORDERS, interval_ms=1)

    def reload() -> Orders:
        seen.append(("reload", turns.is_first))
        return orders

    daemon = Daemon(backend, world, orders, reload, rules)
    daemon.go_first(turns)
    daemon.run()
    assert sorted(set(seen)) == [("policy", False), ("reload", False), ("rules", True)]


def test_rules_that_look_all_the_time_keep_nobody_else_from_their_turn() -> None:
    near = World(MachineReading(1000, 101, 101, 0, 0))  # NEAR_MS is how often such a level is looked at
    rules = RuleWatch(near, Judging([armed(LOW)]), near.act, Clocks(now_ms, lambda: 0))
    backend, seen = Notebook(), []
    backend.turns = [lambda: seen.append(len(near.glances) + len(near.looks)) for _ in range(3)]
    started_ms = now_ms()
    Daemon(backend, world, replace(ORDERS, interval_ms=350), lambda: ORDERS, rules).run()
    assert len(seen) == 3
    assert min(seen[1] - seen[0], seen[2] - seen[1]) >= 2
    assert now_ms() - started_ms >= 3 * 350


def test_when_the_kernel_has_chosen_somebody_it_looks_at_once() -> None:
    """Its interval is an hour."""
    bell = PipeBell()
    backend = Notebook(bell.ring, nothing)
    backend.bell = bell
    timer = threading.Timer(0.05, bell.ring)
    backend.turns[1] = timer.start
    began_s = time.monotonic()
    Daemon(backend, world, replace(ORDERS, interval_ms=3_600_000), lambda: ORDERS).run()
    assert backend.asked == ["start", "look", "enforce", "look", "look", "put_back", "close"]
    assert time.monotonic() - began_s < 10
    bell.close()


def test_in_a_storm_of_ooms_it_does_not_look_for_each() -> None:
    """The second ring comes at once after a look: the next look is half a second after that one."""
    looked_s: list[float] = []
    bell = PipeBell()

    def ring() -> None:
        looked_s.append(time.monotonic())
        for _ in range(20):
            bell.ring()

    backend = Notebook(ring, ring, lambda: looked_s.append(time.monotonic()))
    backend.bell = bell
    timer = threading.Timer(3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    timer.start()
    Daemon(backend, world, replace(ORDERS, interval_ms=3_600_000), lambda: ORDERS).run()
    timer.join()
    bell.close()
    assert len(looked_s) == 3
    assert all(0.45 < later - earlier < 2 for earlier, later in itertools.pairwise(looked_s))


def test_a_wrong_configuration_leaves_the_old_one_in_force_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def wrong() -> Orders:
        raise ConfigError("oompolicy.toml:3", "unknown key polcy", "did you mean policy?")

    backend = Notebook(hang_up)
    run(backend, wrong)
    assert backend.policies == ["first", "first"]
    lines = [line for line in capsys.readouterr().err.splitlines() if "reload" in line]
    assert lines == [
        "oompolicy: reload: oompolicy.toml:3: unknown key polcy: did you mean policy?: "
        "the old configuration stays in force"
    ]


@pytest.mark.parametrize("error", [SourceError("/proc", "cannot be read"), RuntimeError("a bug")])
def test_trouble_is_one_line_and_the_daemon_goes_on(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def trouble() -> None:
        raise error

    backend = Notebook(nothing, trouble, trouble)
    run(backend)
    assert backend.asked == ["start", "look", "enforce", "look", "look", "look", "enforce", "put_back", "close"]
    assert sum(str(error) in line for line in capsys.readouterr().err.splitlines()) == 1


def test_trouble_at_the_start_is_the_caller_s() -> None:
    def unreadable() -> Snapshot:
        raise SourceError("/proc", "cannot be read")

    backend = Notebook()
    with pytest.raises(SourceError):
        run(backend, snapshot=unreadable)
    assert backend.asked == ["close"]


def test_trouble_while_putting_back_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    class Stuck(Notebook):
        def put_back(self, take_snapshot: TakeSnapshot) -> tuple[str, ...]:
            raise SourceError("/proc", "cannot be read")

    run(Stuck())
    assert "not everything is put back: run `oompolicy restore`" in capsys.readouterr().err


def test_once_enforces_and_puts_nothing_back() -> None:
    backend = Notebook(nothing)
    Daemon(backend, world, ORDERS, lambda: ORDERS).run_once()
    assert backend.asked == ["start", "look", "enforce", "close"]


def test_names_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    class Rude(Notebook):
        def start(self, snapshot: Snapshot) -> tuple[str, ...]:
            return ("\x1b[2J\n\udcff",)

    run(Rude())
    assert "oompolicy: \\x1b[2J\\n\\udcff\n" in capsys.readouterr().err


def test_stalls_have_scorers_asked_and_nobody_else(tmp_path: Path) -> None:
    """The CPU's pressure is the one that is safe to make: more busy processes than CPUs."""
    if not Path("/proc/pressure/cpu").exists():
        pytest.skip("this kernel has no PSI")
    poll, stalls = select.poll(), Stalls()
    if not stalls.open(poll, Path("/proc/pressure/cpu")):
        pytest.skip("no triggers here")
    busy = [
        subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range((os.cpu_count() or 1) * 2)
    ]
    try:
        told = poll.poll(10_000)
        assert [stalls.owns(fd) for fd, _ in told] == [True]
    finally:
        for process in busy:
            process.kill()
            process.wait()
    stalls.close()
    stalls.close()
    assert poll.poll(0) == []
    assert not stalls.open(poll, tmp_path / "memory")


def test_what_happens_brings_a_look_on_and_looks_rest_in_between() -> None:
    asked: list[int] = []

    @scorer
    def counts(scene: Scene) -> dict[Task, int]:
        asked.append(scene.at_ms)
        return {}

    orders = replace(ORDERS, interval_ms=60_000)
    values = ValueOrder(replace(orders, scorers=(counts,)).of_values)
    upkeep = Upkeep(Notebook(nothing, nothing, nothing), world, orders, values)
    upkeep.look(1_000)
    assert upkeep.due_ms == 61_000
    upkeep.told(1_100)
    assert upkeep.due_ms == 1_000 + NEWS.rest_ms
    upkeep.hurry(1_100)
    assert upkeep.due_ms == 1_100
    upkeep.look(1_100)
    assert len(asked) == 2
    alone = Upkeep(Notebook(nothing), world, orders, ValueOrder(orders.of_values))
    alone.look(1_000)
    alone.told(1_100)
    assert alone.due_ms == 61_000  # there is no scorer to ask


def test_a_value_whose_time_is_over_is_a_reason_to_look_once() -> None:
    def unreadable() -> Snapshot:
        raise SourceError("/proc", "cannot be read")

    values = ValueOrder(ORDERS.of_values)
    values.given.give(OfProcess(1, 1), GivenValue(5, until_ms=3_000))
    upkeep = Upkeep(Notebook(), unreadable, replace(ORDERS, interval_ms=60_000), values)
    upkeep.look(1_000)
    assert upkeep.due_ms == 3_000
    upkeep.look(3_000)
    assert upkeep.due_ms == 63_000


def test_a_look_that_comes_to_nothing_says_so_to_who_asked_for_it() -> None:
    def trouble() -> None:
        raise SourceError("/proc", "cannot be read")

    daemon = Daemon(Notebook(trouble, nothing), world, ORDERS, lambda: ORDERS)
    with pytest.raises(BackendError, match="look: /proc: cannot be read"):
        daemon.look_now()
    daemon.look_now()
    with pytest.raises(BackendError, match="there are rules alone"):
        Daemon(None, world, ORDERS, lambda: ORDERS).look_now()
