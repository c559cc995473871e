"""What a compiled policy costs in the moment of an OOM: the scan of a memcg of 2,000 tasks and the kernel's own dump of
them, with and without, alternating in one guest under software emulation. Bounds: scan 1.5 times that without the hook,
scan plus dump 1.1 times.

Compare the lines with each other; a processor is ten times faster than its emulation.
"""

from __future__ import annotations

import json
import statistics
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
PLAIN, BOUND = "without the hook", "memcg_priority"
SCAN_BOUND, BOTH_BOUND = 1.5, 1.1


def main() -> int:
    """Print one line a variant; status 1 where the bound variant is over a bound."""
    try:
        files = python_tree() | {"/bin/hog": hog(), "/lib/oom_policy.ko": module(kernel("6.12").release)}
        files |= {f"/lab/guest/{path.name}": path for path in PROGRAMS.glob("*.py")}
        script = f"cd /lab && python3 -m guest.compiled_cost {TASKS} {ROUNDS}"
        done = run_guest(script, "6.12", Machine(memory_mib=2048), files, time_limit_s=900)
    except LabError as error:
        print(f"left out: {error}")
        return 0
    sys.stderr.write(done.stderr)
    if done.status:
        return done.status
    us: dict[str, list[list[float]]] = {}
    for line in map(json.loads, done.stdout.splitlines()):
        us[line["variant"]] = line["us"]
    ratios: dict[str, tuple[float, float]] = {}
    print(f"{TASKS} tasks, medians of {ROUNDS} events; ratios are medians of each round's own")
    for variant, rows in us.items():
        scan, both = (statistics.median(row) for row in (_scans(rows), _boths(rows)))
        ratios[variant] = (_ratio(_scans(rows), _scans(us[PLAIN])), _ratio(_boths(rows), _boths(us[PLAIN])))
        of_scan, of_both = ratios[variant]
        print(
            f"{variant:20} scan {scan / 1000:6.2f} ms, {of_scan:4.2f} times; "
            f"scan and dump {both / 1000:7.2f} ms, {of_both:4.2f} times"
        )
    scan_ratio, both_ratio = ratios[BOUND]
    is_over = scan_ratio > SCAN_BOUND or both_ratio > BOTH_BOUND
    if is_over:
        print(f"  {BOUND} is over its bounds of {SCAN_BOUND} and {BOTH_BOUND} times")
    return 1 if is_over else 0


def _scans(rows: list[list[float]]) -> list[float]:
    return [scan for scan, _ in rows]


def _boths(rows: list[list[float]]) -> list[float]:
    return [scan + dump for scan, dump in rows]


def _ratio(taken: list[float], plain: list[float]) -> float:
    return statistics.median(mine / other for mine, other in zip(taken, plain, strict=True))


if __name__ == "__main__":
    sys.exit(main())
