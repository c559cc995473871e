"""@rule: a function instead of a condition."""

from __future__ import annotations

from pathlib import Path

import pytest

from oompolicy import Now, PythonRule, rule
from oompolicy.errors import PolicyError
from oompolicy.policy.decision import PolicyTimeoutError
from oompolicy.policy_limit import call_limit
from oompolicy.rule_file import armed_rules, load_rule
from oompolicy.rules.condition import Answer, Memory
from oompolicy.rules.fields import FIELDS
from oompolicy.rules.judge import Armed, State, looked
from oompolicy.rules.look import Look
from oompolicy.rules.rule import Kill, Rule
from oompolicy.rules.watch import WaitWatch
from rules.readings_made_up import cgroup, machine, readings

LOOK = Look(readings(1000, machine(100), cgroup("/a", 30)), "/a", readings(0, machine(900)))


def answer(function: PythonRule) -> Answer:
    return function.judge(LOOK, Memory())[0]


def test_what_a_function_sees() -> None:
    seen: list[object] = []

    @rule
    def looks(now: Now) -> bool:
        assert now.cgroup is not None
        assert now.before is not None
        seen.extend((now["mem_available_percent"], now["cgroup.current_mib"], now["oom_kills"], now.scope, now.at_ms))
        seen.extend((now.machine.mem_total_bytes, now.cgroup.path, now.before["mem_available_percent"]))
        return now.before.before is None

    assert answer(looks) == Answer(True, "looks says so")
    assert seen == [1.0, 30.0, None, "/a", 1000, 10_000 << 20, "/a", 9.0]


def test_a_text_is_the_reason_and_none_is_no() -> None:
    assert answer(rule(lambda now: "too big")) == Answer(True, "too big")
    assert answer(rule(lambda now: "")) == answer(rule(lambda now: None)) == Answer(False)


def test_what_it_raises_is_told_and_counts_as_false() -> None:
    @rule
    def wrong(now: Now) -> bool:
        return now["mem_avail_percent"] == 3

    (fault,) = answer(wrong).faults
    assert fault.startswith("KeyError: there is no field mem_avail_percent: did you mean mem_available_percent? (line ")
    assert answer(rule(lambda now: 3)).faults == (  # type: ignore[arg-type, return-value]
        "it returned 3, not True, False or a text",
    )


def test_a_fault_is_told_once_and_the_other_rules_go_on() -> None:
    def fails(now: Now) -> bool:
        raise OSError("no")

    rules = (Armed(Rule("bad", ""), rule(fails)), Armed(Rule("good", ""), rule(lambda now: True)))
    scopes = {"bad": ["/"], "good": ["/"]}
    first = looked(State(), rules, readings(0), 0, scopes)
    assert [order.rule.name for order in first.orders] == ["good"]
    assert len(first.notes) == 1
    assert looked(first.state, rules, readings(1), 1, scopes).notes == ()


def test_of_endless_faults_some_are_told() -> None:
    def fails(now: Now) -> bool:
        raise OSError(now.at_ms)

    state, told = State(), 0
    for at_ms in range(50):
        judgement = looked(state, [Armed(Rule("bad", ""), rule(fails))], readings(at_ms), at_ms, {"bad": ["/"]})
        state, told = judgement.state, told + len(judgement.notes)
    assert told == 10


def test_one_that_takes_too_long_is_not_asked_again() -> None:
    calls = []

    @rule(every_ms=250)
    def slow(now: Now) -> bool:
        calls.append(now)
        raise PolicyTimeoutError("it took too long.")

    assert slow.watches(LOOK, Memory()) == (WaitWatch(250),)
    assert answer(slow).faults == ("it took too long. It is not asked again.",)
    assert answer(slow) == Answer(False)
    assert slow.watches(LOOK, Memory()) == ()
    assert len(calls) == 1


SOURCE = """
from oompolicy import Now, rule

@rule
def low(now: Now) -> bool:
    return True
"""


def test_a_rule_is_loaded_from_its_file(trusted_folder: Path) -> None:
    path = trusted_folder / "mine.py"
    path.write_text(SOURCE)
    assert load_rule(str(path)).name == load_rule(f"{path}:low").name == "low"
    first, second = armed_rules([Rule("a", "mem_free_mib > 1"), Rule("b", "", python=str(path))])
    assert (first.test.text, second.test.text) == ("mem_free_mib > 1", f"{path}:low")
    assert [field.name for field in first.test.fields] == ["mem_free_mib"]
    assert second.test.fields == FIELDS
    assert second.test.judge(LOOK, Memory())[0].why == "low says so"


def test_cgroups_are_compared_for_it_too(trusted_folder: Path) -> None:
    path = trusted_folder / "mine.py"
    path.write_text(SOURCE)
    by = ("cgroup.swap_mib",)
    (found,) = armed_rules([Rule("b", "", python=str(path), action=Kill.CGROUP, among=("/a/*",), by=by)])
    assert found.ranking is not None
    assert found.ranking.texts == by


def test_an_endless_one_is_stopped(trusted_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oompolicy.rule_file.call_limit", lambda: call_limit(0.05))
    path = trusted_folder / "mine.py"
    path.write_text(SOURCE.replace("return True", "\n    while True: pass"))
    assert "does it loop?" in answer(load_rule(str(path))).faults[0]


@pytest.mark.parametrize(
    ("source", "name", "why"),
    [
        ("", "", "has no rules: mark a function .now. with @rule"),
        (SOURCE, ":high", "has no rule named high: its rules: low"),
        (SOURCE + SOURCE.replace("low", "high"), "", "has 2 rules: choose one"),
        ("1 / 0", "", "does not load: ZeroDivisionError"),
    ],
)
def test_a_file_without_it(trusted_folder: Path, source: str, name: str, why: str) -> None:
    path = trusted_folder / "mine.py"
    path.write_text(source)
    with pytest.raises(PolicyError, match=why):
        load_rule(f"{path}{name}")
