"""Which rule fires where, over made-up time series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from oompolicy.rules.cases import BUSY, ORDER_LIMIT_MS, RECOVERY_LIMIT_MS, TRANSITIONS, Phase, Signal
from oompolicy.rules.judge import Armed, Judgement, State, armed, ended, looked, sensors
from oompolicy.rules.readings import CgroupReading, MachineReading
from oompolicy.rules.rule import Budget, Kill, Order, Other, Outcome, Rule
from oompolicy.rules.scopes import in_scope, overlap
from oompolicy.rules.watch import PsiWatch, Sensors
from rules.readings_made_up import cgroup, machine, readings

LOW, FINE = machine(100), machine(9000)
SHORT = "mem_available_percent < 5"
BIG = "cgroup.current_mib > 50"


@dataclass
class Bench:
    """Rules, and a state that goes along; everybody who is told to die does, unless a test says otherwise."""

    rules: Sequence[Rule]
    overall: Budget | None = None
    state: State = field(default_factory=State)
    notes: list[str] = field(default_factory=list)

    def look(self, at_ms: int, of_machine: MachineReading = LOW, *cgroups: CgroupReading) -> Judgement:
        now = readings(at_ms, of_machine, *cgroups)
        scopes = {rule.name: in_scope(rule, now.cgroups) for rule in self.rules}
        judgement = looked(self.state, self.armed, now, at_ms, scopes, self.overall)
        self.state = judgement.state
        self.notes += judgement.notes
        return judgement

    @property
    def armed(self) -> list[Armed]:
        return [armed(rule) for rule in self.rules]

    def fired(self, at_ms: int, of_machine: MachineReading = LOW, *cgroups: CgroupReading) -> list[str]:
        return [f"{order.rule.name} {order.scope}" for order in self.look(at_ms, of_machine, *cgroups).orders]

    def end(self, order: Order, at_ms: int, killed: int = 1, freed: int = 1, failed: str | None = None) -> Judgement:
        judgement = ended(self.state, Outcome(order, killed, freed, at_ms, failed), at_ms)
        self.state = judgement.state
        return judgement


def test_a_rule_fires_with_its_reason() -> None:
    bench = Bench([Rule("low", SHORT)])
    assert bench.look(0, FINE).orders == ()
    assert bench.look(1000).orders == (Order(Rule("low", SHORT), "/", "mem_available_percent 1 < 5"),)


def test_nothing_is_ordered_while_an_order_is_carried_out() -> None:
    bench = Bench([Rule("low", SHORT, cooldown_ms=0), Rule("other", SHORT)])
    (order,) = bench.look(0).orders
    assert bench.fired(100) == []
    assert bench.end(order, 200).look_at_ms == 200
    assert bench.fired(200) == ["low /"]


def test_the_memory_of_the_dead_is_waited_for() -> None:
    bench = Bench([Rule("low", SHORT, cooldown_ms=0)])
    (order,) = bench.look(0).orders
    assert bench.end(order, 100, freed=0).look_at_ms == 100 + RECOVERY_LIMIT_MS
    assert bench.fired(1000) == []
    bench.end(order, 1500, freed=4096)
    assert bench.fired(1600) == ["low /"]


def test_but_not_for_ever() -> None:
    bench = Bench([Rule("low", SHORT, cooldown_ms=0)])
    (order,) = bench.look(0).orders
    bench.end(order, 100, freed=0)
    assert bench.fired(99 + RECOVERY_LIMIT_MS) == []
    assert bench.fired(100 + RECOVERY_LIMIT_MS) == ["low /"]
    assert bench.notes == ["rule low, the machine: no memory has come back yet: judged again"]


def test_an_executor_that_never_answers_does_not_hold_up_the_rules() -> None:
    bench = Bench([Rule("low", SHORT, grace_ms=7000, pre_kill=("dump",), pre_kill_limit_ms=2000, cooldown_ms=0)])
    limit = 9000 + ORDER_LIMIT_MS
    assert bench.look(0).look_at_ms == limit
    assert bench.fired(limit - 1) == []
    assert bench.fired(limit) == ["low /"]


def test_the_cooldown_is_kept_after_the_order_and_told_to_the_loop() -> None:
    bench = Bench([Rule("low", SHORT, cooldown_ms=5000)])
    (order,) = bench.look(0).orders
    bench.end(order, 300)
    assert bench.look(1000).look_at_ms == 5300
    assert bench.fired(5299) == []
    assert bench.fired(5300) == ["low /"]


def test_the_next_rule_has_its_turn_while_the_first_rests() -> None:
    bench = Bench([Rule("reclaim", SHORT, action=Other.RECLAIM), Rule("kill", SHORT)])
    (order,) = bench.look(0).orders
    assert order.rule.name == "reclaim"
    bench.end(order, 10, killed=0, freed=0)
    assert bench.fired(20) == ["kill /"]


def test_the_first_in_the_file_wins_and_the_child_before_its_parent() -> None:
    bench = Bench([Rule("first", BIG, ("/x",)), Rule("any", BIG, ("**",)), Rule("low", SHORT)])
    tree = (cgroup("/a"), cgroup("/a/b"), cgroup("/a/c", 10), cgroup("/x"))
    assert bench.fired(0, LOW, *tree) == ["first /x", "any /a/b"]


def test_scopes_that_are_apart_do_not_wait_for_each_other() -> None:
    bench = Bench([Rule("any", BIG, ("/*",))])
    assert bench.fired(0, FINE, cgroup("/a"), cgroup("/b")) == ["any /a", "any /b"]
    assert bench.fired(1, FINE, cgroup("/a"), cgroup("/b"), cgroup("/ab")) == ["any /ab"]


def test_of_many_scopes_short_of_the_same_memory_the_largest_is_first_and_alone() -> None:
    """Else each would lose somebody for one shortage of the machine."""
    rule = Rule("big", f"{SHORT} and {BIG}", ("/*",), cooldown_ms=0)
    bench = Bench([rule, Rule("own", BIG, ("/d",))])
    tree = (cgroup("/a", 60), cgroup("/b", 90), cgroup("/c", 70), cgroup("/d", 1))
    (order,) = bench.look(0, LOW, *tree).orders
    assert order.scope == "/b"
    assert bench.fired(1, LOW, *tree) == []
    bench.end(order, 2)
    assert bench.fired(3, FINE, *tree[:3], cgroup("/d", 99)) == ["own /d"]
    # What /d is busy with is the machine's memory too.
    assert bench.fired(4, LOW, *tree) == []


def test_what_has_gone_on_lasts_on_where_that_is_asked_for() -> None:
    bench = Bench([Rule("low", f"lasts({SHORT}, 20)", cooldown_ms=15_000, must_last_anew=False)])
    fired = []
    for at_s in range(90):
        judgement = bench.look(at_s * 1000, FINE if at_s == 40 else LOW)
        for order in judgement.orders:
            fired.append(at_s)
            bench.end(order, at_s * 1000)
    assert fired == [20, 35, 61, 76]  # at 40 all was well: from 41 on it lasts anew


def test_what_had_lasted_must_last_anew_after_the_kill() -> None:
    bench = Bench([Rule("low", f"lasts({SHORT}, 2)", cooldown_ms=0)])
    assert bench.look(0).look_at_ms == 2000
    (order,) = bench.look(2000).orders
    bench.look(2100)
    bench.end(order, 4500)
    assert [bench.fired(at) for at in (4600, 6500, 6600)] == [[], [], ["low /"]]


def test_a_rule_that_does_not_win_still_counts_how_long_its_condition_lasts() -> None:
    bench = Bench([Rule("low", SHORT, cooldown_ms=20_000), Rule("long", f"lasts({SHORT}, 10)")])
    (order,) = bench.look(0).orders
    bench.end(order, 100)
    assert bench.fired(10_000) == ["long /"]


def test_a_budget_is_of_each_scope_and_is_told_once() -> None:
    rule = Rule("any", BIG, ("/*",), cooldown_ms=0, budget=Budget(1, 60_000))
    bench = Bench([rule])
    tree = (cgroup("/a"), cgroup("/b"))
    for order in bench.look(0, FINE, *tree).orders:
        bench.end(order, 1)
    assert bench.fired(100, FINE, *tree) == bench.fired(200, FINE, *tree) == []
    assert bench.look(300, FINE, *tree).look_at_ms == 60_000
    said = "would kill, but its budget of 1 kills in 60 s is spent"
    assert bench.notes == [f"rule any, /a: {said}", f"rule any, /b: {said}"]
    assert bench.fired(60_000, FINE, *tree) == ["any /a", "any /b"]


def test_a_budget_of_nothing_never_kills() -> None:
    assert Bench([Rule("low", SHORT, budget=Budget(0, 1000))]).look(0).orders == ()


def test_the_overall_budget_is_of_all_rules() -> None:
    bench = Bench([Rule("any", BIG, ("/*",))], Budget(2, 60_000))
    tree = (cgroup("/a"), cgroup("/b"), cgroup("/c"))
    assert bench.fired(0, FINE, *tree) == ["any /a", "any /b"]
    assert bench.notes == ["rule any, /c: would kill, but the overall budget of 2 kills in 60 s is spent"]


def test_who_killed_nobody_has_spent_nothing() -> None:
    bench = Bench([Rule("low", SHORT, cooldown_ms=0, budget=Budget(1, 60_000))], Budget(1, 60_000))
    (order,) = bench.look(0).orders
    bench.end(order, 1, killed=0, freed=0, failed="nobody there")
    assert bench.fired(2) == ["low /"]


def test_a_budget_outlives_its_scope() -> None:
    bench = Bench([Rule("any", BIG, ("/a",), action=Kill.CGROUP, cooldown_ms=0, budget=Budget(1, 60_000))])
    (order,) = bench.look(0, FINE, cgroup("/a")).orders
    bench.end(order, 1)
    assert bench.fired(2, FINE) == []
    assert bench.fired(3, FINE, cgroup("/a")) == []
    assert bench.fired(60_000, FINE, cgroup("/a")) == ["any /a"]


def test_a_scope_that_vanishes_is_forgotten() -> None:
    bench = Bench([Rule("any", f"lasts({BIG}, 2)", ("/a",))])
    bench.look(0, FINE, cgroup("/a"))
    assert bench.look(1000, FINE).state.cases == {}
    assert bench.fired(2000, FINE, cgroup("/a")) == []


def test_a_dry_run_is_told_and_stands_in_nobody_s_way() -> None:
    dry = Rule("dry", SHORT, budget=Budget(1, 60_000), is_dry_run=True)
    bench = Bench([dry, Rule("real", SHORT, cooldown_ms=0)], Budget(1, 60_000))
    assert bench.fired(0) == ["dry /", "real /"]
    assert bench.state.spent_ms == (0,)
    assert bench.state.cases["dry", "/"].spent_ms == ()


def test_a_dry_run_waits_as_the_real_one_would() -> None:
    bench = Bench([Rule("real", SHORT), Rule("dry", SHORT, is_dry_run=True), Rule("say", SHORT, action=Other.NOTIFY)])
    assert bench.fired(0) == ["real /", "say /"]


def test_a_dry_run_has_its_cooldown() -> None:
    bench = Bench([Rule("dry", SHORT, is_dry_run=True, cooldown_ms=5000)])
    assert [bench.fired(at) for at in (0, 4999, 5000)] == [["dry /"], [], ["dry /"]]


def test_what_is_not_known_is_told_once_for_all_scopes() -> None:
    bench = Bench([Rule("any", "cgroup.psi.io.full.avg10 > 3", ("/*",))])
    for at in (0, 1):
        bench.look(at, FINE, cgroup("/a"), cgroup("/b"))
    assert bench.notes == ["rule any: cgroup.psi.io.full.avg10 is not known of /a (and maybe others): not true"]


def test_what_was_told_of_a_scope_that_is_gone_is_forgotten() -> None:
    bench = Bench([Rule("any", BIG, ("/*",), budget=Budget(0, 1000))])
    for number in range(5):
        bench.look(number, FINE, cgroup(f"/{number}"))
    assert len(bench.notes) == 5
    assert bench.state.told == {("budget", "any", "/4")}


def test_a_rule_changed_by_a_reload_starts_anew_but_keeps_what_it_has_spent() -> None:
    rule = Rule("low", f"lasts({SHORT}, 2)", budget=Budget(1, 60_000), cooldown_ms=0)
    bench = Bench([rule])
    bench.look(0)
    (order,) = bench.look(2000).orders
    bench.end(order, 2001)
    bench.rules = [replace(rule, when=f"lasts(mem_free_mib > 3, 1) and lasts({SHORT}, 2)")]
    assert [bench.fired(at) for at in (3000, 5000, 61_999, 62_000, 64_000)] == [[]] * 4 + [["low /"]]


def test_a_rule_taken_away_by_a_reload_is_forgotten_when_its_order_is_done() -> None:
    bench = Bench([Rule("low", SHORT)])
    (order,) = bench.look(0).orders
    bench.rules = [Rule("other", SHORT)]
    assert bench.fired(1) == []
    bench.end(order, 2)
    assert bench.fired(order.rule.cooldown_ms + 2) == ["other /"]
    bench.look(10_000)
    assert set(bench.state.cases) == {("other", "/")}


def test_a_clock_that_goes_back_is_no_time() -> None:
    bench = Bench([Rule("low", SHORT, cooldown_ms=5000)])
    (order,) = bench.look(10_000).orders
    bench.end(order, 10_000)
    assert bench.fired(0) == bench.fired(14_999) == []
    assert bench.fired(15_000) == ["low /"]


def test_an_outcome_of_what_nobody_ordered_changes_nothing() -> None:
    bench = Bench([Rule("low", SHORT)])
    bench.end(Order(Rule("low", SHORT), "/", ""), 5)
    assert bench.state == State(now_ms=5)


def test_what_to_watch_comes_of_the_last_look() -> None:
    bench = Bench([Rule("any", "cgroup.psi.memory.full.avg10 > 20", ("/*",)), Rule("low", SHORT)])
    assert sensors(bench.state, bench.armed, {}) == Sensors(wait_ms=0)
    bench.look(0, FINE, cgroup("/a"))
    found = sensors(bench.state, bench.armed, {"any": ["/a"], "low": ["/"]})
    assert found == Sensors((PsiWatch("/a", "memory", "full", 100_000),), (), 1416)


def test_every_phase_is_left() -> None:
    assert {phase for phase, _ in TRANSITIONS} == set(Phase)
    assert {signal for _, signal in TRANSITIONS} == set(Signal)


PATHS = ("/a", "/a/b", "/a/c", "/d")
STEPS = st.lists(
    st.tuples(
        st.integers(0, 4000),  # ms on
        st.sets(st.sampled_from(PATHS)),  # that are there and big
        st.booleans(),  # is the machine short?
        st.integers(0, 3),  # what becomes of the orders: nothing yet, freed, dead, failed
    ),
    max_size=40,
)
RULES = (
    Rule("child", BIG, ("/a/*",), cooldown_ms=1500, budget=Budget(2, 9000)),
    Rule("dry", BIG, ("**",), is_dry_run=True, budget=Budget(1, 3000)),
    Rule("last", f"lasts({BIG}, 2)", ("/*",), cooldown_ms=500, budget=Budget(3, 6000)),
    Rule("low", SHORT, cooldown_ms=0),
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_budgets_and_cooldowns_are_kept_and_nobody_is_killed_twice_for_the_same_memory(
    steps: list[tuple[int, set[str], bool, int]],
) -> None:
    overall = Budget(4, 8000)
    bench, now = Bench(RULES, overall), 0
    orders: list[tuple[int, Order]] = []
    killed: list[tuple[int, Order]] = []
    pending: list[tuple[int, Order]] = []
    for step_ms, there, is_short, what in steps:
        now += step_ms
        judgement = bench.look(now, LOW if is_short else FINE, *(cgroup(path) for path in sorted(there)))
        assert judgement.look_at_ms is None or judgement.look_at_ms > now
        new = [(now, order) for order in judgement.orders]
        orders += new
        killed += [each for each in new if not each[1].rule.is_dry_run]
        pending += [each for each in new if not each[1].rule.is_dry_run]
        busy = [key[1] for key, case in bench.state.cases.items() if case.phase in BUSY]
        assert not any(overlap(one, other) for place, one in enumerate(busy) for other in busy[:place])
        if what:
            for each in pending:
                bench.end(each[1], now, killed=what != 3, freed=what == 1, failed="no" if what == 3 else None)
                if what == 3 and each in killed:
                    killed.remove(each)
            pending = []
    for rule in RULES:
        for scope in ("/", *PATHS):
            times = [at for at, order in orders if (order.rule.name, order.scope) == (rule.name, scope)]
            assert all(b - a >= rule.cooldown_ms for a, b in pairwise(times))
            if rule.budget is not None and not rule.is_dry_run:
                spent = [at for at, order in killed if (order.rule.name, order.scope) == (rule.name, scope)]
                assert_within(rule.budget, spent)
    assert_within(overall, [at for at, _ in killed])


def assert_within(budget: Budget, times: list[int]) -> None:
    for start in times:
        assert sum(start <= at < start + budget.per_ms for at in times) <= budget.kills
