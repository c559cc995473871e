"""The opaque value of a cgroup: an extended attribute of its directory.

Belongs here: its names, its form, whose word counts; reading, setting and removing it. Must not know: what it means.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import Final

from oompolicy.errors import GoneError, OompolicyError, PrivilegeError, SourceError
from oompolicy.mm.limits import LONG_MAX, LONG_MIN
from oompolicy.sources.cgroup_mount import cgroup_directory
from oompolicy.sources.kernel_file import is_gone

# trusted.*: only CAP_SYS_ADMIN sees or sets it (xattr_permission(), fs/xattr.c). user.*: anybody sees it, the
# directory's owner sets it; cgroups take it since commit 38aca3071c21 "cgroupfs: Support user xattrs" (in v5.7).
TRUSTED_NAME: Final = "trusted.oompolicy.value"
USER_NAME: Final = "user.oompolicy.value"

_DECIMAL = re.compile(rb"\s*([+-]?[0-9]{1,19})\s*", re.ASCII)
_NOT_THERE: Final = frozenset({errno.ENODATA, errno.EOPNOTSUPP})


class MalformedValueError(ValueError):
    """The attribute is there and counts, but is not a signed 64-bit decimal integer."""


def parse_value(text: bytes) -> int:
    """The integer of an attribute's text. Raises MalformedValueError."""
    match = _DECIMAL.fullmatch(text)
    value = int(match[1]) if match else None
    if value is None or not LONG_MIN <= value <= LONG_MAX:
        raise MalformedValueError(repr(text[:40])[1:])
    return value


def only_root_writes(status: os.stat_result) -> bool:
    """Is the directory root's, and can nobody else set its user.* attributes?

    A delegated cgroup is its user's, who must not rank themselves above others by it.
    """
    return status.st_uid == 0 and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def read_value(directory: int | Path, status: os.stat_result) -> int | None:
    """The value of an open cgroup directory whose stat is given; None where it has none that counts.

    trusted.* goes before user.*, which counts only if none but root can write it. Raises MalformedValueError,
    and OSError where the cgroup has gone.
    """
    text = _attribute(directory, TRUSTED_NAME)
    if text is None and only_root_writes(status):
        text = _attribute(directory, USER_NAME)
    return None if text is None else parse_value(text)


def read_wish(directory: int | Path, status: os.stat_result) -> int | None:
    """What the owner of a delegated cgroup asks for; None where nothing, and where it is no integer.

    It is only a wish (values/wishes.py), and nobody else's affair what is wrong with it. Raises OSError where the
    cgroup has gone.
    """
    if only_root_writes(status):
        return None
    text = _attribute(directory, USER_NAME)
    try:
        return None if text is None else parse_value(text)
    except MalformedValueError:
        return None


def get_value(cgroup: str, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> int | None:
    """The value set on this very cgroup; None where it has none.

    cgroup is a path from the root of the memory hierarchy ("/batch"), or its directory. Raises GoneError where it
    does not exist, SourceError where the value is not an integer or there is no memory controller.
    """
    directory = cgroup_directory(cgroup, proc, sys)
    try:
        return read_value(directory, directory.stat())
    except MalformedValueError as error:
        hint = "set it anew with `oompolicy set`"
        raise SourceError(f"cgroup {cgroup}", f"its value is not a 64-bit integer: {error}", hint) from error
    except OSError as error:
        raise _refused(cgroup, error) from error


def set_value(cgroup: str, value: int | None, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
    """Set the value of a cgroup, or remove it (None); both namespaces then agree.

    user.* where only root can write it, so that everybody's `rank` sees it; trusted.* in a delegated cgroup, and on
    kernels whose cgroups take no user.*. Raises GoneError where the cgroup does not exist, PrivilegeError for
    others than root, SourceError where the value has more than 64 bits or there is no memory controller.
    """
    if value is not None and not LONG_MIN <= value <= LONG_MAX:
        raise SourceError(f"value {value}", "does not fit into a signed 64-bit integer")
    directory = cgroup_directory(cgroup, proc, sys)
    try:
        names = [USER_NAME, TRUSTED_NAME] if only_root_writes(directory.stat()) else [TRUSTED_NAME]
        written = None if value is None else _set_first(directory, names, str(value).encode())
        for name in {USER_NAME, TRUSTED_NAME} - {written}:
            _remove(directory, name)
    except OSError as error:
        raise _refused(cgroup, error) from error


def _attribute(directory: int | Path, name: str) -> bytes | None:
    try:
        return os.getxattr(directory, name)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise


def _set_first(directory: Path, names: list[str], text: bytes) -> str:
    """Set the first attribute that the kernel takes here; its name."""
    for name in names[:-1]:
        try:
            os.setxattr(directory, name, text)
            return name
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
    os.setxattr(directory, names[-1], text)
    return names[-1]


def _remove(directory: Path, name: str) -> None:
    try:
        os.removexattr(directory, name)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise


def _refused(cgroup: str, error: OSError) -> OompolicyError:
    what = f"cgroup {cgroup}"
    if is_gone(error):
        return GoneError(what, "was removed a moment ago")
    if error.errno in (errno.EPERM, errno.EACCES):
        return PrivilegeError(what, "only root can set or remove its value", "run it as root")
    if error.errno == errno.EOPNOTSUPP:
        return SourceError(what, "this kernel's cgroups take no extended attributes", "set values in a config file")
    return SourceError(what, f"its value cannot be changed ({error.strerror})")
