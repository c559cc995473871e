"""Others on this machine that kill when memory is short.

Belongs here: how they are recognised, and what it means to run beside them. Must not know: what this daemon does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# By the name of the process, of which the kernel keeps 15 bytes.
_KNOWN: Final = {
    "systemd-oomd": "systemctl disable --now systemd-oomd, or leave ManagedOOM* to it",
    "earlyoom": "systemctl disable --now earlyoom",
    "nohang": "systemctl disable --now nohang nohang-desktop",
    "oomd": "systemctl disable --now oomd",
    "low-memory-moni": "systemctl disable --now low-memory-monitor",
}


def neighbours(proc: Path = Path("/proc")) -> tuple[str, ...]:
    """A line for each that runs."""
    found = {name: pid for pid, names in _running(proc) for name in names if name in _KNOWN}
    return tuple(
        f"{name} (pid {pid}) runs too: either may kill first, and neither knows of the other: {_KNOWN[name]}"
        for name, pid in sorted(found.items())
    )


def _running(proc: Path) -> Iterator[tuple[int, set[str]]]:
    for name in os.listdir(proc):
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        try:
            comm = (proc / name / "comm").read_bytes().strip()
        except OSError:
            continue
        names = {os.fsdecode(comm)}
        if comm.startswith(b"python"):  # nohang's script, started through env, has the interpreter's name
            names.add(_script(proc / name / "cmdline"))
        yield int(name), names


def _script(cmdline: Path) -> str:
    """The name of the file that an interpreter runs: its first argument that is no option."""
    try:
        arguments = cmdline.read_bytes().split(b"\0")[1:]
    except OSError:
        return ""
    return next((os.fsdecode(word.rpartition(b"/")[2]) for word in arguments if not word.startswith(b"-")), "")
