"""Faults of the emulator, told from those of the kernel in it.

Belongs here: by what they are known, and which versions have them. Must not know: what the guest was for.

QEMU before 8.1 may run a breakpoint that the kernel has already taken away: what one processor writes into code while
another translates it can go unnoticed (QEMU commit deba78709ae8 "accel/tcg: Always lock pages before translation").
A kernel changes its code by breakpoints when something is attached to a function, and dies of one it knows nothing of.
"""

from __future__ import annotations

import re
import subprocess
from typing import Final

MENDED: Final = (8, 1)
# The first oops is of a breakpoint, and the byte before the next instruction, which it would be, is none (0xcc).
_OOPS: Final = re.compile(r"^\[[^\]]*\](?: \[[^\]]*\])? (?P<head>(?:Oops: )?[a-zA-Z].*: 0000 \[#1\].*)$", re.MULTILINE)
_CODE: Final = re.compile(r"Code:(?: [0-9a-f]{2})* (?P<before>[0-9a-f]{2}) <[0-9a-f]{2}>")


def emulator_fault(console: str) -> str | None:
    """The line that tells of it; None where a kernel died of its own, or where nothing is known."""
    oops = _OOPS.search(console)
    if oops is None or "int3: 0000" not in oops["head"]:
        return None
    code = _CODE.search(console, oops.end())
    return None if code is None or code["before"] == "cc" else oops["head"]


def has_the_fault(command: str) -> bool:
    """Is the emulator one that may do so? One that does not tell its version is taken at its word that it does not."""
    try:
        said = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    version = re.search(r"version (\d+)\.(\d+)", said)
    return version is not None and (int(version[1]), int(version[2])) < MENDED
