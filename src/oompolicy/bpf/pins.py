"""Pins: names in a bpf file system that keep maps, programs and links alive when their process is gone.

Belongs here: pinning, opening, replacing, and where such a file system is mounted. Must not know: which names are used.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from pathlib import Path
from typing import Final, TypeVar

from oompolicy.bpf.attributes import ObjPin, c_string
from oompolicy.bpf.errors import BpfError
from oompolicy.bpf.links import Link
from oompolicy.bpf.maps import Map
from oompolicy.bpf.programs import Program
from oompolicy.bpf.syscall import bpf, bpf_fd
from oompolicy.bpf.uapi import Command

USUAL_MOUNT: Final = Path("/sys/fs/bpf")
Pinnable = Map | Program | Link
PinnableT = TypeVar("PinnableT", bound=Pinnable)
_MOUNT_FLAGS: Final = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC  # the same bits as MS_*
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


def pin(thing: Pinnable, path: Path) -> None:
    """Give it a name, which must be free, in a folder of a bpf file system that is there. Raises BpfError."""
    bpf(Command.OBJ_PIN, ObjPin(pathname=c_string(os.fspath(path)), bpf_fd=thing.fileno()), path)


def repin(thing: Pinnable, path: Path) -> None:
    """Give it a name in one step, whether or not the name was something else's. Raises BpfError.

    What had the name ends here, unless it is held elsewhere.
    """
    temporary = path.with_name(f"{path.name}-new-{os.getpid()}")  # bpffs allows no dot in a name
    pin(thing, temporary)
    try:
        temporary.replace(path)
    except OSError as error:
        unpin(temporary)
        raise BpfError(path, f"cannot be replaced: {error.strerror}", errno=error.errno) from None


def open_pinned(path: Path, kind: type[PinnableT]) -> PinnableT:
    """The Map (or a subclass), Program or Link of a name. Raises BpfError where there is none, or another thing."""
    fd = bpf_fd(Command.OBJ_GET, ObjPin(pathname=c_string(os.fspath(path))), path)
    return kind(fd)


def unpin(path: Path) -> bool:
    """Take the name away; False where there was none. Raises BpfError.

    Where nothing else holds it, it ends a moment later and not with this call: bpf_link_put() leaves that to RCU and
    a worker. Closing the last descriptor of a link that has no name ends it at once.
    """
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise BpfError(path, f"cannot be unpinned: {error.strerror}", errno=error.errno) from None
    return True


def bpffs_mounts(mountinfo: Path = Path("/proc/self/mountinfo")) -> list[Path]:
    """Where bpf file systems are mounted in this mount namespace, in order of mounting."""
    mounts = []
    for line in mountinfo.read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")  # the number of fields before the dash varies, proc(5)
        if after.split(" ", 1)[0] == "bpf":
            mounts.append(Path(_ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), before.split(" ")[4])))
    return mounts


def mount_bpffs(folder: Path = USUAL_MOUNT) -> None:
    """Mount one, readable by root alone. Raises BpfError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(folder), b"bpf", ctypes.c_ulong(_MOUNT_FLAGS), b"mode=0700") != 0:
        number = ctypes.get_errno()
        hint = "needs root, and the folder must be there"
        raise BpfError(folder, f"no bpf file system can be mounted: {os.strerror(number)}", hint, number)


def make_folder(path: Path) -> None:
    """A folder for pins that only root enters, if it is not there yet. Raises BpfError."""
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
    except OSError as error:
        raise BpfError(path, f"cannot be made: {error.strerror}", errno=error.errno) from None
