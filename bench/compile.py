"""From the text of a policy of ten lines to its being in force, with what is remembered of the kernel and without.

Bounds: 150 ms cold, 30 ms warm, on a processor and not in an emulator.

Attaching is possible in a guest alone, which is emulated: the work that both can do, up to the instructions, says how
much slower that makes it, and the rest is divided by it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from lab import LabError
from lab.guest import run_guest
from lab.kernels import kernel
from lab.module_build import module
from lab.python_tree import python_tree

RUNS = 15
ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / "tests" / "guest"
BOUNDS_MS = {"cold": 150.0, "warm": 30.0}


def here_ms() -> dict[tuple[str, str], float]:
    """(way, state of the cache) -> median, on this machine."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}:{ROOT}"}
    command = [sys.executable, "-m", "guest.compile_cost", str(RUNS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return _read(done.stdout)


def in_guest_ms() -> dict[tuple[str, str], float]:
    """The same in a guest, and the ways that end in the kernel."""
    files: dict[str, Path | bytes] = {**python_tree(), "/lib/oom_policy.ko": module(kernel("6.12").release)}
    files |= {f"/lab/guest/{path.name}": path for path in PROGRAMS.glob("*.py")}
    script = f"insmod /lib/oom_policy.ko && cd /lab && python3 -m guest.compile_cost {RUNS} attach"
    done = run_guest(script, "6.12", files=files, time_limit_s=300)
    sys.stderr.write(done.stderr)
    if done.status:
        raise LabError(f"status {done.status}")
    return _read(done.stdout)


def _read(text: str) -> dict[tuple[str, str], float]:
    rows = map(json.loads, text.splitlines())
    return {(row["way"], row["btf"]): row["median_ms"] for row in rows}


def main() -> int:
    """Print a line a way; status 1 where one is over its bound."""
    here = here_ms()
    for (way, state), ms in here.items():
        print(f"{way:9} {state:5} {ms:8.2f} ms here")
    try:
        guest = in_guest_ms()
    except LabError as error:
        print(f"the rest is left out: {error}")
        return 0
    status = 0
    for (way, state), ms in guest.items():
        factor = guest["compiled", state] / here["compiled", state]
        print(f"{way:9} {state:5} {ms:8.2f} ms in the guest, which is {factor:.1f} times slower: {ms / factor:6.2f} ms")
        if ms / factor > BOUNDS_MS[state]:
            print(f"  over its bound of {BOUNDS_MS[state]:.0f} ms")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
