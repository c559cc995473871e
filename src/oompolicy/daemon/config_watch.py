"""The files that a configuration is made of, watched: has one of them changed, and is the change over?

Belongs here: which folders tell of it, waiting until nobody writes any more. Must not know: what is in the files, how a
reload is done.

Folders are watched, not files: editors and package managers write another file and rename it over the old one. What an
event says is not believed: the files are compared with what they were when they were read last.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from oompolicy.sources.inotify import (
    IN_ATTRIB,
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_IGNORED,
    IN_MOVE_SELF,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_ONLYDIR,
    IN_Q_OVERFLOW,
    Happened,
    Inotify,
)

# A change is over when nothing has happened for so long; who never stops writing is read now and then.
QUIET_MS: Final = 200
AT_MOST_MS: Final = 2_000

_OF_FILES: Final = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB
_OF_THE_FOLDER: Final = IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED
_MASK: Final = _OF_FILES | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR
_ANY_DROP_IN: Final = "*.toml"
_LINKS_MAX: Final = 40  # MAXSYMLINKS, include/linux/namei.h

_State = tuple[int, ...] | None  # of a file; None where it is not there


class ConfigWatch:
    """Open until close(). fd is for poll(); due_ms is when to ask is_changed()."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Raises OSError where the kernel gives no inotify."""
        self._inotify = Inotify()
        self._say = say
        self._main: Path | None = None
        self._python: tuple[Path, ...] = ()
        self._names: dict[int, set[str]] = {}  # by the number of the watch: which names in its folder count
        self._known: dict[Path, _State] = {}
        self._first_ms: int | None = None
        self._is_gone = False
        self._is_short = False
        self.due_ms: int | None = None

    @property
    def fd(self) -> int:
        """Readable when something has happened in a folder."""
        return self._inotify.fd

    def follow(self, main: Path | None, python: Iterable[Path]) -> None:
        """From now on it is made of this file with its drop-ins, and of these Python files; None: do not watch.

        What was read of files that are followed already is still compared with.
        """
        if main != self._main:
            self._main, self._known = main, self._config_files(main)
        self.follow_python(python)

    def follow_python(self, python: Iterable[Path]) -> None:
        """The same configuration names these Python files now."""
        before, self._python = self._python, tuple(python)
        kept = {path: state for path, state in self._known.items() if path not in before}
        self._known = kept | {path: self._known.get(path, _state(path)) for path in self._python}
        self._aim()

    def read(self) -> None:
        """It is read anew now: that is what later changes are compared with."""
        self._known = self._now()
        self._is_gone = False

    def take(self, now_ms: int) -> None:
        """poll() has said that there is something."""
        try:
            is_told = any(self._counts(happened) for happened in self._inotify.read())
        except OSError:
            is_told = True
        if is_told:
            if self._first_ms is None:
                self._first_ms = now_ms
            self.due_ms = min(now_ms + QUIET_MS, self._first_ms + AT_MOST_MS)

    def is_changed(self) -> bool:
        """Is it another configuration than the one that was read last? A main file that is gone is waited for."""
        self._first_ms = self.due_ms = None
        self._aim()
        now = self._now()
        if self._main is not None and self._known.get(self._main) is not None and now[self._main] is None:
            if not self._is_gone:
                self._say(f"{self._main} is gone: what it said stays in force until it is back, or until SIGHUP")
            self._is_gone = True
            return False
        return now != self._known

    def close(self) -> None:
        """Watch nothing any more."""
        self._inotify.close()

    def _now(self) -> dict[Path, _State]:
        return self._config_files(self._main) | {path: _state(path) for path in self._python}

    @staticmethod
    def _config_files(main: Path | None) -> dict[Path, _State]:
        return {} if main is None else {path: _state(path) for path in (main, *_drop_ins(main))}

    def _counts(self, happened: Happened) -> bool:
        names = self._names.get(happened.watch)
        if names is None:
            return bool(happened.mask & IN_Q_OVERFLOW)
        if happened.mask & _OF_THE_FOLDER:
            return True
        name = os.fsdecode(happened.name)
        return name in names or (_ANY_DROP_IN in names and _is_drop_in(name))

    def _aim(self) -> None:
        """Watch the folders that can tell, as they are now."""
        wanted: dict[str, set[str]] = {}
        if self._main is not None:
            folder = _folder_of_drop_ins(self._main)
            paths = (self._main, folder, *_drop_ins(self._main), *self._python)
            for path in paths:
                for at, name in _on_the_way(path):
                    wanted.setdefault(at, set()).add(name)
            if folder.is_dir():
                wanted.setdefault(os.path.realpath(folder), set()).add(_ANY_DROP_IN)
        names: dict[int, set[str]] = {}
        for at, found in wanted.items():
            try:
                names.setdefault(self._inotify.add(at, _MASK), set()).update(found)
            except OSError as error:
                self._cannot(at, error)
        for watch in self._names.keys() - names.keys():
            self._inotify.remove(watch)
        self._names = names

    def _cannot(self, folder: str, error: OSError) -> None:
        if not self._is_short and not isinstance(error, FileNotFoundError):
            self._is_short = True
            self._say(f"{folder} cannot be watched ({error.strerror}): what changes there counts from SIGHUP on")


def _folder_of_drop_ins(main: Path) -> Path:
    return main.with_name(f"{main.name}.d")


def _drop_ins(main: Path) -> list[Path]:
    folder = _folder_of_drop_ins(main)
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if _is_drop_in(name)]
    except OSError:
        return []


def _is_drop_in(name: str) -> bool:
    """As config/load.py has it, which a daemon's process does not load."""
    return name.endswith(".toml") and not name.startswith(".")


def _state(path: Path) -> _State:
    """What tells one content from another, and whether it may be trusted."""
    try:
        found = os.stat(path)  # noqa: PTH116 - one step, whatever the path is
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode, found.st_uid


def _on_the_way(path: Path) -> Iterator[tuple[str, str]]:
    """Each folder with the name in it whose change makes the path lead elsewhere: symbolic links, and the end.

    Where something on the way is not there, that is the end.
    """
    at, names, links = "/", [*reversed(path.absolute().parts)], 0
    while names and links <= _LINKS_MAX:
        name = names.pop()
        if name in ("/", "", "."):
            continue
        if name == "..":
            at = os.path.dirname(at)  # noqa: PTH120 - a text: at has no links in it
            continue
        here = f"{at.rstrip('/')}/{name}"
        try:
            mode = os.lstat(here).st_mode
            target = os.readlink(here) if stat.S_ISLNK(mode) else None  # noqa: PTH115
        except OSError:
            yield at, name
            return
        if target is not None:
            yield at, name
            links += 1
            names += reversed(target.split("/"))
            at = "/" if target.startswith("/") else at
        elif names:
            at = here
        else:
            yield at, name
