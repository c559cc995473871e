"""of() and exists(): a condition about other cgroups than the rule's scope."""

from __future__ import annotations

import pytest

from oompolicy.rules.condition import Memory
from oompolicy.rules.judge import State, armed, looked
from oompolicy.rules.look import Look
from oompolicy.rules.readings import CgroupReading, Readings
from oompolicy.rules.rule import Outcome, Rule
from oompolicy.rules.syntax import parse_condition
from oompolicy.rules.watch import PsiWatch, WaitWatch, watches
from rules.readings_made_up import answers, cgroup, machine, readings

PRESSED = 'of("/system.slice", cgroup.psi.memory.full.avg10 > 40)'


def holds(text: str, *cgroups: CgroupReading, scope: str = "/") -> bool:
    (answer,) = answers(text, [readings(0, None, *cgroups)], scope)
    return answer.holds


def test_another_cgroup_is_read_and_not_the_scope() -> None:
    mine, pressed = cgroup("/batch.slice", full10=0), cgroup("/system.slice", full10=50)
    assert holds(PRESSED, mine, pressed, scope="/batch.slice")
    assert not holds(PRESSED, cgroup("/batch.slice", full10=50), cgroup("/system.slice"), scope="/batch.slice")
    assert holds(f"{PRESSED} and cgroup.current_mib > 50", mine, pressed, scope="/batch.slice")
    assert holds(f"{PRESSED} and mem_available_percent > 50", pressed)


def test_any_of_a_pattern_is_enough() -> None:
    text = 'of("/a/*", "/b", cgroup.current_mib > 50 and cgroup.psi.memory.full.avg10 > 10)'
    assert not holds(text, cgroup("/a/x", 100), cgroup("/a/y", 10, full10=20))  # of one and the same cgroup
    assert holds(text, cgroup("/a/x"), cgroup("/b", 100, full10=20))
    assert not holds(text, cgroup("/a/x/deeper", 100, full10=20))


@pytest.mark.parametrize("text", ['of("/a", cgroup.current_mib > 0)', 'exists("/a")'])
def test_where_there_is_none_it_is_false_and_its_opposite_true(text: str) -> None:
    assert not holds(text, cgroup("/b"))
    assert holds(f"not {text}", cgroup("/b"))
    assert holds(text, cgroup("/b"), cgroup("/a"))
    assert not holds(f"not {text}", cgroup("/a"))


def test_what_is_not_known_is_neither() -> None:
    unknown = 'of("/a", cgroup.swap_mib > 0)'
    assert not holds(unknown, cgroup("/a"))
    assert not holds(f"not {unknown}", cgroup("/a"))
    (answer,) = answers(unknown, [readings(0, None, cgroup("/a"))])
    assert answer.unknown == ("cgroup.swap_mib of /a",)


def turns() -> list[Readings]:
    """a is pressed, then b is, a second each."""
    return [
        readings(at_s * 1000, None, cgroup("/s/a", full10=50 * (at_s % 2)), cgroup("/s/b", full10=50 * (1 - at_s % 2)))
        for at_s in range(6)
    ]


def test_lasts_outside_is_of_any_and_inside_of_one() -> None:
    outside = 'lasts(of("/s/*", cgroup.psi.memory.full.avg10 > 40), 3)'
    inside = 'of("/s/*", lasts(cgroup.psi.memory.full.avg10 > 40, 3))'
    assert [answer.holds for answer in answers(outside, turns())] == [False] * 3 + [True] * 3
    assert not any(answer.holds for answer in answers(inside, turns()))
    steady = [readings(at_s * 1000, None, cgroup("/s/a", full10=50)) for at_s in range(5)]
    found = list(answers(inside, steady))
    assert [answer.holds for answer in found] == [False] * 3 + [True] * 2
    assert found[0].due_ms == 3000


def test_each_remembers_for_itself() -> None:
    """A cgroup that has come later has not lasted, and one that has gone begins anew."""
    text = 'of("/s/*", lasts(cgroup.current_mib > 50, 2))'
    series = [["/s/a"], ["/s/b"], ["/s/b", "/s/a"], ["/s/a"], ["/s/a"]]
    looks = [readings(at_s * 1000, None, *map(cgroup, paths)) for at_s, paths in enumerate(series)]
    assert [answer.holds for answer in answers(text, looks)] == [False, False, False, False, True]


def test_the_reason_names_the_cgroup() -> None:
    now = readings(0, None, cgroup("/s/a"), cgroup("/s/b", full10=50, swap_current_bytes=0))
    for text, why in [
        ('of("/s/*", cgroup.psi.memory.full.avg10 > 40)', "cgroup.psi.memory.full.avg10 50 > 40 in /s/b"),
        ('of("/s/*", cgroup.psi.memory.full.avg10 > 40 and cgroup.swap_mib < 1)',
         "(cgroup.psi.memory.full.avg10 50 > 40 and cgroup.swap_mib 0 < 1) in /s/b"),
        ('exists("/s/*")', "there is /s/a"),
        ('not exists("/x")', "no /x"),
        ('not of("/s/*", cgroup.current_mib > 500)', "in none of /s/*: cgroup.current_mib > 500"),
    ]:  # fmt: skip
        (answer,) = answers(text, [now])
        assert answer.why == why


def watched(text: str, *cgroups: CgroupReading) -> tuple[object, ...]:
    condition, look = parse_condition(text), Look(readings(0, machine(), *cgroups), "/")
    _, memory = condition.judge(look, Memory())
    return watches(condition.root, look, memory)


def test_the_kernel_wakes_for_the_other_cgroups() -> None:
    assert watched(PRESSED, cgroup("/system.slice")) == (PsiWatch("/system.slice", "memory", "full", 200_000),)
    lasting = 'of("/s/*", lasts(cgroup.psi.memory.full.avg10 > 40, 30))'
    found = watched(lasting, cgroup("/s/a"), cgroup("/s/b", full10=50))
    assert found == (PsiWatch("/s/a", "memory", "full", 200_000), WaitWatch(1000))
    assert watched('exists("/x")') == ()  # a cgroup that comes is told of anyway
    assert watched('not exists("/s/*")', cgroup("/s/a")) == (WaitWatch(1000),)


def test_who_asks_about_another_cgroup_is_about_the_machines_memory() -> None:
    """Of fifty users' slices one loses somebody for it, and not each."""
    rules = [armed(Rule("r", PRESSED, scope=("/user.slice/*",), cooldown_ms=0))]
    now = readings(0, None, cgroup("/system.slice", full10=50), cgroup("/user.slice/a"), cgroup("/user.slice/b"))
    scopes = {"r": ["/user.slice/a", "/user.slice/b"]}
    judgement = looked(State(), rules, now, 0, scopes)
    assert len(judgement.orders) == 1
    assert Outcome(judgement.orders[0]).order.scope == "/user.slice/a"
