"""What goes wrong with BPF, said so that a person can mend it.

Belongs here: what an errno of bpf(2) means, call by call. Must not know: how the call was made, or how it is printed.
"""

from __future__ import annotations

import errno as numbers
import os
from collections.abc import Iterable
from typing import Final

from oompolicy.bpf.privileges import lockdown, what_forbids
from oompolicy.bpf.uapi import Command
from oompolicy.errors import OompolicyError, PrivilegeError

_LOCKED_DOWN: Final = "the kernel is locked down (confidentiality), where programs may not read its memory"
LAST_LINES: Final = 12  # of a verifier's log; the reason is at its end


class BpfError(OompolicyError):
    """The kernel refused a call; `errno` is its number, None where it was not the kernel."""

    def __init__(self, what: object, why: str, hint: str | None = None, errno: int | None = None) -> None:
        super().__init__(what, why, hint)
        self.errno = errno


class BpfPrivilegeError(BpfError, PrivilegeError):
    """The kernel refuses this user, or something that stands between the two does."""


class VerifierError(BpfError):
    """The verifier refused a program; `log` is its last lines, in order, and `excerpt` the same as text."""

    def __init__(self, what: object, log: Iterable[str], errno: int) -> None:
        self.log = tuple(line for line in log if not line.startswith("verification time"))[-LAST_LINES:]
        reasons = [line for line in self.log if not line.startswith("processed ")]
        reason = reasons[-1].strip() if reasons else os.strerror(errno)
        hint = _LOCKED_DOWN if lockdown() == "confidentiality" else None
        super().__init__(what, f"the verifier refused it: {reason}", hint, errno)
        self.excerpt = "\n".join(f"    {line}" for line in self.log)

    @property
    def has_too_many_ways(self) -> bool:
        """Did it give up, because the ways through the program were too many to follow (do_check())?"""
        return self.errno == numbers.E2BIG


class BtfError(OompolicyError):
    """Type information that is missing, damaged, or does not hold what was looked for."""


# (why, hint) of an errno: of one call, or of any.
_UNKNOWN_FIELD = "the kernel is older than something that was asked of it"
_WHY: Final[dict[tuple[Command | None, int], tuple[str, str | None]]] = {
    (None, numbers.E2BIG): (_UNKNOWN_FIELD, None),
    (None, numbers.EINVAL): ("the kernel does not take these arguments", "it may be older than what was asked of it"),
    (None, numbers.ENOSYS): ("the kernel has no bpf(2)", "it needs CONFIG_BPF_SYSCALL"),
    (None, numbers.ENOENT): ("there is no such thing", None),
    (None, numbers.EMFILE): ("too many open files", "raise the limit: ulimit -n"),
    (Command.MAP_CREATE, numbers.E2BIG): ("too large, or newer than the kernel", None),
    (Command.MAP_CREATE, numbers.EINVAL): ("this kernel has no such map, or not with such sizes and flags", None),
    (Command.MAP_UPDATE_ELEM, numbers.E2BIG): ("the map is full, or ends before this index", "make max_entries larger"),
    (Command.MAP_UPDATE_BATCH, numbers.E2BIG): ("the map is full, or ends before an index", "make max_entries larger"),
    (Command.MAP_UPDATE_ELEM, numbers.EEXIST): ("the key is there already", None),
    (Command.MAP_UPDATE_ELEM, numbers.ENOENT): ("there is no such key", None),
    (Command.MAP_UPDATE_ELEM, numbers.EPERM): ("it is frozen, or not for writing by processes", None),
    (Command.MAP_UPDATE_BATCH, numbers.EPERM): ("it is frozen, or not for writing by processes", None),
    (Command.PROG_LOAD, numbers.E2BIG): ("the program is too long, or newer than the kernel", None),
    (Command.PROG_LOAD, numbers.ENOENT): ("what it attaches to is not in the kernel's BTF", None),
    (Command.OBJ_PIN, numbers.EPERM): ("not in a bpf file system", "mount -t bpf bpf /sys/fs/bpf"),
    (Command.OBJ_PIN, numbers.ENOENT): ("its folder is not there", None),
    (Command.OBJ_PIN, numbers.EEXIST): ("the name is taken", None),
    (Command.OBJ_GET, numbers.ENOENT): ("nothing is pinned there", None),
    (Command.OBJ_GET, numbers.EACCES): ("not a pin, or not one this user may open", None),
    (Command.LINK_CREATE, numbers.EBUSY): (
        "something is attached there that does not share",
        "bpftool link shows what",
    ),
    (Command.LINK_UPDATE, numbers.EINVAL): ("a link of this kind keeps its program", "attach another, then detach it"),
    (Command.LINK_UPDATE, numbers.EPERM): ("the link holds another program than the one to replace", None),
    (Command.LINK_DETACH, numbers.EOPNOTSUPP): ("a link of this kind ends with its last pin and descriptor", None),
    (Command.RAW_TRACEPOINT_OPEN, numbers.ENOENT): ("there is no such tracepoint", None),
}
_SANDBOX: Final = (
    "not permitted, though this process has the capabilities",
    "a sandbox, seccomp or a security module stands before it",
)


def refusal(command: Command, errno: int, what: object) -> BpfError:
    """The error for a call that failed; `what` is the thing it was about ("map oom_values", a path)."""
    known = _WHY.get((command, errno)) or _WHY.get((None, errno))
    if errno == numbers.EPERM and (forbidden := what_forbids() or (None if known else _SANDBOX)):
        return BpfPrivilegeError(what, f"{command.name}: {forbidden[0]}", forbidden[1], errno)
    why, hint = known or (os.strerror(errno), None)
    return BpfError(what, f"{command.name}: {why}", hint, errno)
