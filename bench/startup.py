"""How long `oompolicy --help` and `oompolicy rank` take, beside a bare interpreter, in one run.

Belongs here: whole commands, timed from outside. Must not know: what is inside them.
Bounds: --help 0.15 s, rank with 2,000 processes 0.5 s, start-up included.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 15
PROCESSES = 2000
BOUNDS_S = {"--help": 0.15, "rank": 0.5}


def timed(command: list[str]) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> int:
    """Print a line a command; status 1 where a median is over its bound."""
    oompolicy = str(Path(sys.executable).with_name("oompolicy"))
    sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(PROCESSES)]
    try:
        commands = {
            "python3 -c pass": [sys.executable, "-c", "pass"],
            "--help": [oompolicy, "--help"],
            "rank": [oompolicy, "rank"],
            "rank --json": [oompolicy, "rank", "--json"],
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(RUNS + 1):  # in turn, so that a slow moment of the machine meets all of them
            for name, command in commands.items():
                taken[name].append(timed(command))
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()
    base = statistics.median(taken["python3 -c pass"][1:])
    status = 0
    print(f"{PROCESSES} processes, median of {RUNS} runs after a warm-up")
    for name, seconds in taken.items():
        median, worst = statistics.median(seconds[1:]), max(seconds[1:])
        print(f"{name:<16} {median:.3f} s (worst {worst:.3f}), {median / base:.1f} times a bare interpreter")
        if median > BOUNDS_S.get(name, float("inf")):
            print(f"  over its bound of {BOUNDS_S[name]} s")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
