"""Where the memory controller's hierarchy is mounted, and where in it a process is.

Belongs here: mountinfo, /proc/PID/cgroup, cgroup namespaces. Must not know: what the files of a cgroup say.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from oompolicy.errors import GoneError, SourceError

# The file that a cgroup has if it has the memory controller; on v2 the root has it without the file.
USAGE_FILE: Final = {"v1": "memory.usage_in_bytes", "v2": "memory.current"}

_ESCAPE = re.compile(rb"\\([0-7]{3})")  # mangle(), fs/proc_namespace.c: space, tab, newline, backslash


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted cgroup hierarchy that has the memory controller.

    directory is where its files are. mount_root is the cgroup that is mounted there, as /proc/PID/cgroup would
    name it: "/" but for containers, "/.." and so on where it is above the reader's cgroup namespace.
    """

    directory: Path
    version: Literal["v1", "v2"]
    mount_root: str = "/"

    def path_of(self, proc_cgroup: bytes) -> str | None:
        """The path below directory ("/" for itself) of a /proc/PID/cgroup; None where it is outside.

        Not every path is a memcg: on v2 a cgroup may be without the memory controller, and one that was removed
        under a zombie ends in " (deleted)".
        """
        for line in proc_cgroup.split(b"\n"):
            number, _, rest = line.partition(b":")
            controllers, _, path = rest.partition(b":")
            wanted = (
                number == b"0" and not controllers if self.version == "v2" else b"memory" in controllers.split(b",")
            )
            if wanted:
                return self._below_mount(path.decode("utf-8", "surrogateescape"))
        return None

    def _below_mount(self, path: str) -> str | None:
        """A path as the reader's cgroup namespace shows it, from the mount's root instead.

        cgroup_path_ns_locked(), kernel/cgroup/cgroup.c, writes "/.." for each step up from the namespace's root.
        Where the mount begins above that root, only a path that goes up as far can be told: what lies between has
        no name here.
        """
        root_up, root_rest = _steps_up(self.mount_root)
        up, rest = _steps_up(path)
        if up != root_up:
            return None
        if rest != root_rest and not rest.startswith(root_rest.rstrip("/") + "/"):
            return None
        return rest[len(root_rest.rstrip("/")) :] or "/"


def _steps_up(path: str) -> tuple[int, str]:
    """How often a path goes up, and what is left of it.

    >>> _steps_up("/../../a"), _steps_up("/a"), _steps_up("/..")
    ((2, '/a'), (0, '/a'), (1, '/'))
    """
    up = 0
    while path == "/.." or path.startswith("/../"):
        up, path = up + 1, path[3:] or "/"
    return up, path


def find_memory_hierarchy(proc: Path, sys: Path) -> Hierarchy | None:
    """The hierarchy of the memory controller; None where there is none to be seen.

    Mounts below /sys are looked for below sys. On a hybrid machine the controller is in one of the two: v1 where a
    v1 hierarchy has it, v2 otherwise.
    """
    found: list[Hierarchy] = []
    for root, mount_point, fs_type, options in _mounts(proc):
        directory = sys / mount_point[len("/sys/") :] if mount_point.startswith("/sys/") else Path(mount_point)
        if fs_type == "cgroup" and "memory" in options.split(","):
            found.append(Hierarchy(directory, "v1", root))
        if fs_type == "cgroup2" and _has_memory_controller(directory):
            found.append(Hierarchy(directory, "v2", root))
    # The same hierarchy may be mounted again in part, as container runtimes do: the whole one is wanted.
    found.sort(key=lambda hierarchy: (hierarchy.version, len(hierarchy.mount_root)))
    return next((hierarchy for hierarchy in found if hierarchy.directory.is_dir()), None)


def _mounts(proc: Path) -> list[tuple[str, str, str, str]]:
    """Root, mount point, type and superblock options of each mount of this process's namespace."""
    try:
        text = (proc / "self" / "mountinfo").read_bytes()
    except OSError:
        return []
    mounts: list[tuple[str, str, str, str]] = []
    for line in text.splitlines():
        fields, separator, rest = line.partition(b" - ")
        words, super_words = fields.split(b" "), rest.split(b" ")
        if separator and len(words) >= 5 and len(super_words) >= 3:
            root, mount_point, fs_type, options = map(_unescape, (words[3], words[4], super_words[0], super_words[2]))
            mounts.append((root, mount_point, fs_type, options))
    return mounts


def _unescape(word: bytes) -> str:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), word).decode("utf-8", "surrogateescape")


def _has_memory_controller(directory: Path) -> bool:
    try:
        return b"memory" in (directory / "cgroup.controllers").read_bytes().split()
    except OSError:
        return False


def cgroup_directory(cgroup: str, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> Path:
    """The directory of a memory cgroup, named by its path from the root or by the directory itself.

    Raises GoneError where there is no such cgroup, SourceError where there is no memory controller, on the machine
    or in this cgroup.
    """
    hierarchy = find_memory_hierarchy(proc, sys)
    if hierarchy is None:
        raise SourceError("the memory controller", "no cgroup hierarchy with it is mounted", "see `oompolicy doctor`")
    named = Path(os.path.normpath("/" + cgroup.strip("/")))
    directory = hierarchy.directory / named.relative_to("/")
    if not directory.is_dir() and named.is_relative_to(hierarchy.directory):
        directory = named
    if not directory.is_dir():
        raise GoneError(f"cgroup {cgroup}", "does not exist here", "name it from the root, like /system.slice")
    if directory != hierarchy.directory and not (directory / USAGE_FILE[hierarchy.version]).exists():
        why = "has no memory controller: its processes count as those of a cgroup above it"
        raise SourceError(f"cgroup {cgroup}", why, "name that one, or enable it (cgroup.subtree_control)")
    return directory
