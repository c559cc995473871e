"""A scenario played on this machine instead of in a guest, inside a cgroup of its own.

Belongs here: keeping such a scenario contained, and leaving nothing behind.
Must not know: what the scenario shows. For cgroup v1, which the guests do not have; never more than BASE_LIMIT.
"""

import os
import re
import signal
import tempfile
import time
from pathlib import Path

from lab import LabError
from lab.commands import run
from lab.hog import hog

MOUNT = Path("/sys/fs/cgroup/memory")
BASE_LIMIT = "256M"
TIME_LIMIT_S = 60


def play_here(script: str) -> dict[str, bytes]:
    """What the script leaves in its out folder; the log is cut to what was said meanwhile.

    Raises LabError without a v1 memory controller to write to, and when another OOM got into the log.
    """
    base = MOUNT / f"oompolicy-lab-{os.getpid()}"
    try:
        base.mkdir()
    except OSError as error:
        raise LabError(f"{base}: {error.strerror}: needs root and a cgroup v1 memory controller") from error
    log_before = run("dmesg", advice="needs root")
    try:
        (base / "memory.limit_in_bytes").write_text(BASE_LIMIT)
        with tempfile.TemporaryDirectory(prefix="lab-") as work:
            out = Path(work, "out")
            out.mkdir()
            places = {"MOUNT": MOUNT, "BASE": f"/{base.name}", "LEDGER": f"{work}/ledger", "HOG": hog(), "OUT": out}
            environment = (f"LAB_{name}={place}" for name, place in places.items())
            limited = ("timeout", str(TIME_LIMIT_S), "env", *environment, "sh", "-c")
            run(*limited, f"{script}\nleave\n", advice="see the scenario's script")
            left = {path.name: path.read_bytes() for path in out.iterdir()}
    finally:
        clear(base)
    left["dmesg"] = since(log_before, left["dmesg"].decode(), base.name).encode()
    return left


def since(log_before: str, log: str, base_name: str) -> str:
    """The lines after the last one known before; all of their OOMs must be those of the base."""
    known = log_before.splitlines()[-1:]
    lines = log.splitlines(keepends=True)
    first = next((number + 1 for number, line in enumerate(lines) if [line.rstrip("\n")] == known), 0)
    said = "".join(lines[first:])
    if strangers := [scope for scope in re.findall(r"oom_memcg=/([^/,]*)", said) if scope != base_name]:
        raise LabError(f"the log: holds an OOM of /{strangers[0]} as well: try again")
    return said


def clear(base: Path) -> None:
    """Kill what still lives in the cgroups of the base, and remove them."""
    folders = [Path(folder) for folder, _, _ in os.walk(base, topdown=False)]
    for folder in folders:
        for pid in (folder / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
    for folder in folders:
        for _ in range(100):
            try:
                folder.rmdir()
                break
            except OSError:  # a process is still on its way out
                time.sleep(0.05)
