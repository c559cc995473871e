"""The orders of rules carried out: the backend kill, made from settings.

Belongs here: which policy chooses for which rule, the snapshot an order is carried out on, the helper. Must not know:
when an order is given, the steps of an action.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from oompolicy.backends.backend import TakeSnapshot
from oompolicy.backends.kill.actions import Actions, Terms
from oompolicy.backends.kill.changes import Changes
from oompolicy.backends.kill.ground import Ground
from oompolicy.backends.kill.pending import Pending
from oompolicy.backends.oom_score_adj.journal import boot_id
from oompolicy.compiler.checked import checked
from oompolicy.daemon.kept_history import KeptHistory
from oompolicy.daemon.settings import Settings
from oompolicy.policy.api import Policy
from oompolicy.policy_file import load_policy
from oompolicy.policy_limit import look_limit
from oompolicy.rules.protect import Protect
from oompolicy.rules.rule import Order, Other, Outcome
from oompolicy.scoring.scene import PastKill
from oompolicy.service.log import log
from oompolicy.sources.cgroup_mount import find_memory_hierarchy
from oompolicy.sources.oomd_preference import read_preferences
from oompolicy.values.order import ValueOrder

if TYPE_CHECKING:
    from oompolicy.backends.kill.helper import Helper

_NO_OPINION: Final = "kernel_default"  # need not be asked: half the time of a choice among 2,000 processes


class Acting:
    """What a RuleWatch hands its orders to, and what it asks to undo in time what was set for a time."""

    def __init__(
        self, actions: Actions, values: ValueOrder, take_snapshot: TakeSnapshot, history: KeptHistory | None = None
    ) -> None:
        self._actions = actions
        self._values = values
        self._take_snapshot = take_snapshot
        self._history = history

    def __call__(self, order: Order, now_ms: int) -> Pending:
        """Begin it, on the machine as it is now. Raises OompolicyError where the machine cannot be looked at."""
        self._actions.make_room()
        return self._actions.begin(order, self._values.between_looks(self._take_snapshot(), now_ms), now_ms)

    def obey(self, settings: Settings, policy: Policy) -> None:
        """Other terms from the next order on. Raises OompolicyError, and the old ones stay."""
        self._actions.terms = _terms(settings, policy)

    def ended(self, outcome: Outcome) -> None:
        """It is written down, and scorers are told of whom it has killed."""
        if self._history is not None:
            self._history.ended(outcome)
        at_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        rule, scope = outcome.order.rule, outcome.order.scope
        for pid, comm in () if outcome.order.rule.is_dry_run else outcome.victims:
            cgroup = None if scope == "/" else scope
            self._values.kills.append(PastKill(at_ms, pid, comm, cgroup, f"rule {rule.name}", scope, outcome.order.why))

    def next_due_ms(self) -> int | None:
        """When something is to be undone."""
        return self._actions.next_due_ms()

    def undo_due(self, now_ms: int) -> None:
        """Undo it."""
        self._actions.undo_due(now_ms)

    def close(self) -> None:
        """Undo all that is set, and let go."""
        for line in self._actions.put_back():
            log(line)
        self._actions.close()
        if self._history is not None:
            self._history.close()


def acting_for(
    settings: Settings,
    policy: Policy,
    values: ValueOrder,
    take_snapshot: TakeSnapshot,
    history: KeptHistory | None = None,
) -> Acting:
    """Ready for orders. Raises OompolicyError: a rule's policy that does not load, a journal that cannot be read."""
    terms = _terms(settings, policy)
    hierarchy = find_memory_hierarchy(Path("/proc"), Path("/sys"))
    actions = Actions(
        Ground(None, False, lambda line: None)
        if hierarchy is None
        else Ground(hierarchy.directory, hierarchy.version == "v1", hierarchy.path_of),
        terms,
        log,
        None if hierarchy is None else Changes(hierarchy.directory, settings.state_dir, boot_id()),
        _helper() if _needs_helper(settings) else None,
        None if hierarchy is None else partial(read_preferences, hierarchy),
    )
    _say(actions.start())
    take_snapshot()  # what the first look takes of memory, the one before a kill finds again: now there is some
    return Acting(actions, values, take_snapshot, history)


def _terms(settings: Settings, policy: Policy) -> Terms:
    own = {
        rule.name: None
        if rule.policy == _NO_OPINION
        else checked(load_policy(rule.policy).with_parameters(dict(rule.params)))
        for rule in settings.rules
        if rule.policy is not None
    }
    default = None if settings.policy == _NO_OPINION else policy
    return Terms(own, default, settings.protect or Protect(), look_limit)


def _needs_helper(settings: Settings) -> bool:
    """Does any rule run a command? A process that nobody needs is not forked."""
    return any(rule.pre_kill or rule.notify or rule.action in (Other.RESTART, Other.NOTIFY) for rule in settings.rules)


def _helper() -> Helper:
    """Its socket takes some hundred KiB of library that a daemon without it need not have."""
    from oompolicy.backends.kill.helper import Helper

    return Helper()


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        log(line)
