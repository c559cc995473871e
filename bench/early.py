"""Acting before the kernel must: oompolicy beside earlyoom, nohang, oomd and nobody, five loads each, in guests.

Belongs here: the table. Must not know: how a trial is played (lab/early). Usage: early.py [CONTENDER,... [LOAD,...]]

One guest boot for each contender, of the same image and size; each trial begins with the same machine. Compare the
lines with each other: the guest is emulated in software, and NOISE is what it is late by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # for the lab

from lab import LabError
from lab.early.contenders import CONTENDERS, NONE
from lab.early.contest import IOPS, MEMORY_MIB, SWAP_MIB, contest, disk, files_for
from lab.early.loads import LOADS
from lab.early.seen import STALL_MS, Seen

HEAD = (
    f"{'LOAD':<7} {'WATCHED BY':<10} {'RIGHT':<5} {'LONGEST STALL':>13} {'OF NONE':>7} {f'OVER {STALL_MS} MS':>11} "
    f"{'STALLED':>8} {'NOISE':>6} {'GONE':>6} {'BACK':>6}  DIED"
)


def row(seen: Seen, none: Seen | None) -> str:
    """One trial, its longest stall also as a share of what it was with nobody."""
    if seen.problem:
        return f"{seen.load:<7} {seen.contender:<10} {'no':<5} {seen.problem}"
    share = f"{seen.longest_ms / none.longest_ms:.2f}" if none is not None and none.longest_ms else ""
    return (
        f"{seen.load:<7} {seen.contender:<10} {'yes' if seen.is_right else 'no':<5} {seen.longest_ms:>10} ms "
        f"{share:>7} "
        f"{seen.stalls:>11} {seen.stalled_ms / 1000:>6.1f} s {seen.noise_ms:>6} {seconds(seen.gone_s):>6} "
        f"{seconds(seen.back_s):>6}  {died(seen)}"
    )


def seconds(since_start: float | None) -> str:
    """Or that it did not come to that."""
    return "never" if since_start is None else f"{since_start:.1f} s"


def died(seen: Seen) -> str:
    """Who, by whom, how many."""
    words = [f"{comm}{f' x{count}' if count > 1 else ''} ({by})" for comm, count, by in seen.killed[:6]]
    more = len(seen.killed) - len(words)
    return ", ".join(words + ([f"and {more} more turns"] if more else [])) or "nobody"


def played(contenders: Sequence[str], loads: Sequence[str]) -> list[Seen]:
    """All trials. Whoever cannot be had here is left out, and that is said."""
    trials: list[Seen] = []
    there = []
    for name in contenders:
        try:
            files_for([name])
            there.append(name)
        except LabError as error:
            print(f"left out: {name}: {error}")
    with disk(files_for(there)) as image:
        for name in there:
            for seen in contest(name, loads, image):
                trials.append(seen)
                print(row(seen, None), file=sys.stderr, flush=True)  # how far it is
    return trials


def main(contenders: str = ",".join(CONTENDERS), loads: str = ",".join(LOADS)) -> int:
    """Print a line for each trial, those of a load together."""
    print(f"{MEMORY_MIB} MiB, {SWAP_MIB} MiB of swap, disks of {IOPS} operations a second, 2 processors, emulated")
    trials = played(contenders.split(","), loads.split(","))
    print(HEAD)
    for load in loads.split(","):
        of_load = [seen for seen in trials if seen.load == load]
        none = next((seen for seen in of_load if seen.contender == NONE), None)
        for seen in of_load:
            print(row(seen, none))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
