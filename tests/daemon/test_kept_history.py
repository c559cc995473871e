"""What the daemon's own loop writes down: orders of rules that are over, and kills that the backend tells of."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.test_rule_watch import STALLS, World, stalled
from oompolicy.backends.backend import TakeSnapshot
from oompolicy.backends.kill.actions import Actions, Terms
from oompolicy.backends.kill.ground import Ground
from oompolicy.daemon import Daemon, Orders
from oompolicy.daemon.acting import Acting
from oompolicy.daemon.judging import Judging
from oompolicy.daemon.kept_history import KeptHistory
from oompolicy.daemon.rule_watch import RuleWatch
from oompolicy.engine import Enforced, Looked, Standing
from oompolicy.policies.kernel_default import kernel_default
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit
from oompolicy.rules.judge import armed
from oompolicy.rules.rule import Kill, Order, Other, Outcome, Rule, Victim
from oompolicy.scoring import PastKill
from oompolicy.service.history import Entry, History, read_history
from oompolicy.snapshot import Snapshot
from oompolicy.values import ValueOrder

from worlds import machine, task

LOW = Rule("low", "mem_available_percent < 5")
WHO = Victim(7, "a b")
ORDERS = Orders(kernel_default, (), 100, nullcontext)
STANDING = Standing(None, 1, 1, 1000, None)


def world() -> Snapshot:
    return machine(task("t", rss="1M"))


def kept(folder: Path) -> KeptHistory:
    return KeptHistory(History(folder, pytest.fail))


def acting(folder: Path) -> Acting:
    actions = Actions(Ground(None, False, lambda line: None), Terms(), lambda line: None)
    return Acting(actions, ValueOrder(ORDERS.of_values), world, kept(folder))


def entries(folder: Path) -> list[Entry]:
    found, broken = read_history(folder)
    assert broken == 0
    return found


def test_a_rule_that_fires_in_the_loop_leaves_an_entry_that_says_why(tmp_path: Path) -> None:
    made_up, before_ms = World(stalled(50)), time.time_ns() // 1_000_000
    watch = RuleWatch(made_up, Judging([armed(STALLS)]), made_up.act, made_up.clocks(), acting(tmp_path))
    watch.start(select.poll())
    made_up.run(watch, 1000)
    (entry,) = entries(tmp_path)
    assert entry.time_ms is not None
    assert before_ms <= entry.time_ms <= time.time_ns() // 1_000_000
    assert (entry.by, entry.rule, entry.action, entry.scope) == ("rule", STALLS.name, "kill", "/")
    assert (entry.victims, entry.killed, entry.freed_bytes) == ((Victim(7, "big"),), 1, 1 << 30)
    assert entry.why.startswith("psi.memory.some.avg10 50")


def test_scorers_are_told_of_the_dead_and_not_of_whom_a_dry_run_names(tmp_path: Path) -> None:
    values = ValueOrder(ORDERS.of_values)
    actions = Actions(Ground(None, False, lambda line: None), Terms(), lambda line: None)
    watcher = Acting(actions, values, world, kept(tmp_path))
    for rule, killed, pid in ((replace(LOW, is_dry_run=True), 0, 7), (LOW, 1, 8)):
        watcher.ended(Outcome(Order(rule, "/", "because"), killed=killed, victims=(Victim(pid, "a"),)))
    assert [(kill.pid, kill.comm, kill.by) for kill in values.kills] == [(8, "a", "rule low")]


@pytest.mark.parametrize(
    ("rule", "outcome", "said"),
    [
        (
            Rule("a", "", action=Kill.CGROUP),
            {"killed": 1, "victims": (Victim(7, "a b"),), "freed_bytes": 5},
            "kill_cgroup 5",
        ),
        (Rule("a", "", action=Other.FREEZE), {"cgroup": "/job"}, "freeze /job None"),
        (Rule("a", "", action=Other.RECLAIM), {"cgroup": "/job", "freed_bytes": 9}, "reclaim /job 9"),
        (Rule("a", ""), {"failed": "nobody in the scope can be killed"}, "kill None nobody"),
        (Rule("a", "", is_dry_run=True), {"victims": (WHO,)}, "kill dry None"),
        (Rule("a", "", action=Other.NOTHING), {}, ""),
    ],
    ids=["cgroup", "freeze", "reclaim", "failed", "dry", "nothing"],
)
def test_what_was_done_is_told_by_what_it_was(
    tmp_path: Path, rule: Rule, outcome: dict[str, object], said: str
) -> None:
    acting(tmp_path).ended(Outcome(Order(rule, "/", "because"), **outcome))  # type: ignore[arg-type]
    found = entries(tmp_path)
    if not said:
        assert found == []
        return
    (entry,) = found
    words = [entry.action, entry.cgroup, entry.freed_bytes, entry.failed, "dry" if entry.dry_run else ""]
    assert all(word in " ".join(map(str, words)) for word in said.split())


def test_what_fails_again_and_again_does_not_push_out_what_happened(tmp_path: Path) -> None:
    keeper = acting(tmp_path)
    failed = Outcome(Order(LOW, "/", "because"), failed="nobody can be killed")
    killed = Outcome(Order(LOW, "/", "because"), killed=1, victims=(Victim(7, "a"),))
    for outcome in (failed, failed, killed, killed, failed, failed):
        keeper.ended(outcome)
    assert [entry.failed is None for entry in entries(tmp_path)] == [False, True, True, False]


class Telling:
    """A backend whose kernel has killed somebody five seconds ago."""

    name = "telling"
    bell = None

    def start(self, snapshot: Snapshot) -> tuple[str, ...]:
        return ()

    def take_kills(self, snapshot: Snapshot) -> tuple[PastKill, ...]:
        now_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        return (PastKill(now_ms - 5000, 9, "hog", "/job/team", "kernel", "/job", "OOM in /job: chose hog (9)"),)

    def look(self, snapshot: Snapshot, policy: Policy, limit: CallLimit) -> Looked:
        os.kill(os.getpid(), signal.SIGTERM)
        return Looked((STANDING,), 1)

    def enforce(self) -> Enforced:
        return Enforced((STANDING,), 0)

    def put_back(self, take_snapshot: TakeSnapshot) -> tuple[str, ...]:
        return ()

    def close(self) -> None:
        pass


def test_a_kill_of_the_kernel_that_the_backend_tells_of_is_written_down_at_its_own_time(tmp_path: Path) -> None:
    daemon = Daemon(Telling(), world, ORDERS, lambda: ORDERS)
    daemon.write_down(kept(tmp_path).seen)
    daemon.run()
    (entry,) = entries(tmp_path)
    assert entry.time_ms is not None
    assert 5000 <= time.time_ns() // 1_000_000 - entry.time_ms < 15_000
    assert (entry.by, entry.rule, entry.scope, entry.cgroup) == ("kernel", None, "/job", "/job/team")
    assert (entry.victims, entry.why) == ((Victim(9, "hog"),), "OOM in /job: chose hog (9)")
