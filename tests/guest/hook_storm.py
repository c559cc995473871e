"""The hook attached, published anew and detached again and again while OOMs go on. Runs in a guest, as root.

Belongs here: the storm, and telling what the kernel said of it. Usage: hook_storm.py TIMES [patched]
"""

from __future__ import annotations

import json
import sys
import time

from guest.hook_proofs import tell
from guest.hook_stage import InForce
from guest.module_storm import kills, start
from guest.oom_stage import cannot_be_chosen, load, log, tainted, wait
from oompolicy.backends.hook.abi import ControlWord
from oompolicy.policy import KILL, OomControl, Policy, Task, Verdict, policy


def rolled(score: int) -> Policy:
    """Another answer each time, so that each look publishes."""

    @policy
    def storm(task: Task, oc: OomControl) -> int | Verdict:
        return KILL if score % 5 == 0 else score + task.badness

    return storm


def main() -> None:
    times = int(sys.argv[1])
    cannot_be_chosen()
    if "patched" not in sys.argv:
        load()
    running = start()
    wait(lambda: kills() > 5)
    began_s, before, broken, answered = time.monotonic(), kills(), 0, 0
    for number in range(times):
        force = InForce()
        for score in range(3):
            force.see(rolled(3 * number + score))
        broken += sum(not event.is_whole for event in force.events())
        answered += force.control()[ControlWord.ANSWERED]
        force.stop()
    seconds = round(time.monotonic() - began_s, 1)
    tell("storm", times=times, kills=kills() - before, seconds=seconds, broken=broken, answered=answered)
    for each in running:
        each.kill()
    print(json.dumps({"proof": "log", "tainted": tainted(), "lines": log().splitlines()}))


if __name__ == "__main__":
    main()
