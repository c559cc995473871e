"""Orders carried out: kills with hooks and telling, what is done instead, dry runs, and undoing."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends.kill.arena import (
    Arena,
    Script,
    arena_in,
    carried_out,
    memory_hierarchy,
    now_ms,
    rule,
    v2_hierarchy,
    wait_for,
)
from oompolicy.backends.kill.actions import Actions, Terms
from oompolicy.backends.kill.changes import Changes
from oompolicy.backends.kill.ground import Ground
from oompolicy.backends.kill.helper import Helper
from oompolicy.policies.newest_first import newest_first
from oompolicy.rules.preference import Preference
from oompolicy.rules.protect import Protect
from oompolicy.rules.rule import Kill, Order, Other, Outcome, Rule, Victim
from oompolicy.snapshot import Snapshot

from worlds import machine, memcg, task

SLEEPS = "print('ready', flush=True)\ntime.sleep(60)\n"


@pytest.fixture
def helper() -> Iterator[Helper]:
    made = Helper()
    yield made
    made.close()


@pytest.fixture
def arena() -> Iterator[Arena]:
    with arena_in(memory_hierarchy()) as arena:
        yield arena


@pytest.fixture
def v2() -> Iterator[Arena]:
    with arena_in(v2_hierarchy()) as arena:
        yield arena


def actions(arena: Arena, helper: Helper | None = None, changes: Changes | None = None) -> Actions:
    ground = Ground(arena.hierarchy.directory, arena.hierarchy.version == "v1", arena.hierarchy.path_of)
    return Actions(ground, Terms(), arena.said.append, changes, helper)


def carry_out(arena: Arena, backend: Actions, one: Rule) -> Outcome:
    return carried_out(backend.begin(arena.order(one), arena.snapshot(), now_ms()))


@pytest.mark.root
def test_the_hook_runs_before_the_kill_and_knows_the_victim(arena: Arena, helper: Helper, tmp_path: Path) -> None:
    worker = arena.workers.start("big", arena.memcg, 2)
    hook = f'echo "$OOMPOLICY_RULE $OOMPOLICY_COMM $OOMPOLICY_CGROUP"; ps -o stat= -p "$OOMPOLICY_PID" >> {tmp_path}/s'
    seen = f'{{ {hook}; }} > {tmp_path}/seen; cat /proc/"$OOMPOLICY_PID"/comm >> {tmp_path}/seen'
    outcome = carry_out(arena, actions(arena, helper), rule(pre_kill=("sh", "-c", seen)))
    assert outcome.killed == 1
    assert (tmp_path / "seen").read_text() == f"test big {arena.scope}\nbig\n"
    assert arena.said[0] == "test: pre_kill done"
    wait_for(worker.was_killed)


@pytest.mark.root
def test_a_hook_that_hangs_is_ended_and_the_kill_goes_on(arena: Arena, helper: Helper) -> None:
    worker = arena.workers.start("big", arena.memcg, 2)
    started = now_ms()
    outcome = carry_out(arena, actions(arena, helper), rule(pre_kill=("sleep", "60"), pre_kill_limit_ms=300))
    assert outcome.killed == 1
    assert 300 <= now_ms() - started < 5_000
    assert arena.said[0] == "test: pre_kill ran longer than 300 ms: ended"
    wait_for(worker.was_killed)


@pytest.mark.root
@pytest.mark.parametrize("notify", [(), ("true",)])
def test_woken_for_nothing_it_says_anew_when_it_is_due(arena: Arena, helper: Helper, notify: tuple[str, ...]) -> None:
    """The helper's socket is shared: it may be readable for another order."""
    arena.workers.start("big", arena.memcg, 1)
    one = rule(pre_kill=("sleep", "60"), pre_kill_limit_ms=5_000, notify=notify)
    pending = actions(arena, helper).begin(arena.order(one), arena.snapshot(), 1_000)
    assert pending.advance(1_000) is None
    due = pending.wake_at_ms
    pending.wake_at_ms = 2_000
    assert pending.advance(2_000) is None
    assert pending.wake_at_ms == due > 5_000
    pending.close()


@pytest.mark.root
def test_a_helper_that_is_stopped_does_not_hold_up_the_kill(arena: Arena, helper: Helper) -> None:
    worker = arena.workers.start("big", arena.memcg, 2)
    os.kill(helper.pid, signal.SIGSTOP)
    outcome = carry_out(arena, actions(arena, helper), rule(pre_kill=("true",), pre_kill_limit_ms=100))
    os.kill(helper.pid, signal.SIGKILL)
    assert outcome.killed == 1
    assert arena.said[0] == "test: pre_kill has not answered in time: left behind"
    wait_for(worker.was_killed)


@pytest.mark.root
def test_without_the_helper_hook_and_telling_are_left_out_and_the_kill_goes_on(arena: Arena, helper: Helper) -> None:
    worker = arena.workers.start("big", arena.memcg, 2)
    backend = actions(arena, helper)
    os.kill(helper.pid, signal.SIGKILL)
    os.waitid(os.P_PID, helper.pid, os.WEXITED | os.WNOWAIT)
    outcome = carry_out(arena, backend, rule(pre_kill=("true",), notify=("true",)))
    assert outcome.killed == 1
    gone = "left out: the helper that runs commands has gone"
    assert [line for line in arena.said if gone in line] == [
        f"test: pre_kill is {gone}",
        f"rule test: cgroup {arena.scope}: it is a test: notify is {gone}",
    ]
    wait_for(worker.was_killed)


@pytest.mark.root
def test_a_victim_that_ends_while_its_hook_runs_is_passed_over(arena: Arena, helper: Helper) -> None:
    big = arena.workers.start("big", arena.memcg, 8)
    small = arena.workers.start("small", arena.memcg, 2)
    dead = 'until grep -q "State:.Z" "/proc/$OOMPOLICY_PID/status"; do sleep 0.01; done'
    hook = ("sh", "-c", f'test "$OOMPOLICY_COMM" = small || {{ kill -9 "$OOMPOLICY_PID"; {dead}; }}')
    outcome = carry_out(arena, actions(arena, helper), rule(pre_kill=hook))
    assert outcome.victims == (Victim(small.pid, "small"),)
    wait_for(big.was_killed)


@pytest.mark.root
def test_a_command_is_told_what_was_done(arena: Arena, helper: Helper, tmp_path: Path) -> None:
    worker = arena.workers.start("big", arena.memcg, 2)
    seen = tmp_path / "seen"
    told = f'echo "$OOMPOLICY_WHY: $OOMPOLICY_DONE ($OOMPOLICY_KILLED)" > {seen}.new; mv {seen}.new {seen}'
    carry_out(arena, actions(arena, helper), rule(notify=("sh", "-c", told)))
    wait_for(seen.exists)
    assert seen.read_text() == f"it is a test: killed big ({worker.pid}) (1)\n"


@pytest.mark.root
def test_a_dry_run_says_who_and_kills_nobody(arena: Arena) -> None:
    big = arena.workers.start("big", arena.memcg, 12)
    small = arena.workers.start("small", arena.memcg, 2)
    one = rule(Kill.TREE, is_dry_run=True, grace_ms=50, pre_kill=("dump", "-a"), notify=("false",))
    outcome = carry_out(arena, actions(arena), one)
    assert (outcome.killed, outcome.failed, outcome.victims) == (0, None, (Victim(big.pid, "big"),))
    first, second = arena.said
    assert "dry run: would run dump -a send SIGTERM, and after 50 ms kill " in first
    assert f"kill big ({big.pid}) and its descendants, " in first
    assert second.endswith(f"dry run: if no memory came back: small ({small.pid}) and its descendants")
    assert not big.was_killed()
    assert not small.was_killed()


@pytest.mark.root
def test_the_daemon_is_never_its_own_victim_nor_is_the_shell_it_came_from(arena: Arena, helper: Helper) -> None:
    """Ourselves, our helper and our parents in a snapshot: a dry run, so that nobody is at risk."""
    world = machine(
        memcg(
            "a",
            tasks=[
                task("us", rss="3G", pid=os.getpid()),
                task("shell", rss="2G", pid=os.getppid()),
                task("helper", rss="2G", pid=helper.pid),
                task("other", rss="1M", pid=4_000_001),
            ],
        )
    )
    backend = actions(arena, helper)
    order = Order(rule(is_dry_run=True), "/a", "why")
    assert carried_out(backend.begin(order, world, now_ms())).victims == (Victim(4000001, "other"),)


def world_of(*tasks: object, **fields: object) -> Snapshot:
    return machine(memcg("a", memcg("b", tasks=[task("x", rss="2M"), task("y", rss="1M")])))


def on_copy(tmp_path: Path, said: list[str], is_v1: bool = False) -> tuple[Actions, Path]:
    """The backend over a copy of a tree: nothing of this machine is written to."""
    folder = tmp_path / "cgroups/a/b"
    folder.mkdir(parents=True)
    for name, text in (("memory.high", "max"), ("cgroup.freeze", "0"), ("memory.reclaim", ""), ("memory.current", "9")):
        (folder / name).write_text(f"{text}\n")
        (folder.parent / name).write_text(f"{text}\n")
    ground = Ground(tmp_path / "cgroups", is_v1, lambda line: None)
    changes = Changes(tmp_path / "cgroups", tmp_path / "state", "boot")
    return Actions(ground, Terms(), said.append, changes), folder


def do(backend: Actions, one: Rule, scope: str = "/a/b", at_ms: int = 0) -> Outcome:
    return carried_out(backend.begin(Order(one, scope, "why"), world_of(), at_ms))


def test_memory_high_is_set_for_a_time_and_undone(tmp_path: Path) -> None:
    said: list[str] = []
    backend, folder = on_copy(tmp_path, said)
    assert do(backend, rule(Other.HIGH, amount_bytes=(5 << 20) + 1, for_ms=400), at_ms=100).failed is None
    assert (folder / "memory.high").read_text() == str(5 << 20)
    assert backend.next_due_ms() == 500
    backend.undo_due(499)
    assert (folder / "memory.high").read_text() == str(5 << 20)
    backend.undo_due(500)
    assert (folder / "memory.high").read_text() == "max"
    assert said == [
        f"rule test: cgroup /a/b: why: cgroup /a/b: memory.high set to {5 << 20}",
        "cgroup /a/b: memory.high is max again",
    ]


def test_memory_high_is_undone_at_the_end(tmp_path: Path) -> None:
    backend, folder = on_copy(tmp_path, [])
    do(backend, rule(Other.HIGH, amount_bytes=5 << 20))
    assert backend.next_due_ms() is None
    assert list(backend.put_back()) == ["cgroup /a/b: memory.high is max again"]
    assert (folder / "memory.high").read_text() == "max"


def test_memory_high_is_never_raised_and_never_nothing(tmp_path: Path) -> None:
    backend, folder = on_copy(tmp_path, [])
    (folder / "memory.high").write_text("2097152\n")
    assert "memory.high is 2097152 already" in (do(backend, rule(Other.HIGH, amount_bytes=5 << 20)).failed or "")
    assert (folder / "memory.high").read_text() == "2097152\n"
    do(backend, rule(Other.HIGH, amount_bytes=0))
    assert (folder / "memory.high").read_text() == str(1 << 20)


def test_with_a_policy_the_cgroup_is_the_chosen_one_s(tmp_path: Path) -> None:
    backend, folder = on_copy(tmp_path, [])
    backend.terms = Terms({"test": newest_first})
    do(backend, rule(Other.FREEZE, policy="newest_first"), scope="/a")
    assert (folder / "cgroup.freeze").read_text() == "1"
    assert (folder.parent / "cgroup.freeze").read_text() == "0\n"
    do(backend, rule(Other.FREEZE), scope="/a")
    assert (folder.parent / "cgroup.freeze").read_text() == "1"


def test_on_the_machine_the_cgroup_is_the_worst_one_s(tmp_path: Path) -> None:
    backend, folder = on_copy(tmp_path, [])
    do(backend, rule(Other.FREEZE), scope="/")
    assert (folder / "cgroup.freeze").read_text() == "1"


def test_where_somebody_must_go_on_nothing_is_frozen(tmp_path: Path) -> None:
    said: list[str] = []
    backend, folder = on_copy(tmp_path, said)
    backend.terms = Terms(protect=Protect(comms=("y",)))
    failed = do(backend, rule(Other.FREEZE)).failed
    assert failed is not None
    assert failed.endswith("y (101) is in it: comm y is protected")
    assert (folder / "cgroup.freeze").read_text() == "0\n"
    assert do(backend, rule(Other.HIGH, amount_bytes=5 << 20)).failed is None, "nobody is stopped by a limit"


@pytest.mark.parametrize("action", [Other.FREEZE, Other.HIGH, Other.RECLAIM, Other.RESTART])
def test_nothing_is_done_to_the_cgroup_that_the_daemon_is_in(tmp_path: Path, action: Other) -> None:
    backend, folder = on_copy(tmp_path, [])
    world = machine(memcg("a", memcg("b", tasks=[task("us", pid=os.getpid())])))
    order = Order(rule(action, amount_bytes=5 << 20), "/a", "why")
    failed = carried_out(backend.begin(order, world, 0)).failed
    assert failed is not None
    assert "oompolicy itself" in failed
    assert (folder.parent / "memory.high").read_text() == "max\n"


def test_a_cgroup_that_has_gone_is_said(tmp_path: Path) -> None:
    backend, _ = on_copy(tmp_path, [])
    assert "does not exist" in (do(backend, rule(Other.FREEZE), scope="/nope").failed or "")
    world = machine(memcg("gone", tasks=[task("x")]))
    order = Order(rule(Other.FREEZE), "/gone", "why")
    assert "has gone" in (carried_out(backend.begin(order, world, 0)).failed or "")


def test_on_v1_it_is_said_that_there_is_no_such_file(tmp_path: Path) -> None:
    backend, folder = on_copy(tmp_path, [], is_v1=True)
    for action in (Other.FREEZE, Other.HIGH, Other.RECLAIM):
        failed = do(backend, rule(action, amount_bytes=5 << 20)).failed
        assert failed is not None
        assert "cgroup v2" in failed
    assert (folder / "memory.high").read_text() == "max\n"


def test_a_dry_run_changes_nothing_and_says_what_it_would(tmp_path: Path) -> None:
    said: list[str] = []
    backend, folder = on_copy(tmp_path, said)
    do(backend, rule(Other.HIGH, amount_bytes=4096, for_ms=9, is_dry_run=True))
    assert said == ["rule test: cgroup /a/b: why: dry run: would set memory.high of cgroup /a/b to 4096 bytes for 9 ms"]
    assert (folder / "memory.high").read_text() == "max\n"


def test_reclaim_goes_in_steps_until_the_amount_or_until_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    backend, folder = on_copy(tmp_path, said)
    asked: list[int] = []

    def write(path: Path, text: str) -> None:
        assert path == folder / "memory.reclaim"
        if len(asked) == 4:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        asked.append(int(text))

    monkeypatch.setattr("oompolicy.backends.kill.other.write_small", write)
    assert do(backend, rule(Other.RECLAIM, amount_bytes=9 << 20), at_ms=now_ms()).failed is None
    assert asked == [4 << 20, 4 << 20, 1 << 20]
    assert do(backend, rule(Other.RECLAIM, amount_bytes=9 << 20), at_ms=now_ms()).failed is None
    assert asked == [4 << 20, 4 << 20, 1 << 20, 4 << 20]


def test_a_restart_is_systemctl_s_for_the_unit_of_the_cgroup(tmp_path: Path) -> None:
    calls: list[tuple[str, ...]] = []

    class Recorder:
        pid = 0

        def start(self, argv: tuple[str, ...], env: object, limit_ms: int, user: object = None) -> int | None:
            calls.append(argv)
            return 1

        def ended(self, ticket: int) -> str | None:
            return "done"

        def fds(self) -> tuple[int, ...]:
            return ()

    said: list[str] = []
    world = machine(memcg("system.slice", memcg("db.service", memcg("w", tasks=[task("x")]))), memcg("loose"))
    backend = Actions(Ground(tmp_path, False, lambda line: None), Terms(), said.append, None, Recorder())  # type: ignore[arg-type]
    order = Order(rule(Other.RESTART), "/system.slice/db.service/w", "why")
    assert carried_out(backend.begin(order, world, 0)).failed is None
    assert calls == [("systemctl", "--no-block", "--no-ask-password", "restart", "--", "db.service")]
    loose = carried_out(backend.begin(replace(order, scope="/loose"), world, 0)).failed
    assert loose == "cgroup /loose: is no systemd unit's that can be restarted"


def test_preferences_are_asked_for_the_cgroups_of_the_scope(tmp_path: Path) -> None:
    asked: list[tuple[str, list[str]]] = []

    def read(scope: str, paths: object) -> dict[str, Preference]:
        asked.append((scope, list(paths)))  # type: ignore[call-overload]
        return {"/a/b": Preference.OMIT}

    world = machine(memcg("a", memcg("b", tasks=[task("x", rss="2M")])), memcg("c", tasks=[task("z", rss="9M")]))
    backend = Actions(Ground(None, False, lambda line: None), Terms(), lambda line: None, read_preferences=read)
    order = Order(rule(is_dry_run=True), "/a", "why")
    assert carried_out(backend.begin(order, world, 0)).failed == "nobody in the scope can be killed"
    assert asked == [("/a", ["/a/b"])]


@pytest.mark.root
def test_a_cgroup_is_really_frozen_and_thawed(v2: Arena, tmp_path: Path) -> None:
    changes = Changes(v2.hierarchy.directory, tmp_path / "state", "boot")
    backend = actions(v2, changes=changes)
    events = v2.memcg.path / "cgroup.events"
    with Script(SLEEPS, v2.memcg) as script:
        assert carry_out(v2, backend, rule(Other.FREEZE)).failed is None
        wait_for(lambda: "frozen 1" in events.read_text())
        assert carry_out(v2, backend, rule(Other.THAW)).failed is None
        assert (v2.memcg.path / "cgroup.freeze").read_text() == "0\n"
        assert carry_out(v2, backend, rule(Other.FREEZE)).failed is None
        assert list(backend.put_back()) == [f"cgroup {v2.scope}: cgroup.freeze is 0 again"]
        assert script.status() is None


@pytest.fixture
def v2_memory(arena: Arena) -> Arena:
    if arena.ground.is_v1:
        pytest.skip("the memory controller is on v1 here: memory.high and memory.reclaim are v2's")
    return arena


@pytest.mark.root
def test_a_real_memory_high_is_set_and_undone(v2_memory: Arena, tmp_path: Path) -> None:
    v2_memory.workers.start("big", v2_memory.memcg, 4)
    backend = actions(v2_memory, changes=Changes(v2_memory.hierarchy.directory, tmp_path / "state", "boot"))
    high = v2_memory.memcg.path / "memory.high"
    assert carry_out(v2_memory, backend, rule(Other.HIGH, amount_bytes=(64 << 20) + 5)).failed is None
    assert high.read_text() == f"{64 << 20}\n"
    assert list(backend.put_back()) == [f"cgroup {v2_memory.scope}: memory.high is max again"]
    assert high.read_text() == "max\n"


@pytest.mark.root
def test_a_real_reclaim_ends_whether_or_not_there_is_enough(v2_memory: Arena) -> None:
    if not (v2_memory.memcg.path / "memory.reclaim").exists():
        pytest.skip("this kernel has no memory.reclaim (v5.19)")
    worker = v2_memory.workers.start("big", v2_memory.memcg, 4)
    assert carry_out(v2_memory, actions(v2_memory), rule(Other.RECLAIM, amount_bytes=64 << 20)).failed is None
    assert not worker.was_killed()
