"""Verdicts: what is as expected, what is not and why, in words."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from seen_rounds import FIXTURES, fixture, played

from lab.guest import Ended
from lab.log_problems import log_problems
from lab.result import RoundVerdict
from lab.seen import KILLED, Death, Marked, Process, RoundSeen, Said, line, read_lines
from lab.verdict import judge, judge_round, nothing_played, victims_of, why_not_these
from lab.world import Play, Round, World


def died(*names: str, marked: tuple[str, ...] = (), signal: int = KILLED, born: tuple[str, ...] = ()) -> RoundSeen:
    """A round in which these died, in this order; born lived."""
    pids = {name: pid for pid, name in enumerate(dict.fromkeys((*names, *born)), start=100)}
    processes = [Process(pid, name, "/job", name) for name, pid in pids.items()]
    deaths = [Death(process, signal, 0, 0.1) for process in processes if process.comm in names]
    return RoundSeen(1, processes, deaths, [Marked(pids[name], 0.05) for name in marked], "")


def expecting(**said: object) -> Play:
    return Play(World(), Round(runs_out="/job", within_s=5, backend="none", **said))  # type: ignore[arg-type]


EXPECTED: dict[str, tuple[dict[str, object], RoundSeen, list[str]]] = {
    "as expected": ({"victims": ["a"]}, died("a", born=("b",)), []),
    "another": ({"victims": ["a"]}, died("b", born=("a",)), ["a was to die, and b died"]),
    "nobody": ({"victims": ["a"]}, died(born=("a",)), ["a was to die, and nobody died"]),
    "one more": ({"victims": ["a"]}, died("a", "b"), ["b died, too"]),
    "one more, and it does not matter": ({"victims": ["a", "..."]}, died("a", "b"), []),
    "one more who was to live": (
        {"victims": ["a", "..."], "survivors": ["b"]},
        died("a", "b"),
        ["b was to live, and died"],
    ),
    "out of order": ({"victims": ["a", "b"]}, died("b", "a"), ["a was to die, and b died"]),
    "the order is the kernel's": ({"victims": ["a", "b"]}, died("b", "a", marked=("a", "b")), []),
    "in any order": ({"victims": ["c", ["a", "b"]]}, died("c", "b", "a"), []),
    "half of them": (
        {"victims": [["a", "b"]]},
        died("a", born=("b",)),
        ["a and b were to die, and a died"],
    ),
    "among": ({"victims_among": ["a", "b"]}, died("b", born=("a",)), []),
    "not among": ({"victims_among": ["a"]}, died("b"), ["b died, who is not among those expected"]),
    "nobody among": ({"victims_among": ["a"]}, died(born=("a",)), ["nobody died"]),
    "nobody, as expected": ({"victims": []}, died(born=("a",)), []),
    "crashed": (
        {"victims": []},
        died("a", signal=11),
        ["a ended by signal 11, killed by nobody"],
    ),
    "late": (
        {"victims": ["a"], "within_s": 0.05},
        died("a"),
        ["it took 0.1 s, and 0.05 s were expected"],
    ),
}


@pytest.mark.parametrize("case", EXPECTED)
def test_what_was_seen_against_what_was_expected(case: str) -> None:
    said, seen, why = EXPECTED[case]
    row = Round(**{"runs_out": "/job", "within_s": 5, "backend": "none", **said})  # type: ignore[arg-type]
    verdict = judge_round(Play(World(), row), seen)
    assert verdict.why == why
    assert verdict.ok is (not why)


def test_trouble_is_the_only_thing_said() -> None:
    seen = msgspec.structs.replace(died(born=("a",)), trouble="the policy is not in force: no such policy")
    assert judge_round(expecting(victims=["a"]), seen).why == ["the policy is not in force: no such policy"]


def test_who_is_not_marked_comes_after_who_is() -> None:
    assert [death.process.comm for death in victims_of(died("x", "y", "z", marked=("z", "y")))] == ["z", "y", "x"]


def test_a_round_that_was_not_reached_is_not_ok() -> None:
    verdict = judge_round(expecting(victims=["a"]), None)
    assert (verdict.ok, verdict.why, verdict.victims) == (False, ["it was not played"], [])


def test_a_round_that_is_skipped_is_ok_and_says_why() -> None:
    this = Play(World(), Round(runs_out="/job", backend="oom_score_adj", cannot={"oom_score_adj": "because"}))
    scenario = played(this).scenario
    result = nothing_played(scenario, "6.12")
    assert (result.ok, result.rounds[0].skipped, result.rounds[0].why) == (True, "because", [])


NO_HOOK = "oompolicy: not the hook: hook: this kernel has no bpf_oom_score()\n"


def under_auto(took: str, log: str = "", trouble: str | None = None) -> RoundVerdict:
    """A round in which `a` is to die, which oom_score_adj cannot do; `b` died, and auto took this."""
    this = expecting(victims=["a"], policy="p", cannot={"oom_score_adj": "because"})
    this = msgspec.structs.replace(this, round=msgspec.structs.replace(this.round, backend="auto"))
    seen = msgspec.structs.replace(died("b", born=("a",)), trouble=trouble)
    said = f"{log}oompolicy: policy p, backend {took}, pid 7\noompolicy: more\n"
    return judge_round(this, msgspec.structs.replace(seen, policy_log=said if took else log))


def test_what_auto_took_is_said_and_what_it_cannot_is_not_expected() -> None:
    verdict = under_auto("oom_score_adj", NO_HOOK)
    assert (verdict.ok, verdict.why, verdict.skipped) == (True, [], "auto took oom_score_adj: because")
    assert (verdict.backend, verdict.took) == ("auto", "oom_score_adj")
    assert verdict.took_why == "not the hook: hook: this kernel has no bpf_oom_score()"


def test_what_auto_took_and_can_do_it_is_judged() -> None:
    verdict = under_auto("hook")
    assert (verdict.ok, verdict.why, verdict.skipped) == (False, ["a was to die, and b died"], None)
    assert (verdict.took, verdict.took_why) == ("hook", None)


def test_under_auto_trouble_is_no_excuse() -> None:
    assert under_auto("oom_score_adj", trouble="the daemon ended with status 1").why == [
        "the daemon ended with status 1"
    ]
    assert under_auto("", trouble="not in force").why == ["not in force"]
    assert not under_auto("").ok


@pytest.mark.parametrize(
    ("name", "victims", "runs_out"),
    [
        ("6.12-memcg", ["large"], "/job"),
        ("6.1-nested", ["large"], "/job"),
        ("6.12-global", ["preferred"], "machine"),
        ("6.12-sysrq", ["large"], "sysrq"),
        ("6.12-group", [["captain", "member", "member"]], "/job"),
        ("6.12-repeated", ["largest", "middle", "smallest"], "/job"),
    ],
)
def test_reports_of_real_kernels_agree_with_the_model(name: str, victims: list[object], runs_out: str) -> None:
    this, seen = fixture(name, victims=victims, runs_out=runs_out)
    verdict = judge_round(this, seen)
    assert verdict.why == []
    assert [report.agrees for report in verdict.reports] == [True] * len(verdict.reports)
    first = verdict.reports[0]
    assert first.killed is not None
    assert first.model is not None
    assert first.killed.pid == first.model.pid
    assert first.model.points
    assert first.policy is None


@pytest.mark.parametrize(
    ("name", "runs_out", "says"),
    [
        ("6.12-memcg", "machine", "the machine was to run out, and /job did"),
        ("6.12-memcg", "/other", "/other was to run out, and /job did"),
        ("6.12-global", "/job", "/job was to run out, and the machine did"),
    ],
)
def test_it_has_to_run_out_where_it_was_to(name: str, runs_out: str, says: str) -> None:
    this, seen = fixture(name, victims_among=["large", "preferred"], runs_out=runs_out)
    assert judge_round(this, seen).why == [says]


def test_a_built_in_policy_is_asked_and_told_to_be_disobeyed() -> None:
    """On a report where the kernel killed `large`: protect spares it, which this kernel was not told."""
    params = {"COMMS": ["large"]}
    this, seen = fixture("6.12-memcg", victims=["large"], backend="hook", policy="protect", params=params)
    (report,) = judge_round(this, seen).reports
    assert report.policy is not None
    assert (report.policy.comm, report.obeyed, report.agrees) == ("grower", False, False)
    assert report.why_not is not None
    assert report.why_not.startswith("the policy picks grower (")
    assert report.model == report.policy
    this, seen = fixture("6.12-memcg", victims=["large"], backend="hook", policy="kernel_default")
    (report,) = judge_round(this, seen).reports
    assert (report.obeyed, report.agrees, report.why_not) == (True, True, None)


def test_without_the_hook_the_model_is_the_kernels_alone() -> None:
    params = {"COMMS": ["large"]}
    this, seen = fixture("6.12-memcg", victims=["large"], backend="oom_score_adj", policy="protect", params=params)
    (report,) = judge_round(this, seen).reports
    assert (report.obeyed, report.agrees, report.why_not) == (False, True, None)


@pytest.mark.parametrize(
    "said",
    [
        {"policy": "./mine.py"},  # somebody's file is not run here
        {"policy": "over_protection"},  # reads what the lab does not know
        {"policy": "protect", "params": {"NOTHING": 1}},
    ],
)
def test_a_policy_that_cannot_be_asked_here_is_neither_obeyed_nor_not(said: Mapping[str, object]) -> None:
    this, seen = fixture("6.12-nested", victims=["large"], backend="hook", **said)
    assert [(report.policy, report.obeyed) for report in judge_round(this, seen).reports] == [(None, None)]


def test_values_of_cgroups_are_known_to_the_policy() -> None:
    """No report prints them: memcg_priority picks the smaller one, whose cgroup matters less."""
    this, seen = fixture("6.12-nested", victims=["small"], backend="hook", policy="memcg_priority")
    tree = dict(this.world.cgroup)
    tree["/job/low"] = msgspec.structs.replace(tree["/job/low"], value=900)
    tree["/job/high"] = msgspec.structs.replace(tree["/job/high"], value=10)
    this = msgspec.structs.replace(this, world=msgspec.structs.replace(this.world, cgroup=tree))
    report = judge_round(this, seen).reports[0]
    assert report.policy is not None
    assert report.policy.comm == "grower"


def test_the_whole_is_ok_only_if_the_guest_and_its_kernel_are() -> None:
    this, seen = fixture("6.12-memcg", victims=["large"])
    good = judge(played(this, seen))
    assert (good.ok, good.trouble, good.log_problems) == (True, None, [])
    assert (good.kernel, good.timings_s) == ("6.12.0-test", {"ready": 2.5, "guest": 7.25})
    sick = judge(played(this, seen, guest_log="[    1.0] BUG: scheduling while atomic: x/1/0x2\n"))
    assert (sick.ok, sick.log_problems) == (False, ["BUG: scheduling while atomic: x/1/0x2"])
    runaway = judge(played(this, seen, ended=Ended.TIME_LIMIT, status=None, doing="round 7"))
    assert (runaway.ok, runaway.trouble) == (False, "stopped by the time limit of 30 s in round 7")
    dead = judge(played(this, ended=Ended.DIED, status=None, console="[ 3.1] Kernel panic - not syncing: Oops\n\n"))
    assert dead.trouble == "the guest died in round 1: [ 3.1] Kernel panic - not syncing: Oops"
    assert dead.log_problems == ["Kernel panic - not syncing: Oops"]
    failed = judge(played(this, status=1, stderr="Traceback\nOSError: no\n", doing=None))
    assert failed.trouble == "the lab failed inside the guest in its first round: it did not begin: OSError: no"


def test_what_crosses_from_the_guest_survives_a_cut_line() -> None:
    _, seen = fixture("6.12-memcg")
    text = "\n".join([line(doing="round 1"), line(seen=seen), line(doing="round 2"), line(seen=seen)[:50]])
    assert read_lines(text) == Said(None, [seen], "round 2")


SICK = """\
WARNING: CPU: 1 PID: 97 at mm/oom_kill.c:1 oom_badness+0x1/0x2 [oom_policy]
BUG: kernel NULL pointer dereference, address: 0000000000000008
BUG: unable to handle page fault for address: ffffffffc0000000
kernel BUG at mm/memcontrol.c:42!
Oops: 0000 [#1] PREEMPT SMP NOPTI
general protection fault, probably for non-canonical address 0xdead000000000100
WARNING: possible circular locking dependency detected
WARNING: possible recursive locking detected
WARNING: possible irq lock inversion dependency detected
WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected
WARNING: inconsistent lock state
WARNING: bad unlock balance detected!
WARNING: bad contention detected!
WARNING: held lock freed!
WARNING: Nested lock was not taken
WARNING: hog/123 still has locks held!
WARNING: lock held when returning to user space!
WARNING: suspicious RCU usage
[ INFO: possible circular locking dependency detected ]
INFO: trying to register non-static key.
[ BUG: Invalid wait context ]
BUG: MAX_LOCKDEP_ENTRIES too low!
BUG: sleeping function called from invalid context at mm/memcontrol.c:42
DEBUG_LOCKS_WARN_ON(lock->magic != lock)
INFO: task hog:123 blocked for more than 120 seconds.
rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
rcu: INFO: rcu_sched self-detected stall on CPU
watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [hog:99]
BUG: KASAN: slab-use-after-free in oom_badness+0x1/0x2
UBSAN: array-index-out-of-bounds in mm/x.c:1:2
refcount_t: underflow; use-after-free.
Kernel panic - not syncing: System is deadlocked on memory
BUG: Bad page state in process hog  pfn:12345
BUG: Bad rss-counter state mm:0000 type:MM_ANONPAGES val:4
------------[ ftrace bug ]------------"""


@pytest.mark.parametrize("message", SICK.splitlines())
def test_a_kernel_in_trouble_is_noticed(message: str) -> None:
    assert log_problems([f"[   12.345678] {message}\n[   12.4] all is well"]) == [message]


def test_a_healthy_log_has_no_problems() -> None:
    """OOM reports with their call traces, and what kernels say when they boot."""
    boot = """\
[    0.0] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible
[    0.1] rcu: Hierarchical RCU implementation.
[    0.2] rcu: \tRCU event tracing is enabled.
[    0.3] ACPI: INFO: nothing of note
[    0.4] systemd[1]: WARNING: something of user space
"""
    logs = [path.read_text() for path in FIXTURES.glob("*.log")]
    assert len(logs) > 40
    assert log_problems([boot, *logs]) == []


def test_two_sentences_about_the_order() -> None:
    assert why_not_these(["a", "b"], ["a", "c"]) == ["b was to die, and c died"]
    assert why_not_these([], ["a", "b"]) == ["a and b died, too"]
