"""notify = ["desktop"]: notify-send, as each user who has a session bus, with what was done.

Belongs here: a daemon that tells the sessions of a made-up /run/user. Must not know: D-Bus, what a desktop shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.kill.arena import Arena, arena_in, memory_hierarchy
from daemon.killer import killer, rule, too_big, until, with_mounts

pytestmark = pytest.mark.root

# In notify-send's place, where the helper looks first: who it is, how it finds the bus, what it is to show.
NOTIFY_SEND = """#!/bin/sh
{
    id -u; id -g
    for word in "$DBUS_SESSION_BUS_ADDRESS" "$XDG_RUNTIME_DIR" "$@"; do echo "$word"; done
} > FOLDER/$(id -u).new
mv FOLDER/$(id -u).new FOLDER/$(id -u)
"""


@pytest.fixture
def arena() -> Iterator[Arena]:
    with arena_in(memory_hierarchy()) as arena:
        yield arena


def test_each_user_with_a_session_is_told_as_himself(arena: Arena, trusted_folder: Path) -> None:
    shown = trusted_folder / "shown"
    shown.mkdir()
    shown.chmod(0o777)
    trusted_folder.chmod(0o755)
    (trusted_folder / "notify-send").write_text(NOTIFY_SEND.replace("FOLDER", str(shown)))
    (trusted_folder / "notify-send").chmod(0o755)
    mounts = ["mkdir -p /run/user", "mount -t tmpfs -o mode=755 tmpfs /run/user"]
    for uid in (61001, 61002):
        mounts += [f"mkdir /run/user/{uid}", f"touch /run/user/{uid}/bus"]
        mounts += [f"chown -R {uid}:{uid} /run/user/{uid}"]
    mounts += ["mkdir /run/user/61003", "chown 61003 /run/user/61003"]  # no bus: nobody to be told
    mounts += ["mount -t tmpfs -o mode=755 tmpfs /usr/local/sbin", f"cp {trusted_folder}/notify-send /usr/local/sbin"]
    row = rule("big", f"{arena.scope}/*", 'action = "kill"\nnotify = ["desktop"]')
    with killer(trusted_folder, row, prefix=with_mounts(*mounts)) as daemon:
        worker = too_big(arena)
        until(worker.was_killed)
        until(lambda: len([each for each in shown.iterdir() if each.suffix == ""]) == 2, 20, lambda: daemon.log)
        daemon.stop()
    for uid in (61001, 61002):
        session = f"/run/user/{uid}"
        told = ["--app-name=oompolicy", "--urgency=critical", "--", "big", f"killed big ({worker.pid})"]
        assert (shown / str(uid)).read_text().splitlines() == [
            str(uid), str(uid), f"unix:path={session}/bus", session, *told,
        ]  # fmt: skip


def test_where_nobody_has_a_session_it_is_said(arena: Arena, trusted_folder: Path) -> None:
    """As under the unit file without its drop-in: ProtectHome= hides /run/user."""
    mounts = ["mkdir -p /run/user", "mount -t tmpfs -o mode=755 tmpfs /run/user"]
    row = rule("big", f"{arena.scope}/*", 'action = "kill"\nnotify = ["desktop"]')
    with killer(trusted_folder, row, prefix=with_mounts(*mounts)) as daemon:
        worker = too_big(arena)
        until(worker.was_killed)
        daemon.until_said("notify: nobody who is to be seen from here has a session bus")
        daemon.stop()
