"""The judgement: which rule fires for which scope now, pure: (state, readings, now) -> (state, orders).

Belongs here: whose turn it is (the file's order, the deepest and largest scope), that nobody is ordered to die for
memory that is just coming back, cooldowns and budgets. Must not know: what is true of a condition, who carries an
order out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from oompolicy.rules.cases import (
    BUSY,
    Case,
    Phase,
    Signal,
    is_merely_said,
    signal_of,
    spends,
    touches_memory,
)
from oompolicy.rules.condition import Answer, Condition, Memory
from oompolicy.rules.fields import Field
from oompolicy.rules.look import MACHINE, Look
from oompolicy.rules.ranking import Memories, Numbers, Ranking, ranking_of, within
from oompolicy.rules.readings import Readings
from oompolicy.rules.rule import Budget, Order, Outcome, Rule
from oompolicy.rules.scopes import depth, overlap
from oompolicy.rules.syntax import parse_condition
from oompolicy.rules.watch import Sensors, Watch, together, watches

# What is told from two looks is told from two that are at least so far apart.
APART_MS: Final = 500


# A function may have a new fault at every look: so many different ones are told.
MOST_FAULTS: Final = 10


class Test(Protocol):
    """What can be true of a look: a condition, or a function of the operator's (python_rule.py)."""

    @property
    def text(self) -> str:
        """What was written; another text is another test."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """What it reads, so that nothing else need be."""

    @property
    def others(self) -> tuple[str, ...]:
        """Patterns of the cgroups that it asks about, whatever the scope."""

    def judge(self, look: Look, memory: Memory) -> tuple[Answer, Memory]:
        """What is true now, and what to remember."""

    def watches(self, look: Look, memory: Memory) -> tuple[Watch, ...]:
        """When to look again."""


@dataclass(frozen=True, slots=True)
class Armed:
    """A rule with its condition read, and how it compares cgroups; None where it does not."""

    rule: Rule
    test: Test
    ranking: Ranking | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        """All that it reads."""
        return (*self.test.fields, *(() if self.ranking is None else self.ranking.fields))

    @property
    def besides(self) -> tuple[str, ...]:
        """Patterns of the cgroups that it reads even if they are none of its scopes."""
        return (*self.test.others, *(() if self.ranking is None else self.ranking.patterns))

    def concerns(self, scope: str) -> str:
        """Whose memory it is about when it fires for a scope.

        Who reads anything of the machine's, or of another cgroup's, is about the machine's.
        """
        is_of_scope = not self.test.others and all(field.is_of_cgroup for field in self.test.fields)
        return scope if is_of_scope else MACHINE


@dataclass(frozen=True, slots=True)
class _Written:
    """A condition as a test."""

    condition: Condition

    @property
    def text(self) -> str:
        return self.condition.text

    @property
    def fields(self) -> tuple[Field, ...]:
        return self.condition.fields

    @property
    def others(self) -> tuple[str, ...]:
        return self.condition.others

    def judge(self, look: Look, memory: Memory) -> tuple[Answer, Memory]:
        return self.condition.judge(look, memory)

    def watches(self, look: Look, memory: Memory) -> tuple[Watch, ...]:
        return watches(self.condition.root, look, memory)


def armed(rule: Rule) -> Armed:
    """The rule with its condition read. Raises ConfigError where that cannot be."""
    return Armed(rule, _Written(parse_condition(rule.when)), ranking_of(rule))


Key = tuple[str, str]  # the rule's name, the scope
Scopes = Mapping[str, Sequence[str]]  # by the rule's name


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered between looks. spent_ms: when kills were ordered, for the budget of all rules together.

    ranked: what is remembered of the cgroups that rules compare, by the numbers' texts.
    """

    cases: Mapping[Key, Case] = field(default_factory=dict)
    ranked: Mapping[tuple[str, ...], Memories] = field(default_factory=dict)
    recent: tuple[Readings, ...] = ()
    spent_ms: tuple[int, ...] = ()
    told: frozenset[tuple[str, ...]] = frozenset()
    now_ms: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """The next state, what is to be done, and lines for the log. look_at_ms: look again then at the latest."""

    state: State
    orders: tuple[Order, ...] = ()
    notes: tuple[str, ...] = ()
    look_at_ms: int | None = None


def looked(
    state: State,
    rules: Sequence[Armed],
    readings: Readings,
    now_ms: int,
    scopes: Scopes,
    overall: Budget | None = None,
) -> Judgement:
    """Judge every rule in each of its scopes. now_ms is of the readings' clock; scopes: see scopes.in_scope()."""
    return _Judge(state, rules, now_ms, overall).looked(readings, scopes)


def ended(state: State, outcome: Outcome, now_ms: int) -> Judgement:
    """What became of an order; it may be told twice: when somebody has died, and when the memory is back.

    What has not killed anybody does not count against budgets.
    """
    now_ms = max(now_ms, state.now_ms)
    rule, scope = outcome.order.rule, outcome.order.scope
    key = (rule.name, scope)
    case = state.cases.get(key)
    if case is None or case.phase not in BUSY:
        return Judgement(replace(state, now_ms=now_ms))
    signal, spent_ms = signal_of(outcome), state.spent_ms
    after = case.after(signal, rule, now_ms)
    if signal is Signal.FAILED and spends(rule):
        after = replace(after, spent_ms=_without(after.spent_ms, case.ordered_ms))
        spent_ms = _without(spent_ms, case.ordered_ms)
    changed = replace(state, cases={**state.cases, key: after}, spent_ms=spent_ms, now_ms=now_ms)
    return Judgement(changed, look_at_ms=now_ms if after.phase not in BUSY else after.until_ms)


def sensors(state: State, rules: Sequence[Armed], scopes: Scopes) -> Sensors:
    """What to watch after the look that the state is of; look_at_ms of its judgement comes on top."""
    if not state.recent:
        return Sensors(wait_ms=0)
    found: list[Watch] = []
    for rule in rules:
        for scope in scopes.get(rule.rule.name, ()):
            case = state.cases.get((rule.rule.name, scope))
            if case is not None:
                found += rule.test.watches(_look(state.recent, scope), case.memory)
    return together(found)


class _Judge:
    """One look at all the rules."""

    def __init__(self, state: State, rules: Sequence[Armed], now_ms: int, overall: Budget | None) -> None:
        self._state = state
        self._rules = rules
        self._overall = overall
        self._now_ms = max(now_ms, state.now_ms)
        self._cases = dict(state.cases)
        self._spent_ms = _still_counted(state.spent_ms, overall, self._now_ms)
        self._told = set(state.told)
        self._numbers: dict[str, dict[str, Numbers]] = {}
        self._notes: list[str] = []
        self._look_at_ms: list[int] = []

    def looked(self, readings: Readings, scopes: Scopes) -> Judgement:
        self._let_time_pass()
        recent = _recent(self._state.recent, readings)
        ranked = self._remembered(recent)
        turns = list(self._turns(scopes))
        firing: list[tuple[Armed, str, str]] = []
        for rule, scope in turns:
            answer = self._answer(rule, scope, _look(recent, scope))
            if answer.holds:
                firing.append((rule, scope, answer.why))
            elif answer.due_ms is not None:
                self._look_at_ms.append(answer.due_ms)
        # After all have been judged: what lasts is remembered of each look, whoever wins.
        places = {each.rule.name: place for place, each in enumerate(self._rules)}
        firing.sort(key=lambda each: (places[each[0].rule.name], *_precedence(each[1], readings)))
        self._compare((rule for rule, _, _ in firing), recent)
        orders = tuple(order for each in firing if (order := self._order(*each)) is not None)
        self._forget({(rule.rule.name, scope) for rule, scope in turns})
        self._look_at_ms += [case.until_ms for case in self._cases.values() if case.phase is not Phase.WATCHING]
        state = State(self._cases, ranked, recent, self._spent_ms, frozenset(self._told), self._now_ms)
        return Judgement(state, orders, tuple(self._notes), min(self._look_at_ms, default=None))

    def _remembered(self, recent: tuple[Readings, ...]) -> dict[tuple[str, ...], Memories]:
        """What rules that compare cgroups by their growth remember of this look."""
        ranked: dict[tuple[str, ...], Memories] = {}
        for rule in self._rules:
            if rule.ranking is not None and rule.ranking.remembers:
                texts, before = rule.ranking.texts, self._state.ranked.get(rule.ranking.texts, {})
                memories = rule.ranking.remembered(recent[-1], _earlier(recent), before)
                ranked[texts] = {**ranked.get(texts, {}), **memories}
        return ranked

    def _compare(self, rules: Iterable[Armed], recent: tuple[Readings, ...]) -> None:
        """The numbers of the cgroups that these rules compare."""
        for rule in rules:
            if rule.ranking is not None and rule.rule.name not in self._numbers:
                before = self._state.ranked.get(rule.ranking.texts, {})
                self._numbers[rule.rule.name] = rule.ranking.judge(recent[-1], _earlier(recent), before)

    def _turns(self, scopes: Scopes) -> Iterator[tuple[Armed, str]]:
        for rule in self._rules:
            for scope in scopes.get(rule.rule.name, ()):
                yield rule, scope

    def _let_time_pass(self) -> None:
        known = {each.rule.name: each.rule for each in self._rules}
        for key, case in self._cases.items():
            rule = known.get(key[0])
            spent_ms = _still_counted(case.spent_ms, None if rule is None else rule.budget, self._now_ms)
            case = replace(case, spent_ms=spent_ms)
            while case.phase is not Phase.WATCHING and case.until_ms <= self._now_ms:
                self._note_time_up(key, case)
                # A rule that a reload has taken away has nothing to rest for.
                case = case.after(Signal.TIME_UP, rule or Rule(key[0], "", cooldown_ms=0), self._now_ms)
            self._cases[key] = case

    def _note_time_up(self, key: Key, case: Case) -> None:
        name, scope = key
        if case.phase is Phase.ORDERED:
            self._notes.append(f"rule {name}, {_said(scope)}: nobody says what became of the order: judged again")
        elif case.phase is Phase.RECOVERING:
            self._notes.append(f"rule {name}, {_said(scope)}: no memory has come back yet: judged again")

    def _answer(self, rule: Armed, scope: str, look: Look) -> Answer:
        key = (rule.rule.name, scope)
        case = self._cases.get(key, Case(rule.test.text))
        memory = case.memory if case.text == rule.test.text else Memory()
        answer, memory = rule.test.judge(look, memory)
        self._cases[key] = replace(case, text=rule.test.text, memory=memory)
        for name in answer.unknown:
            where = f"{_said(scope)} (and maybe others)" if scope != MACHINE else "this machine"
            self._tell_once(
                ("unknown", rule.rule.name, name), f"rule {rule.rule.name}: {name} is not known of {where}: not true"
            )
        told = sum(what[:2] == ("fault", rule.rule.name) for what in self._told)
        for fault in answer.faults[: max(MOST_FAULTS - told, 0)]:
            self._tell_once(("fault", rule.rule.name, fault), f"rule {rule.rule.name}: {fault}: not true")
        return answer

    def _order(self, rule: Armed, scope: str, why: str) -> Order | None:
        """The order, where nothing is against it."""
        key = (rule.rule.name, scope)
        case = self._cases[key]
        if case.phase is not Phase.WATCHING:
            return None
        if touches_memory(rule.rule) and self._is_busy(rule.concerns(scope)):
            return None
        if spends(rule.rule) and not self._can_afford(rule.rule, key, case):
            return None
        signal = Signal.SAID if is_merely_said(rule.rule) else Signal.FIRED
        after = replace(case.after(signal, rule.rule, self._now_ms), concerns=rule.concerns(scope))
        if spends(rule.rule):
            after = replace(after, spent_ms=(*after.spent_ms, self._now_ms))
            self._spent_ms = (*self._spent_ms, self._now_ms)
            self._told -= {("budget", *key), ("budget",)}
        self._cases[key] = after
        compared = within(self._numbers.get(rule.rule.name, {}), scope)
        return Order(rule.rule, scope, why, tuple(compared.items()))

    def _is_busy(self, concerns: str) -> bool:
        """Is an order about that memory, or one about memory in its scope, being carried out?"""
        return any(
            case.phase in BUSY and (overlap(concerns, case.concerns) or overlap(concerns, scope))
            for (_, scope), case in self._cases.items()
        )

    def _can_afford(self, rule: Rule, key: Key, case: Case) -> bool:
        for budget, spent_ms, told in (
            (rule.budget, case.spent_ms, ("budget", *key)),
            (self._overall, self._spent_ms, ("budget",)),
        ):
            if budget is None or len(spent_ms) < budget.kills:
                continue
            if budget.kills:
                free_ms = sorted(spent_ms)[-budget.kills] + budget.per_ms
                self._look_at_ms.append(free_ms)
            whose = "the overall budget" if told == ("budget",) else "its budget"
            spent = f"{whose} of {budget.kills} kills in {budget.per_ms / 1000:g} s is spent"
            self._tell_once(told, f"rule {rule.name}, {_said(key[1])}: would kill, but {spent}")
            return False
        return True

    def _tell_once(self, what: tuple[str, ...], note: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._notes.append(note)

    def _forget(self, here: set[Key]) -> None:
        """Cases whose scope is gone, or whose rule is, but for what still binds: an order, a cooldown, a budget."""
        for key in [key for key in self._cases if key not in here]:
            case = self._cases[key]
            if case.phase is Phase.WATCHING and not case.spent_ms:
                del self._cases[key]
            else:
                self._cases[key] = replace(case, memory=Memory())
        names = {each.rule.name for each in self._rules}
        self._told = {
            what
            for what in self._told
            if len(what) == 1 or (what[1] in names and (what[0] != "budget" or what[1:] in self._cases))
        }


def _look(recent: tuple[Readings, ...], scope: str) -> Look:
    return Look(recent[-1], scope, _earlier(recent))


def _earlier(recent: tuple[Readings, ...]) -> Readings | None:
    return recent[0] if len(recent) > 1 else None


def _precedence(scope: str, readings: Readings) -> tuple[int, int, str]:
    """Of one rule's scopes: the deepest first, and of these the largest."""
    found = readings.cgroups.get(scope)
    return -depth(scope), -((found and found.current_bytes) or 0), scope


def _recent(recent: tuple[Readings, ...], now: Readings) -> tuple[Readings, ...]:
    """The readings from the youngest that is far enough from now, to now."""
    before = [each for each in recent if each.at_ms < now.at_ms]
    far = [place for place, each in enumerate(before) if each.at_ms <= now.at_ms - APART_MS]
    return (*before[far[-1] if far else 0 :], now)


def _still_counted(spent_ms: tuple[int, ...], budget: Budget | None, now_ms: int) -> tuple[int, ...]:
    return () if budget is None else tuple(at_ms for at_ms in spent_ms if at_ms > now_ms - budget.per_ms)


def _without(spent_ms: tuple[int, ...], at_ms: int) -> tuple[int, ...]:
    """One kill less."""
    if at_ms not in spent_ms:
        return spent_ms
    place = spent_ms.index(at_ms)
    return (*spent_ms[:place], *spent_ms[place + 1 :])


def _said(scope: str) -> str:
    return "the machine" if scope == MACHINE else scope
