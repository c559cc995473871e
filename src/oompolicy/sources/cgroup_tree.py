"""Which cgroups there are, kept up to date by being told of those that are made and removed.

Belongs here: walking a hierarchy's directories, watching them. Must not know: what is in the files of a cgroup.

Only folders are watched and listed below which a scope may be: for "/user.slice/*" two of them, however many others
there are.

A cgroup that is made through another mount of the hierarchy (a container's own cgroup namespace has one, with inodes
of its own) tells nobody here: cgroup.stat of the root counts all, and a count that does not fit asks for a new walk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from oompolicy.sources.inotify import (
    IN_CREATE,
    IN_DELETE,
    IN_IGNORED,
    IN_ISDIR,
    IN_ONLYDIR,
    IN_Q_OVERFLOW,
    Happened,
    Inotify,
)
from oompolicy.sources.kept_file import KeptFile, number_of

# A watch holds about 1 KiB of the kernel's memory, the inode of the cgroup included.
WATCHES_MAX: Final = 16_384

_WATCHED: Final = IN_CREATE | IN_DELETE | IN_ONLYDIR


class CgroupTree:
    """The paths of cgroups below a root, "/" included, as far down as leads() says that there may be some of interest.

    inotify is shared: feed it what it says by take().
    """

    def __init__(
        self, root: Path | str, inotify: Inotify | None, leads: Callable[[str], bool] = lambda path: True
    ) -> None:
        """Walk it. Without inotify, or where watches run out (is_watched), only a new walk shows what is new."""
        self._root = os.fspath(root)
        self._leads = leads
        self._inotify = inotify
        self.is_watched = inotify is not None
        self.paths: set[str] = set()
        self._by_watch: dict[int, str] = {}
        self._watch_of: dict[str, int] = {}
        self._stat = KeptFile(f"{self._root}/cgroup.stat")
        self._counted: int | None = None
        self.walk()

    def walk(self) -> bool:
        """Find all anew; what was missed is made up for. Was there anything?"""
        before, found = set(self.paths), set(self._below("/"))
        for path in before - found:
            self._forget(path)
        self.paths = found
        self._counted = self._count()
        return found != before

    def take(self, happened: Happened) -> bool:
        """Believe one event; does it change which cgroups there are?"""
        if happened.mask & IN_Q_OVERFLOW:
            return self.walk()
        path = self._by_watch.get(happened.watch)
        if path is None:
            return False
        if happened.mask & IN_IGNORED:  # the directory is gone, and the watch with it
            self._by_watch.pop(happened.watch, None)
            self._watch_of.pop(path, None)
            return False
        if not happened.mask & IN_ISDIR:
            return False
        child = path.rstrip("/") + "/" + os.fsdecode(happened.name)
        if happened.mask & IN_CREATE:
            self.paths.update(self._below(child))
        else:
            for gone in self._gone_with(child):
                self._forget(gone)
        self._counted = self._count()
        return True

    def is_stale(self) -> bool:
        """Has somebody made or removed cgroups unseen? One read; True only where that is known."""
        return self._counted is not None and self._count() != self._counted

    @property
    def is_counted(self) -> bool:
        """Is it known how many there are? cgroup v1 does not say."""
        return self._counted is not None

    def directory(self, path: str) -> str:
        """Where the files of a cgroup are."""
        return self._root + path if path != "/" else self._root

    def _gone_with(self, path: str) -> list[str]:
        """A cgroup that goes has none below it any more, and each of them has told so, if it was watched."""
        if self.is_watched:
            return [path]
        return [each for each in self.paths if each == path or each.startswith(path + "/")]

    def _count(self) -> int | None:
        try:
            text = self._stat.read()
        except OSError:
            return None
        return None if text is None else number_of(b"\n" + text, b"\nnr_descendants ")

    def _below(self, top: str) -> Iterator[str]:
        """A cgroup and all below it. Each is watched before it is listed: what comes later is told of."""
        stack = [top]
        while stack:
            path = stack.pop()
            if not self._leads(path):
                yield path
                continue
            directory = self.directory(path)
            self._watch(path, directory)
            try:
                # A kernfs directory counts its subdirectories as links; 1 says that the file system does not.
                names = [] if Path(directory).stat().st_nlink == 2 else _subdirectories(directory)
            except OSError:
                self._forget(path)
                continue
            yield path
            stack.extend(path.rstrip("/") + "/" + name for name in names)

    def _watch(self, path: str, directory: str) -> None:
        if self._inotify is None or path in self._watch_of:
            return
        if len(self._watch_of) >= WATCHES_MAX:
            self.is_watched = False
            return
        try:
            watch = self._inotify.add(directory, _WATCHED)
        except OSError as error:
            self.is_watched = self.is_watched and isinstance(error, FileNotFoundError)
            return
        self._by_watch[watch] = path
        self._watch_of[path] = watch

    def _forget(self, path: str) -> None:
        self.paths.discard(path)
        watch = self._watch_of.pop(path, None)
        if watch is not None:
            self._by_watch.pop(watch, None)
            if self._inotify is not None:
                self._inotify.remove(watch)

    def close(self) -> None:
        """Let go of what is held; the watches go with their inotify."""
        self._stat.close()


def _subdirectories(directory: str) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
