"""A whole cgroup.

Belongs here: killing all that is in a cgroup and below it, at once where the kernel can. Must not know: why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from oompolicy.backends.kill.ground import GONE, Ground, number_in, read_small, write_small
from oompolicy.backends.kill.process import End, Facts, Held, cgroup_of, facts_of, is_within, open_pid
from oompolicy.rules.rule import Victim

# So often the processes of a cgroup are listed anew in one go; what is still being forked is found at the next step.
ROUNDS_MAX: Final = 16

MaySignal = Callable[[int, Facts], bool]
AsSeen = Callable[[int, str], tuple[Victim, bool] | None]


class Members(NamedTuple):
    """Who may be signalled, and how many may not; pids: of all that were listed."""

    victims: list[Victim]
    barred: int
    pids: list[int]


class Group:
    """A cgroup by its path, and who in it may be signalled."""

    def __init__(self, ground: Ground, path: str, may_signal: MaySignal) -> None:
        self.path = path
        self._ground = ground
        self._may_signal = may_signal
        self._directory = ground.cgroup(path)

    def kill_at_once(self) -> bool:
        """Everybody in it and below, by cgroup.kill, what is being forked included; False where there is no such file.

        commit 661ee6280931 "cgroup: introduce cgroup.kill" (in v5.14), v2 only. A cgroup that has gone is dead, too.
        """
        try:
            write_small(self._directory / "cgroup.kill", "1")
        except OSError as error:
            return error.errno in GONE and not self._directory.exists()
        return True

    def is_populated(self) -> bool:
        """Is anybody in it or below it who has not ended? One small file, however many there are; v2 only."""
        try:
            return b"populated 1" in read_small(self._directory / "cgroup.events")
        except OSError as error:
            return error.errno not in GONE

    def freeze(self) -> bool:
        """Keep it from forking while its processes are signalled one by one; True where it is to be thawed then.

        A frozen process of v2 still dies of SIGKILL; v1's freezer is another hierarchy, and keeps it from dying.
        """
        if number_in(self._directory / "cgroup.freeze") != 0:
            return False
        return self._write("cgroup.freeze", "1")

    def thaw(self) -> None:
        """What is left in it, or comes into it, may run again."""
        self._write("cgroup.freeze", "0")

    def members(self, as_seen: AsSeen | None = None) -> Members:
        """Who is in it and below it, but for those that have ended; as_seen knows some without a look at them."""
        victims: list[Victim] = []
        barred = 0
        pids = self._listed(self._directory)
        for pid in pids:
            known = None if as_seen is None else as_seen(pid, self.path)
            if known is not None:
                victims += [known[0]] if known[1] else []
                barred += not known[1]
                continue
            facts = _facts_or_none(self._ground, pid)
            if facts is None or facts.has_ended:
                continue
            if self._may_signal(pid, facts):
                victims.append(Victim(pid, facts.comm))
            else:
                barred += 1
        return Members(victims, barred, pids)

    def signal_each(self, number: int, until_empty: bool = False) -> tuple[list[Victim], set[End]]:
        """Signal each process; until_empty: list them anew until nobody new is there. Who was, and what failed."""
        victims: list[Victim] = []
        failed: set[End] = set()
        done: set[tuple[int, int]] = set()
        for _ in range(ROUNDS_MAX if until_empty else 1):
            is_new = False
            for held in self._members(failed):
                try:
                    if (held.pid, held.start_ticks) in done:
                        continue
                    done.add((held.pid, held.start_ticks))
                    is_new = True
                    end = held.send(number)
                    if end is End.DONE:
                        victims.append(held.victim)
                    elif end is not End.GONE:
                        failed.add(end)
                finally:
                    held.close()
            if not is_new:
                break
        return victims, failed

    def _members(self, failed: set[End]) -> Iterator[Held]:
        """Each process, held, and seen to be in the cgroup after it was."""
        for pid in self._listed(self._directory):
            fd = open_pid(self._ground, pid)
            if isinstance(fd, End):
                if fd is not End.GONE:
                    failed.add(fd)
                continue
            facts = _facts_or_none(self._ground, pid)
            if facts is None or facts.has_ended or not self._is_inside(pid, facts) or not self._may_signal(pid, facts):
                os.close(fd)
                continue
            yield Held(pid, fd, facts.start_ticks, facts.comm)

    def _write(self, name: str, text: str) -> bool:
        try:
            write_small(self._directory / name, text)
        except OSError:
            return False
        return True

    def _is_inside(self, pid: int, facts: Facts) -> bool:
        if facts.is_leader_gone:  # v1 shows an exited leader in "/"; that the list had it is all that can be known
            return True
        try:
            return is_within(cgroup_of(self._ground, pid), self.path)
        except OSError:
            return False

    def _listed(self, directory: Path) -> list[int]:
        """cgroup.procs of it and of all below, as they can be read; pid 0 is one of another pid namespace."""
        found: list[int] = []
        try:
            found += [pid for word in read_small(directory / "cgroup.procs").split() if (pid := int(word)) > 0]
            with os.scandir(directory) as entries:
                below = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return found
        for one in below:
            found += self._listed(one)
        return found


def _facts_or_none(ground: Ground, pid: int) -> Facts | None:
    try:
        return facts_of(ground, pid)
    except OSError:
        return None
