"""Trials in the guest: `python3 -m lab.early.inside CONTENDER LOAD...`, a line of JSON for each.

Belongs here: the order of trials. Must not know: a single one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab.early.contenders import CONTENDERS
from lab.early.loads import LOADS
from lab.early.machine import stay
from lab.early.seen import Seen
from lab.early.trace import Trace
from lab.early.trial import trial


def main(name: str, *loads: str) -> None:
    """Play each load with one contender."""
    contender = CONTENDERS[name]
    if contender.module:
        subprocess.run(["/bin/busybox", "insmod", "/lib/oom_policy.ko"], check=True)
    Path("/run/oomd").mkdir(exist_ok=True)
    stay()
    with Trace() as trace:
        for load in loads:
            trial(contender, LOADS[load], trace, tell)


def tell(seen: Seen) -> None:
    """Send it out."""
    print(seen.line(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
