"""Keeping an attachment in force without a process: our folder in a bpf file system, and who may use it.

Belongs here: names below /sys/fs/bpf/oompolicy, taking over, replacing, removing. Must not know: what the maps hold.

One folder a layout and a digest of the programs. A folder gets its name when all in it is pinned, so one that has it is
whole. Nothing outside of our own folder is touched.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final, NamedTuple

from oompolicy.backends.hook.abi import LAYOUT, SLOTS
from oompolicy.backends.hook.attachment import PROGRAMS, Attachment, Maps, attach, digest
from oompolicy.backends.hook.control import Control
from oompolicy.backends.hook.target import Target
from oompolicy.bpf.errors import BpfError
from oompolicy.bpf.links import Link
from oompolicy.bpf.map_kinds import MapOfMaps, MappedArray, ProgramArray
from oompolicy.bpf.maps import Map
from oompolicy.bpf.pins import USUAL_MOUNT, bpffs_mounts, make_folder, mount_bpffs, open_pinned, pin, unpin
from oompolicy.errors import BackendError, PrivilegeError

FOLDER: Final = USUAL_MOUNT / "oompolicy"
WHOLE: Final = "set-"
_UNFINISHED: Final = "new-"


class Taken(NamedTuple):
    """An attachment that is pinned, in its folder; replaced are those of others that are in force beside it."""

    attachment: Attachment
    path: Path
    was_there: bool
    replaced: tuple[Path, ...]


class Lock:
    """One daemon at a time works with the pins; the kernel forgets a lock with its holder."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._fd: int | None = None

    def take(self) -> None:
        """Make the folder if need be. Raises BackendError where a daemon is at work, PrivilegeError for others."""
        prepare(self._folder)
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise BackendError(
                "hook", "a daemon has it", "stop that one first: SIGTERM makes it put back and detach"
            ) from None
        self._fd = fd

    def release(self) -> None:
        """Let others have it; a second time does nothing."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def prepare(folder: Path = FOLDER) -> None:
    """Our folder, which only root enters, in a bpf file system that is mounted if need be."""
    if os.geteuid() != 0:
        raise PrivilegeError("hook", "needs root to attach to the kernel", "run it as root")
    if folder.parent == USUAL_MOUNT and USUAL_MOUNT not in bpffs_mounts():
        mount_bpffs(USUAL_MOUNT)
    make_folder(folder)
    folder.chmod(0o700)


def take(target: Target, folder: Path = FOLDER) -> Taken:
    """What is pinned already where it is of our layout, else a new attachment, pinned.

    Raises BpfError where a program is refused: what was in force stays so. Others' folders are the caller's to remove,
    when the new one has something to say.
    """
    mine = folder / f"{WHOLE}{LAYOUT}-{digest(target)}"
    others = tuple(path for path in sets(folder) if path != mine)
    if mine.is_dir():
        with contextlib.suppress(BpfError):
            return Taken(adopt(mine), mine, True, others)
        remove(mine)
    attachment = attach(target)
    try:
        _pin_all(attachment, folder / f"{_UNFINISHED}{os.getpid()}", mine)
    except BaseException:
        attachment.close()
        raise
    return Taken(attachment, mine, False, others)


def adopt(path: Path) -> Attachment:
    """Open what is pinned in a folder. Raises BpfError where something is missing."""
    with contextlib.ExitStack() as stack:
        maps = _enter_maps(stack, path)
        links = {name: stack.enter_context(open_pinned(path / name, Link)) for name in PROGRAMS}
        attachment = Attachment(maps, links)
        stack.pop_all()
    return attachment


def open_maps(path: Path) -> Attachment:
    """The maps alone of an attachment that goes, to read what is in them. Raises BpfError where ours are others."""
    if not path.name.startswith(f"{WHOLE}{LAYOUT}-"):
        raise BpfError(path, "its maps have another layout")
    with contextlib.ExitStack() as stack:
        attachment = Attachment(_enter_maps(stack, path), {})
        stack.pop_all()
    return attachment


def _enter_maps(stack: contextlib.ExitStack, path: Path) -> Maps:
    return Maps(
        stack.enter_context(open_pinned(path / "control", MappedArray)),
        stack.enter_context(open_pinned(path / "generation", MapOfMaps)),
        stack.enter_context(open_pinned(path / "history", MappedArray)),
        stack.enter_context(open_pinned(path / "names", Map)),
        stack.enter_context(open_pinned(path / "policies", ProgramArray)),
        stack.enter_context(open_pinned(path / "faults", Map)),
        stack.enter_context(open_pinned(path / "bell", Map)),
    )


def sets(folder: Path = FOLDER) -> list[Path]:
    """The folders of attachments, whole or not; none where there is no such folder, or it is not ours to see."""
    try:
        return sorted(path for path in folder.iterdir() if path.name.startswith((WHOLE, _UNFINISHED)))
    except OSError:
        return []


def in_force(folder: Path = FOLDER) -> Path | None:
    """The folder of the attachment in force, None where there is none."""
    return next((path for path in sets(folder) if path.name.startswith(WHOLE)), None)


def open_control(path: Path) -> Control:
    """The words of an attachment; the caller closes them. Raises BpfError where they are not ours to see."""
    with open_pinned(path / "control", MappedArray) as mapped:
        return Control(mapped)


def remove(path: Path) -> None:
    """Take the pins of one attachment away; it ends where nobody else holds it. The answering program goes first."""
    with contextlib.suppress(BpfError), open_pinned(path / "policies", ProgramArray) as policies:
        for slot in range(SLOTS):  # at once, where the map's own end would leave it to a worker
            policies.clear(slot)
    unpin(path / "score")
    with contextlib.suppress(OSError):
        for name in os.listdir(path):
            unpin(path / name)
    try:
        path.rmdir()
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise BpfError(path, f"cannot be removed: {error.strerror}", errno=error.errno) from None


def remove_all(folder: Path = FOLDER) -> int:
    """All attachments, and our folder; how many there were."""
    found = sets(folder)
    for path in found:
        remove(path)
    with contextlib.suppress(FileNotFoundError, OSError):
        folder.rmdir()
    return len(found)


def _pin_all(attachment: Attachment, unfinished: Path, path: Path) -> None:
    if unfinished.is_dir():
        remove(unfinished)
    make_folder(unfinished)
    try:
        for name, each in attachment.maps.by_name().items():
            pin(each, unfinished / name)
        for name, link in attachment.links.items():
            pin(link, unfinished / name)
        unfinished.rename(path)
    except BaseException:
        remove(unfinished)
        raise
