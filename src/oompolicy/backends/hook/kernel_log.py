"""A line in the kernel's own log, beside its reports: which policy is in force from here on.

Belongs here: writing one line to /dev/kmsg. Must not know: when there is something to say.

The kernel limits how much any opener may write there (kernel/printk/printk.c, devkmsg_write()); this is written when a
policy is put in force, exchanged or detached, never per OOM.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

KMSG = Path("/dev/kmsg")
NOTICE = 5  # the level of "this is normal, and worth knowing"
LONGEST = 512


def say(text: str, kmsg: Path = KMSG) -> None:
    """Write it; where that is not possible (no /dev/kmsg in a container), it is not said."""
    line = "".join(character if character.isprintable() else "?" for character in text)[:LONGEST]
    with contextlib.suppress(OSError):
        fd = os.open(kmsg, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(fd, f"<{NOTICE}>oompolicy: {line}\n".encode())
        finally:
            os.close(fd)
