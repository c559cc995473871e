"""Orders carried out: the one thing that the loop talks to.

Belongs here: from an order to the action under way, dry runs, telling people, undoing at the end.
Must not know: when (rules/), the steps of any action.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from oompolicy.backends.kill.changes import Changes
from oompolicy.backends.kill.choose import Choice, Target, choose
from oompolicy.backends.kill.desktop import desktop_sessions
from oompolicy.backends.kill.ground import Ground
from oompolicy.backends.kill.guard import Guard
from oompolicy.backends.kill.killing import Killing, Tools, command_env
from oompolicy.backends.kill.other import Ways, begin_other, in_words, why_not
from oompolicy.backends.kill.pending import Done, Pending, Say, why
from oompolicy.backends.kill.shield import Shield, own_pids
from oompolicy.backends.state_folder import lock_folder
from oompolicy.errors import OompolicyError
from oompolicy.mm.memcontrol import MemCgroup, mem_cgroup_is_descendant
from oompolicy.policy.api import Policy
from oompolicy.policy.decision import CallLimit
from oompolicy.rules.preference import Preferences
from oompolicy.rules.protect import Protect
from oompolicy.rules.rule import Kill, Order, Other, Outcome, Rule, Victim
from oompolicy.snapshot import Snapshot

if TYPE_CHECKING:
    from oompolicy.backends.kill.helper import Helper

NOTIFY_WITHIN_MS: Final = 10_000
# Runners-up that a dry run names.
_SAID_MAX: Final = 3

# Of the cgroups of these paths, as victims are sought in a scope: see sources/oomd_preference.py.
ReadPreferences = Callable[[str, Iterable[str]], Preferences]


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration says, and a reload may change.

    policies: the rules' own, by the name of the rule; policy: of the others. None is the kernel's own order.
    """

    policies: Mapping[str, Policy | None] = field(default_factory=dict)
    policy: Policy | None = None
    protect: Protect = field(default_factory=Protect)
    limits: Callable[[], CallLimit] = lambda: nullcontext

    def policy_of(self, rule: Rule) -> Policy | None:
        """The rule's own policy, or the daemon's."""
        return self.policies.get(rule.name, self.policy)


class Actions:
    """The backend kill. helper is None where no commands are wanted; changes where there is no memory hierarchy."""

    def __init__(
        self,
        ground: Ground,
        terms: Terms,
        say: Say,
        changes: Changes | None = None,
        helper: Helper | None = None,
        read_preferences: ReadPreferences | None = None,
    ) -> None:
        self.terms = terms
        self._ground = ground
        self._say = say
        self._changes = changes
        self._helper = helper
        self._read_preferences = read_preferences
        self._own: frozenset[int] = frozenset()

    def start(self) -> tuple[str, ...]:
        """Before the first order; the lines are for the log. Raises BackendError where a journal cannot be read."""
        self._ground.start_reaper()
        left = 0 if self._changes is None else self._changes.take_over()
        return (f"{left} files of cgroups are still as an earlier daemon has set them: taken over",) if left else ()

    def make_room(self) -> None:
        """Let go of the spare descriptors, for a look at the machine; begin() takes them again."""
        self._ground.spend_spare()

    def begin(self, order: Order, snapshot: Snapshot, now_ms: int) -> Pending:
        """Carry out an order on the machine as it is in the snapshot. Raises nothing: trouble is in the outcome."""
        self._ground.keep_spare()
        # Anew each time: a parent that has ended has left its pid to others.
        self._own = own_pids(self._ground) | (frozenset() if self._helper is None else frozenset({self._helper.pid}))
        try:
            pending = self._begun(order, snapshot, now_ms)
        except OompolicyError as error:
            self._say(f"{why(order)}: {error}")
            pending = Done(Outcome(order, at_ms=now_ms, failed=str(error)))
        is_told = bool(order.rule.notify) and not order.rule.is_dry_run
        return _Told(pending, self._tell) if is_told else pending

    def next_due_ms(self) -> int | None:
        """When something that was set for a time is to be undone; None where nothing is."""
        return None if self._changes is None else self._changes.next_due_ms()

    def undo_due(self, now_ms: int) -> None:
        """Undo what was set for a time that is over."""
        if self._changes is not None:
            for line in self._changes.undo_due(now_ms):
                self._say(line)

    def put_back(self) -> Iterator[str]:
        """Undo all that is set; the lines are for the log."""
        if self._changes is not None:
            yield from self._changes.undo_all()

    def close(self) -> None:
        """Let go of everything; the helper ends."""
        if self._helper is not None:
            self._helper.close()
        if self._changes is not None:
            self._changes.close()
        self._ground.close()

    @property
    def _shield(self) -> Shield:
        return Shield(self.terms.protect, self._own)

    def _begun(self, order: Order, snapshot: Snapshot, now_ms: int) -> Pending:
        action = order.rule.action
        if action in (Other.NOTIFY, Other.NOTHING):
            return begin_other(self._ways, order, order.scope, now_ms)
        if isinstance(action, Other) and order.scope != "/" and order.rule.policy is None:
            return self._on_cgroup(order, snapshot.memcg(order.scope), snapshot, now_ms)
        preferences = self._preferences(order, snapshot)
        choice = self._choice(order, snapshot, preferences)
        if isinstance(action, Kill):
            if order.rule.is_dry_run:
                return self._pretended(order, choice, now_ms)
            guard = Guard(self._ground, snapshot, self._shield, preferences)
            return Killing(Tools(self._ground, guard, self._helper, self._say), order, choice, now_ms)
        memcg = next((target.victim.memcg for target in choice.targets), None)
        if memcg is None:
            self._say(f"{why(order)}: nobody in the scope can be chosen")
            return Done(Outcome(order, at_ms=now_ms, failed="nobody in the scope can be chosen"))
        return self._on_cgroup(order, memcg, snapshot, now_ms)

    @property
    def _ways(self) -> Ways:
        return Ways(self._ground, self._changes, self._helper, self._say)

    def _on_cgroup(self, order: Order, cgroup: MemCgroup, snapshot: Snapshot, now_ms: int) -> Pending:
        reason = why_not(order, cgroup, snapshot, self._shield)
        if reason is not None:
            self._say(f"{why(order)}: cgroup {cgroup.path}: left alone: {reason}")
            return Done(Outcome(order, at_ms=now_ms, failed=f"cgroup {cgroup.path}: {reason}", cgroup=cgroup.path))
        if order.rule.is_dry_run:
            self._say(f"{why(order)}: dry run: would {in_words(order, cgroup.path)}")
            return Done(Outcome(order, at_ms=now_ms, cgroup=cgroup.path))
        return begin_other(self._ways, order, cgroup.path, now_ms)

    def _preferences(self, order: Order, snapshot: Snapshot) -> Preferences:
        if self._read_preferences is None:
            return {}
        scope = None if order.scope == "/" else snapshot.memcg(order.scope)
        homes = {task.memcg.path: task.memcg for task in snapshot.kernel.tasks if task.memcg is not None}
        paths = [path for path, memcg in homes.items() if scope is None or mem_cgroup_is_descendant(memcg, scope)]
        return self._read_preferences(order.scope, [*paths, *(path for path, _ in order.compared)])

    def _choice(self, order: Order, snapshot: Snapshot, preferences: Preferences) -> Choice:
        policy = self.terms.policy_of(order.rule)
        choice = choose(order, snapshot, policy, self._shield, preferences, self.terms.limits())
        for reason in dict.fromkeys(fault.why for fault in choice.faults):
            name = "policy" if policy is None else f"policy {policy.name}"
            self._say(f"{why(order)}: {name} faulted: {reason}: the kernel's badness counts there")
        return choice

    def _pretended(self, order: Order, choice: Choice, now_ms: int) -> Pending:
        """Say what would be done, and to whom."""
        if not choice.targets:
            self._say(f"{why(order)}: dry run: {choice.nobody}")
            return Done(Outcome(order, at_ms=now_ms, failed="nobody in the scope can be killed"))
        first, others = choice.targets[0], choice.targets[1:]
        steps = [f"run {' '.join(order.rule.pre_kill)}"] if order.rule.pre_kill else []
        if order.rule.grace_ms:
            steps.append(f"send SIGTERM, and after {order.rule.grace_ms} ms")
        steps.append(f"kill {first.in_words}, {_mib(first)} MiB, {first.points} points: {first.reason}")
        self._say(f"{why(order)}: dry run: would {' '.join(steps)}")
        if others:
            names = ", ".join(target.in_words for target in others[:_SAID_MAX])
            more = f" and {len(others) - _SAID_MAX} more" if len(others) > _SAID_MAX else ""
            self._say(f"{why(order)}: dry run: if no memory came back: {names}{more}")
        victim = Victim(first.victim.process_id, first.victim.comm)
        return Done(Outcome(order, at_ms=now_ms, victims=(victim,), cgroup=first.cgroup))

    def _tell(self, outcome: Outcome) -> None:
        """Start the rule's notification; how it ends is nobody's concern."""
        order, argv = outcome.order, outcome.order.rule.notify
        names = ", ".join(victim.name for victim in outcome.victims)
        done = outcome.failed or (f"killed {names}" if names else "done")
        env = {**command_env(order), "OOMPOLICY_DONE": done, "OOMPOLICY_KILLED": str(outcome.killed)}
        env["OOMPOLICY_FREED_BYTES"] = str(outcome.freed_bytes)
        tickets: list[int | None] = []
        if self._helper is None:
            tickets.append(None)
        elif argv == ("desktop",):
            text = ("notify-send", "--app-name=oompolicy", "--urgency=critical", "--", order.rule.name, done)
            sessions = desktop_sessions()
            if not sessions:
                self._say(f"{why(order)}: notify: nobody who is to be seen from here has a session bus")
            for user, session in sessions:
                tickets.append(self._helper.start(text, session, NOTIFY_WITHIN_MS, user))
        else:
            tickets.append(self._helper.start(argv, env, NOTIFY_WITHIN_MS))
        if None in tickets:
            self._say(f"{why(order)}: notify is left out: the helper that runs commands has gone")
        for ticket in tickets:
            if self._helper is not None and ticket is not None:
                self._helper.forget(ticket)


class _Told:
    """An action, and then the telling (see Pending)."""

    def __init__(self, pending: Pending, tell: Callable[[Outcome], None]) -> None:
        self.wake_at_ms = pending.wake_at_ms
        self._pending = pending
        self._tell = tell

    def fds(self) -> tuple[int, ...]:
        """The action's."""
        return self._pending.fds()

    def advance(self, now_ms: int) -> Outcome | None:
        """The action's next step."""
        outcome = self._pending.advance(now_ms)
        self.wake_at_ms = self._pending.wake_at_ms
        if outcome is not None:
            self._tell(outcome)
        return outcome

    def close(self) -> None:
        """The action's."""
        self._pending.close()


def _mib(target: Target) -> int:
    mm = target.victim.mm
    return 0 if mm is None else (mm.rss_pages + mm.swap_pages) * resource.getpagesize() >> 20


def restore_changes(changes: Changes, folder: Path) -> tuple[str, ...]:
    """Undo what a killed daemon has left set in cgroups; the lines are for people.

    Raises BackendError where a daemon is at work in that state directory: it undoes it itself when it is stopped.
    """
    lock = lock_folder(folder)
    try:
        changes.take_over()
        return tuple(changes.undo_all())
    finally:
        changes.close()
        os.close(lock)
