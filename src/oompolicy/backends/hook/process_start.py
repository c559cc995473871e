"""When a process started, which tells it from others that had or will have its pid.

Belongs here: one field of /proc/PID/stat. Must not know: whose it is.
"""

from __future__ import annotations

from pathlib import Path


def start_ticks(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Field 22, in clock ticks from boot; None where there is no such process."""
    try:
        return int((proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
