"""A cgroup tree, made from its description and removed again.

Belongs here: folders and files of cgroup v2, and the values of cgroups. Must not know: processes, what runs out.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from oompolicy.sources.cgroup_value import set_value

from lab.world import Cgroup

MOUNT = Path("/sys/fs/cgroup")
REMOVING_S = 5.0  # a process that has ended is charged to its cgroup for a moment


def directory(path: str) -> Path:
    """The folder of a cgroup."""
    return MOUNT / path.lstrip("/")


def make(tree: Mapping[str, Cgroup]) -> list[str]:
    """Make the cgroups, those above them too, and write their files; the paths that were made, parents first."""
    above = {str(parent) for path in tree for parent in PurePosixPath(path).parents} - {"/"}
    paths = sorted({*tree, *above})
    for path in paths:
        directory(path).mkdir(exist_ok=True)
        if path in above:  # who has nothing below it may hold processes, and then cannot share out a controller
            (directory(path) / "cgroup.subtree_control").write_text("+memory")
        cgroup = tree.get(path, Cgroup())
        for file, value in cgroup.memory.files():
            (directory(path) / file).write_text(value)
        if cgroup.value is not None:
            set_value(path, cgroup.value)
    return paths


def remove(paths: list[str]) -> None:
    """Kill who is still in the cgroups and remove them, children first; what cannot be emptied in a while stays."""
    deadline = time.monotonic() + REMOVING_S
    for path in reversed(paths):
        with contextlib.suppress(OSError):  # since v5.14
            (directory(path) / "cgroup.kill").write_text("1")
        while directory(path).exists() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                directory(path).rmdir()
                break
            time.sleep(0.005)
