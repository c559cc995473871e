"""Users at a desktop: who has a session, and what a command of theirs needs to find it.

Belongs here: /run/user. Must not know: what they are told, how a command becomes another user's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class User:
    """As whom a command runs, where not as the daemon does."""

    uid: int
    gid: int


def desktop_sessions(run_user: Path = Path("/run/user")) -> list[tuple[User, dict[str, str]]]:
    """Who has a session bus, and the environment in which it is found."""
    found = []
    try:
        names = os.listdir(run_user)
    except OSError:
        return []
    for name in sorted(names):
        bus = run_user / name / "bus"
        try:
            owner = bus.lstat()
        except OSError:
            continue
        if name.isdecimal() and owner.st_uid == int(name):
            env = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}", "XDG_RUNTIME_DIR": str(run_user / name)}
            found.append((User(owner.st_uid, owner.st_gid), env))
    return found
