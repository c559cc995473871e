"""All that rules read and are woken by, behind one object: the machine, and the cgroups that they are about.

Belongs here: which readers, triggers and watches there are, as cgroups come and go. Must not know: when to look, what
a rule says. It waits for nothing itself: whoever has the loop registers the descriptors with its poll().
"""

from __future__ import annotations

import errno
import resource
import select
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, cast

from oompolicy.errors import GoneError, SourceError
from oompolicy.rules.readings import CgroupReading, Readings
from oompolicy.rules.scopes import leads_to
from oompolicy.sources.cgroup_mount import Hierarchy, find_memory_hierarchy
from oompolicy.sources.cgroup_reading import CgroupReader
from oompolicy.sources.cgroup_tree import WATCHES_MAX, CgroupTree
from oompolicy.sources.inotify import IN_IGNORED, IN_MODIFY, IN_Q_OVERFLOW, Inotify
from oompolicy.sources.machine_reading import MachineReader
from oompolicy.sources.pressure_trigger import (
    EVENTS,
    UNPRIVILEGED_WINDOW_US,
    Asked,
    Kind,
    PressureTrigger,
    best_trigger,
)

MACHINE: Final = "/"

# A trigger that root sets costs a kernel thread for each cgroup. Stalls in a cgroup are stalls of the machine too:
# beyond so many, one trigger of the machine tells for the rest, when any task waits for 2 % of half a second.
TRIGGERS_MAX: Final = 32
_FOR_THE_REST: Final = Asked("some", 10_000, 500_000)

# So many descriptors are left to everybody else in this process. A file of a cgroup that is kept open holds 4.7 KiB of
# the kernel's memory (a struct file, and the page that seq_file reads into): together some 10 MiB.
_LEFT_FOR_OTHERS: Final = 128
_KEPT_MAX: Final = 2048

# Where nothing tells of new cgroups, and nothing counts them.
_WALK_EVERY_MS: Final = 10_000

_NOT_KEPT: Final = "more cgroups than their files can be kept open for: the rest are opened at each look"
_NO_WATCHES: Final = "no more watches (fs.inotify.max_user_watches, or a bound of our own): {} once a second instead"


class PressureWatch(Protocol):
    """Stalls to be told of: of a cgroup by its path, or of the machine, "/"."""

    @property
    def scope(self) -> str: ...  # noqa: D102
    @property
    def resource(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def stall_us(self) -> int: ...  # noqa: D102
    @property
    def window_us(self) -> int: ...  # noqa: D102


class FileWatch(Protocol):
    """A cgroup's file whose changes are to be told of: memory.events, cgroup.events."""

    @property
    def scope(self) -> str: ...  # noqa: D102
    @property
    def file(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files to read, by their names in v2: of the machine below /proc, of each cgroup that is followed.

    scopes are the patterns of the cgroups that rules are about: which of them there are is kept up to date.
    """

    machine: frozenset[str] = frozenset()
    cgroup: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Followed:
    """A cgroup that is read. watches: inotify's number for each file that is watched."""

    reader: CgroupReader
    watches: dict[str, int] = field(default_factory=dict)


_Key = tuple[str, str, str]  # scope, resource, kind


class Sensors:
    """Open until close(). notes: what is not as it should be, in sentences for the log, each there once.

    generation grows whenever cgroups have come or gone.
    """

    def __init__(self, wanted: Wanted, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        """Raises SourceError where there is no procfs to read."""
        self.notes: list[str] = []
        self.generation = 0
        self._wanted = wanted
        self._proc = proc
        self._poll: select.poll | None = None
        self._machine = MachineReader(proc, wanted.machine, sys)
        self.glance = self._machine.glance  # the machine's amounts alone, see there
        self._triggers: dict[_Key, tuple[Asked, PressureTrigger]] = {}
        self._key_of: dict[int, _Key] = {}
        self._refused: set[_Key] = set()
        self._followed: dict[str, _Followed] = {}
        self._watched: dict[int, tuple[str, str]] = {}
        self._unwatched: set[str] = set()
        self._walked_ms = 0
        self._descriptors_left = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _LEFT_FOR_OTHERS, _KEPT_MAX)
        self._inotify: Inotify | None = None
        self._tree: CgroupTree | None = None
        self._hierarchy: Hierarchy | None = None
        if wanted.scopes:
            self._open_cgroups(proc, sys)

    @property
    def paths(self) -> Iterable[str]:
        """All cgroups there are, as far down as some may be in a scope."""
        return () if self._tree is None else self._tree.paths

    @property
    def is_blind(self) -> bool:
        """Is something to be told of which the kernel does not tell here?"""
        is_untold = self._tree is not None and not self._tree.is_watched
        return bool(self._refused or self._unwatched) or is_untold

    def register(self, poll: select.poll) -> None:
        """Have this poll() wait for what is here, now and later."""
        self._poll = poll
        for fd in self._key_of:
            poll.register(fd, EVENTS)
        if self._inotify is not None:
            poll.register(self._inotify.fd, select.POLLIN)

    def owns(self, fd: int) -> bool:
        """Is it one of the registered descriptors?"""
        return fd in self._key_of or (self._inotify is not None and fd == self._inotify.fd)

    def take(self, fd: int, events: int) -> bool:
        """poll() has said this of one of ours: is it a reason to look?"""
        if fd in self._key_of:
            if events & (select.POLLERR | select.POLLNVAL):  # the cgroup is gone; the event would never end
                self._disarm(self._key_of[fd])
                return False
            return True
        return self._take_inotify()

    def follow(self, paths: Iterable[str]) -> None:
        """Read these cgroups from now on, and no others."""
        wanted = set(paths) - {MACHINE}
        for path in [path for path in self._followed if path not in wanted]:
            self._leave(path)
        for path in wanted:
            if path not in self._followed:
                self._join(path)

    def arm(self, pressures: Iterable[PressureWatch], files: Iterable[FileWatch]) -> None:
        """Be told of these from now on. Triggers that are there stay: a wrong waking costs less than a new trigger."""
        for watch in pressures:
            key = (watch.scope, watch.resource, watch.kind)
            self._arm(key, Asked(cast(Kind, watch.kind), watch.stall_us, watch.window_us))
        for file in files:
            self._watch(file.scope, file.file)

    def read(self, at_ms: int) -> Readings:
        """All that is wanted. A cgroup that is gone, or cannot be read, is left out. Raises SourceError."""
        machine = self._machine.read()
        cgroups: dict[str, CgroupReading] = {}
        for path, followed in list(self._followed.items()):
            try:
                cgroups[path] = followed.reader.read()
            except GoneError:
                self._leave(path)
            except SourceError as error:
                self._note(str(error))
        if self._tree is not None and self._is_to_be_walked(self._tree, at_ms):
            self._walked_ms = at_ms
            self.generation += self._tree.walk()
            self._note_what_is_unwatched()
        return Readings(at_ms, machine, cgroups)

    def close(self) -> None:
        """Let go of everything."""
        self.follow(())
        for key in list(self._triggers):
            self._disarm(key)
        self._machine.close()
        if self._tree is not None:
            self._tree.close()
        if self._inotify is not None:
            if self._poll is not None:
                self._poll.unregister(self._inotify.fd)
            self._inotify.close()

    def _open_cgroups(self, proc: Path, sys: Path) -> None:
        self._hierarchy = find_memory_hierarchy(proc, sys)
        if self._hierarchy is None:
            self._note("no memory controller is mounted: rules for cgroups are never judged")
            return
        try:
            self._inotify = Inotify()
        except OSError as error:
            self._note(f"inotify: {error.strerror}: cgroups are looked at once a second instead")
        self._tree = CgroupTree(self._hierarchy.directory, self._inotify, self._leads)
        self._note_what_is_unwatched()

    def _leads(self, path: str) -> bool:
        return any(leads_to(pattern, path) for pattern in self._wanted.scopes)

    def _is_to_be_walked(self, tree: CgroupTree, at_ms: int) -> bool:
        if tree.is_counted:
            return tree.is_stale()
        return not tree.is_watched and at_ms >= self._walked_ms + _WALK_EVERY_MS

    def _note_what_is_unwatched(self) -> None:
        if self._inotify is not None and self._tree is not None and not self._tree.is_watched:
            self._note(_NO_WATCHES.format("which cgroups there are is looked at"))

    def _take_inotify(self) -> bool:
        assert self._inotify is not None
        assert self._tree is not None
        is_told = False
        for happened in self._inotify.read():
            if happened.watch in self._watched:
                is_told |= bool(happened.mask & IN_MODIFY)
                if happened.mask & IN_IGNORED:
                    del self._watched[happened.watch]
                continue
            if self._tree.take(happened):
                self.generation += 1
            is_told |= bool(happened.mask & IN_Q_OVERFLOW)
        self._note_what_is_unwatched()
        return is_told

    def _join(self, path: str) -> None:
        if self._tree is None or self._hierarchy is None:
            return
        try:
            is_kept = self._descriptors_left > 0
            directory = self._tree.directory(path)
            reader = CgroupReader(directory, path, self._hierarchy.version, self._wanted.cgroup, is_kept)
        except GoneError:
            return
        except SourceError as error:
            self._note(str(error))
            return
        if not is_kept and reader.files:
            self._note(_NOT_KEPT)
        self._descriptors_left -= reader.descriptors
        self._followed[path] = _Followed(reader)

    def _leave(self, path: str) -> None:
        followed = self._followed.pop(path)
        self._descriptors_left += followed.reader.descriptors
        followed.reader.close()
        for watch in followed.watches.values():
            if self._watched.pop(watch, None) is not None and self._inotify is not None:
                self._inotify.remove(watch)
        self._unwatched.discard(path)
        for key in [key for key in self._triggers if key[0] == path]:
            self._disarm(key)
        self._refused = {key for key in self._refused if key[0] != path}

    def _watch(self, path: str, file: str) -> None:
        followed = self._followed.get(path)
        if followed is None or file in followed.watches or self._inotify is None or self._tree is None:
            return
        try:
            if len(self._watched) >= WATCHES_MAX:
                raise OSError(errno.ENOSPC, "a bound of our own")
            watch = self._inotify.add(f"{self._tree.directory(path)}/{file}", IN_MODIFY)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and self._hierarchy is not None and self._hierarchy.version == "v2":
                return  # it is gone, as the next look will see
            self._unwatched.add(path)  # v1 has no such file, or there are no more watches
            if not isinstance(error, FileNotFoundError):
                self._note(_NO_WATCHES.format("events of cgroups are looked at"))
            return
        followed.watches[file] = watch
        self._watched[watch] = (path, file)

    def _arm(self, key: _Key, asked: Asked) -> None:
        before = self._triggers.get(key)
        if (before is not None and before[0] == asked) or key in self._refused:
            return
        scope, name, _ = key
        if scope != MACHINE and before is None and len(self._triggers) >= TRIGGERS_MAX:
            self._note(
                f"more than {TRIGGERS_MAX} pressure triggers: the machine's pressure tells for the other cgroups"
            )
            self._arm((MACHINE, name, "some"), _FOR_THE_REST)
            return
        path = self._pressure_file(scope, name)
        trigger = None if path is None else best_trigger(path, asked, _within_two_seconds(asked))
        if trigger is None:
            if scope != MACHINE and path is not None and not Path(path).exists():
                return  # it is gone, as the next look will see
            self._refused.add(key)
            whose = "" if scope == MACHINE else " of cgroups"
            self._note(f"no triggers for the {name} pressure{whose} here: looking once a second instead")
            return
        if before is not None:
            self._disarm(key)
        self._triggers[key] = (asked, trigger)
        self._key_of[trigger.fd] = key
        if self._poll is not None:
            self._poll.register(trigger.fd, EVENTS)

    def _pressure_file(self, scope: str, name: str) -> str | None:
        if scope == MACHINE:
            return f"{self._proc}/pressure/{name}"
        if self._tree is None or self._hierarchy is None or self._hierarchy.version == "v1":
            return None
        return f"{self._tree.directory(scope)}/{name}.pressure"

    def _disarm(self, key: _Key) -> None:
        _, trigger = self._triggers.pop(key)
        del self._key_of[trigger.fd]
        if self._poll is not None:
            self._poll.unregister(trigger.fd)
        trigger.close()

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def _within_two_seconds(asked: Asked) -> Asked:
    """The same share of the window that everybody may have."""
    return Asked(asked.kind, asked.stall_us * UNPRIVILEGED_WINDOW_US // asked.window_us, UNPRIVILEGED_WINDOW_US)
