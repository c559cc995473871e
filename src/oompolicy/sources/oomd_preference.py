"""What systemd-oomd and oomd are told by extended attributes of cgroups: to spare one, or to take it first.

Belongs here: their names, their form, whose word counts. Must not know: what is done with a preference.

    user.oomd_omit    never              systemd (ManagedOOMPreference=omit)
    user.oomd_avoid   last               systemd (ManagedOOMPreference=avoid), oomd
    user.oomd_prefer  first              oomd
    trusted.oomd_*    the same, by root  oomd

As in systemd-oomd (oomd_fetch_cgroup_oom_preference(), src/oom/oomd-util.c), who does not own what is being weighed
has no say in it: user.* that spares counts in a cgroup of root, and in one that belongs to whom the scope belongs to;
then all that compete in that scope are that user's own. So a cgroup that was delegated cannot raise itself above what
its parent was given. To be taken first is nobody's loss but one's own, so user.oomd_prefer counts for everybody, as
in oomd (sortDescWithKillPrefs(), OomdContext).

In one cgroup OMIT goes before AVOID (systemd), and PREFER before both (oomd, docs/core_plugins.md). Those tools weigh
cgroups and look at the cgroup itself alone; here processes are weighed, so the nearest cgroup of a process that says
something counts, from its own up to the scope.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from oompolicy.rules.preference import Preference, Preferences
from oompolicy.sources.cgroup_mount import Hierarchy
from oompolicy.sources.cgroup_value import only_root_writes

# The first that is there and counts is the cgroup's.
_NAMES: Final = (("oomd_prefer", Preference.PREFER), ("oomd_omit", Preference.OMIT), ("oomd_avoid", Preference.AVOID))
# What parse_boolean(), src/basic/parse-util.c of systemd, takes for false; oomd takes any text for a yes.
_NO: Final = frozenset({b"0", b"no", b"n", b"false", b"f", b"off"})
_NOT_THERE: Final = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.ENOENT, errno.ENODEV, errno.EPERM, errno.EACCES})


def read_preferences(hierarchy: Hierarchy, scope: str, paths: Iterable[str]) -> Preferences:
    """The preference of each of these cgroups, which are in the scope ("/": the machine), where it has one.

    What has gone, or cannot be read, has none.
    """
    scope = "/" + scope.strip("/")
    owner = _owner(_directory(hierarchy, scope))
    known: dict[str, Preference] = {}
    return {
        path: found
        for path in paths
        if (found := _nearest(hierarchy, scope, owner, path, known)) is not Preference.NONE
    }


def _nearest(
    hierarchy: Hierarchy, scope: str, owner: int | None, path: str, known: dict[str, Preference]
) -> Preference:
    """Of the cgroup, or of the nearest above it up to the scope that has one."""
    if path not in known:
        found = _own(_directory(hierarchy, path), owner)
        if found is Preference.NONE and path not in (scope, "/"):
            found = _nearest(hierarchy, scope, owner, path.rpartition("/")[0] or "/", known)
        known[path] = found
    return known[path]


def _own(directory: Path, owner_of_scope: int | None) -> Preference:
    try:
        status = directory.stat()
    except OSError:
        return Preference.NONE
    # A directory of root that others can write in is not root's word.
    is_heard = only_root_writes(status) or (status.st_uid != 0 and status.st_uid == owner_of_scope)
    for name, preference in _NAMES:
        if _is_set(directory, f"trusted.{name}"):
            return preference
        if (is_heard or preference is Preference.PREFER) and _is_set(directory, f"user.{name}"):
            return preference
    return Preference.NONE


def _is_set(directory: Path, name: str) -> bool:
    try:
        return os.getxattr(directory, name).strip(b"\0 \n").lower() not in _NO
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        raise


def _owner(directory: Path) -> int | None:
    try:
        return directory.stat().st_uid
    except OSError:
        return None


def _directory(hierarchy: Hierarchy, path: str) -> Path:
    return hierarchy.directory / path.lstrip("/")
