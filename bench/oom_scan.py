"""What the hook costs in the moment of an OOM: the scan of a memcg of 2,000 tasks, in a guest under software emulation.

Compare the lines with each other; a processor is ten times faster than its emulation.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lab import LabError
from lab.guest import Machine, run_guest
from lab.hog import hog
from lab.kernels import kernel
from lab.module_build import module
from lab.python_tree import python_tree

TASKS, ROUNDS = 2000, 9
PROGRAMS = Path(__file__).parents[1] / "tests" / "guest"


def main() -> int:
    """Print one line a variant."""
    try:
        files = python_tree() | {"/bin/hog": hog(), "/lib/oom_policy.ko": module(kernel("6.12").release)}
        files |= {f"/lab/guest/{path.name}": path for path in PROGRAMS.glob("*.py")}
        script = f"cd /lab && python3 -m guest.scan_cost {TASKS} {ROUNDS}"
        done = run_guest(script, "6.12", Machine(memory_mib=1536), files, time_limit_s=300)
    except LabError as error:
        print(f"left out: {error}")
        return 0
    for line in map(json.loads, done.stdout.splitlines()):
        print(f"{line['variant']:20} {line['least_us'] / 1000:6.2f} ms, the least of {ROUNDS}, {TASKS} tasks")
    sys.stderr.write(done.stderr)
    return done.status or 0


if __name__ == "__main__":
    sys.exit(main())
