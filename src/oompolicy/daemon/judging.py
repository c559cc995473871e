"""The rules at work: the pure judgement, with what it remembers, as one object for the loop.

Belongs here: keeping the state between looks, and which scopes a rule has. Must not know: files, clocks, how an order
is carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from oompolicy.rules.judge import Armed, Judgement, State, ended, looked, sensors
from oompolicy.rules.look import MACHINE
from oompolicy.rules.readings import Readings
from oompolicy.rules.rule import Budget, Outcome
from oompolicy.rules.scopes import in_scope, named
from oompolicy.rules.watch import Sensors

_MEMINFO: Final = "meminfo"


class Judging:
    """Rules and their state; scopes go by the paths that were told last."""

    def __init__(self, rules: Sequence[Armed], overall: Budget | None = None) -> None:
        self._rules = tuple(rules)
        self._overall = overall
        self._state = State()
        self._scopes: dict[str, tuple[str, ...]] = {}
        self._read: frozenset[str] = frozenset()
        self.set_paths(())

    def set_paths(self, paths: Iterable[str]) -> None:
        """These are the cgroups there are now."""
        paths = frozenset(paths)
        self._scopes = {each.rule.name: in_scope(each.rule, paths) for each in self._rules}
        besides = named((pattern for each in self._rules for pattern in each.besides), paths)
        self._read = frozenset((*(scope for scopes in self._scopes.values() for scope in scopes), *besides))

    @property
    def has_rules(self) -> bool:
        """Is there any?"""
        return bool(self._rules)

    @property
    def scopes(self) -> frozenset[str]:
        """All that some rule is judged for, or reads."""
        return self._read

    def looked(self, readings: Readings) -> Judgement:
        """Judge all rules."""
        judgement = looked(self._state, self._rules, readings, readings.at_ms, self._scopes, self._overall)
        self._state = judgement.state
        return judgement

    def ended(self, outcome: Outcome, now_ms: int) -> Judgement:
        """Something has come of an order."""
        judgement = ended(self._state, outcome, now_ms)
        self._state = judgement.state
        return judgement

    def sensors(self) -> Sensors:
        """What to be woken by until the next look."""
        return sensors(self._state, self._rules, self._scopes)

    def replace(self, rules: Sequence[Armed], overall: Budget | None) -> None:
        """Other rules from now on; what is remembered of those that stay, stays. Scopes are to be told anew."""
        self._rules, self._overall = tuple(rules), overall
        self.set_paths(())


def files_of(rules: Iterable[Armed]) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The files that rules read: of the machine, of each cgroup; and the patterns of cgroups that they are about."""
    machine: set[str] = set()
    cgroup: set[str] = set()
    scopes: set[str] = set()
    for each in rules:
        scopes.update(glob for glob in (*each.rule.scope, *each.besides) if glob != MACHINE)
        for field in each.fields:
            (cgroup if field.is_of_cgroup else machine).update(field.files)
    return frozenset(machine - {_MEMINFO}), frozenset(cgroup), frozenset(scopes)
