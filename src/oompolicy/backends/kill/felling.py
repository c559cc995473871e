"""One target on its way out: a process, a tree, or a cgroup, behind the same questions.

Belongs here: the signals in their order, who is still there, what came back. Must not know: how long to wait.
"""

from __future__ import annotations

import signal
from typing import Final, Protocol

from oompolicy.backends.kill.choose import Target
from oompolicy.backends.kill.ground import Ground
from oompolicy.backends.kill.group import Group
from oompolicy.backends.kill.guard import Guard
from oompolicy.backends.kill.process import End, Held, hold, verify
from oompolicy.backends.kill.tree import Tree
from oompolicy.rules.rule import Victim

# So many descriptors are given to the loop to wait for; the rest is looked at when it wakes.
FDS_MAX: Final = 64


class Felling(Protocol):
    """A target, held. victims: who was signalled; failed: what kept others from it."""

    victims: list[Victim]

    def verified(self) -> End:
        """Is the victim still the one that was chosen?"""

    def ask(self) -> End:
        """SIGTERM to all."""

    def kill(self) -> End:
        """SIGKILL to all, and take their memory."""

    def is_over(self) -> bool:
        """Are all gone, or is their memory?"""

    def chase(self) -> None:
        """SIGKILL to those that have appeared since the kill."""

    def freed_bytes(self) -> int:
        """What has come back from those that are gone, at least."""

    def fds(self) -> tuple[int, ...]:
        """Readable when one has ended."""

    def close(self) -> None:
        """Let go of all."""


def take(ground: Ground, guard: Guard, target: Target, scope: str) -> Felling | End:
    """Hold the target, if it is still what it was."""
    victim = hold(ground, target.victim, scope if target.group is None else target.group.path)
    if isinstance(victim, End):
        return victim
    if target.group is not None:
        return OfGroup(ground, guard, victim, target.group.path)
    if target.is_tree:
        return OfTree(ground, guard, victim, scope)
    return OfProcess(ground, victim, scope)


class OfProcess:
    """One process."""

    def __init__(self, ground: Ground, victim: Held, scope: str) -> None:
        self.victims: list[Victim] = []
        self._ground = ground
        self._victim = victim
        self._scope = scope

    def verified(self) -> End:
        """Start time, name, cgroup, as they were."""
        return verify(self._ground, self._victim, self._scope)

    def ask(self) -> End:
        """SIGTERM."""
        return self._sent(signal.SIGTERM)

    def kill(self) -> End:
        """SIGKILL."""
        end = self._sent(signal.SIGKILL)
        if end is End.DONE:
            self._ground.reap(self._victim)
        return end

    def is_over(self) -> bool:
        """Has it ended, or its memory been taken?"""
        return self._victim.is_reaped or self._victim.has_ended()

    def chase(self) -> None:
        """There is only one."""

    def freed_bytes(self) -> int:
        """What it alone held."""
        return self._victim.private_bytes if self.is_over() else 0

    def fds(self) -> tuple[int, ...]:
        """Its own."""
        return (self._victim.fd,)

    def close(self) -> None:
        """Let go."""
        self._victim.close()

    def _sent(self, number: int) -> End:
        end = self._victim.send(number)
        if end is End.DONE:
            self.victims = [self._victim.victim]
        return end


class OfTree:
    """A process and its descendants, as many as may be signalled."""

    def __init__(self, ground: Ground, guard: Guard, victim: Held, scope: str) -> None:
        self.victims: list[Victim] = []
        self._ground = ground
        self._guard = guard
        self._scope = scope
        self._tree = Tree(ground, victim, guard.may_signal)

    def verified(self) -> End:
        """Of the root; the others hang on it."""
        return verify(self._ground, self._tree.held[0], self._scope)

    def ask(self) -> End:
        """SIGTERM, parents first; those that were born meanwhile are found when it is their turn to be killed."""
        self._tree.look()
        return self._sent(signal.SIGTERM, self._tree.held)

    def kill(self) -> End:
        """Hold all still, then SIGKILL, parents first, so that nobody is there to start a child anew."""
        self._tree.hold_still()
        end = self._sent(signal.SIGKILL, self._tree.held)
        for one in self._tree.held:
            self._ground.reap(one)
        return end

    def is_over(self) -> bool:
        """Are all gone, or is their memory?"""
        return all(one.is_reaped or one.has_ended() for one in self._tree.held)

    def chase(self) -> None:
        """Only where the tree could not be held still does anybody appear."""
        found = self._tree.look()
        if found:
            self._sent(signal.SIGKILL, self._tree.held[-found:])

    def freed_bytes(self) -> int:
        """What those that are gone held, each alone."""
        gone = [one for one in self._tree.held if one.is_reaped or one.has_ended()]
        return sum(self._guard.private_bytes(one.pid, one.start_ticks) for one in gone)

    def fds(self) -> tuple[int, ...]:
        """Of those that are left."""
        return tuple(one.fd for one in self._tree.held if not one.has_ended())[:FDS_MAX]

    def close(self) -> None:
        """Let go."""
        self._tree.close()

    def _sent(self, number: int, whom: list[Held]) -> End:
        """DONE where it reached anybody; else what became of the first."""
        ends = []
        for one in whom:
            ends.append(one.send(number))
            if ends[-1] is End.DONE and one.victim not in self.victims:
                self.victims.append(one.victim)
        return End.DONE if End.DONE in ends else ends[0]


class OfGroup:
    """All of a cgroup, but for who may not be signalled."""

    def __init__(self, ground: Ground, guard: Guard, victim: Held, path: str) -> None:
        self.victims: list[Victim] = []
        self._ground = ground
        self._guard = guard
        self._victim = victim
        self._group = Group(ground, path, guard.may_signal)
        self._usage_bytes = ground.usage_bytes(path) or 0
        # Where the kernel has killed all, nobody is listed any more: to look at hundreds that are on their way out,
        # again and again, would take the time on a CPU that they need for it.
        self._is_killed_whole = False

    def verified(self) -> End:
        """Is the victim still in the cgroup?"""
        return verify(self._ground, self._victim, self._group.path)

    def ask(self) -> End:
        """SIGTERM to each, in the order in which they came in."""
        self.victims, failed = self._group.signal_each(signal.SIGTERM)
        return End.DONE if self.victims else next(iter(failed), End.GONE)

    def kill(self) -> End:
        """By the kernel as one, or one by one where somebody in it must stay, or the kernel cannot."""
        there = self._group.members(self._guard.as_seen)
        if there.barred == 0 and self._group.kill_at_once():
            self._is_killed_whole = True
            self._reached(there.victims)
            self._ground.reap(self._victim)
            # The end of hundreds that were forked from one another takes long: each waits for locks that they share
            # (unlink_anon_vmas(), mm/rmap.c), and reclaim holds. Their memory does not have to wait for that.
            self._ground.reap_all(there.pids)
            return End.DONE
        is_frozen = there.barred == 0 and self._group.freeze()
        victims, failed = self._group.signal_each(signal.SIGKILL, until_empty=True)
        self._reached(victims)
        self._ground.reap(self._victim)
        if is_frozen:
            self._group.thaw()
        return End.DONE if self.victims else next(iter(failed), End.GONE)

    def is_over(self) -> bool:
        """Is it empty, but for who must stay?"""
        if self._is_killed_whole:
            return not self._group.is_populated()
        return not self._group.members().victims

    def chase(self) -> None:
        """Who has come in since, or was born while the others were killed one by one."""
        if self._is_killed_whole:
            self._group.kill_at_once()
            return
        victims, _ = self._group.signal_each(signal.SIGKILL)
        self._reached(victims)

    def freed_bytes(self) -> int:
        """What it used, less what it uses now; at least what the victim alone held."""
        less = self._usage_bytes - (self._ground.usage_bytes(self._group.path) or 0)
        return max(less, self._victim.private_bytes if self._victim.has_ended() else 0)

    def fds(self) -> tuple[int, ...]:
        """The victim's, which is mostly the last to be gone."""
        return () if self._victim.has_ended() else (self._victim.fd,)

    def close(self) -> None:
        """Let go."""
        self._victim.close()

    def _reached(self, victims: list[Victim]) -> None:
        self.victims += [victim for victim in victims if victim not in self.victims]
