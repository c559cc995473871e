"""Load and unload, attach and detach, again and again while OOMs go on. Runs in a guest, as root.

Belongs here: the storm, and telling what the kernel said of it. Usage: module_storm.py TIMES
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from guest.by_comm import KILL, ByComm, score
from guest.oom_stage import CGROUPS, HOG, cannot_be_chosen, command, counters, load, log, tainted, wait

STORMS = 3
ENDLESS = "while :; do {hog} {ledger} storm {cgroup} 0 1 grow=20; done"


def kills() -> int:
    """Processes killed by the OOM killer in the storm so far."""
    found = 0
    for number in range(STORMS):
        events = (CGROUPS / f"storm{number}" / "memory.events").read_text().split()
        found += int(events[events.index("oom_kill") + 1])
    return found


def start() -> list[subprocess.Popen[bytes]]:
    """Memcgs too small for what goes on in them, each with processes that grow, die and come again."""
    running = []
    for number in range(STORMS):
        cgroup, ledger = CGROUPS / f"storm{number}", f"/run/storm{number}"
        cgroup.mkdir()
        Path(ledger).mkdir()
        (cgroup / "memory.max").write_text("6M")
        running.append(subprocess.Popen(["sh", "-c", ENDLESS.format(hog=HOG, ledger=ledger, cgroup=cgroup)]))
    return running


def again(name: str, times: int, act: Callable[[], None]) -> None:
    """Act so many times, and tell how long it took and how many died meanwhile."""
    began_s, before = time.monotonic(), kills()
    for _ in range(times):
        act()
    seconds = round(time.monotonic() - began_s, 1)
    print(json.dumps({"proof": name, "times": times, "seconds": seconds, "kills": kills() - before}), flush=True)


def unload() -> None:
    status, complaint = command("rmmod", "oom_policy")
    assert status == 0, complaint


def load_and_unload() -> None:
    load()
    unload()


def load_and_unload_inside_an_oom() -> None:
    """Leave as soon as an OOM has been seen to begin: as likely as can be, somebody is inside."""
    load()
    wait(lambda: counters()["events"] > 0, limit_s=2)
    unload()


def main() -> None:
    times = int(sys.argv[1])
    cannot_be_chosen()
    running = start()
    wait(lambda: kills() > 5)
    again("load and unload", times, load_and_unload)
    again("load and unload inside an OOM", times // 4, load_and_unload_inside_an_oom)
    load()
    policy = ByComm()
    policy.answer(storm=score(7))

    def attach_and_detach() -> None:
        policy.attach()
        policy.detach()

    again("attach and detach", times, attach_and_detach)
    unload()

    def all_of_it() -> None:
        load()
        fresh = ByComm()
        fresh.answer(storm=KILL)
        fresh.attach()
        wait(lambda: counters()["answered"] > 0, limit_s=2)
        fresh.detach()
        fresh.close()
        unload()

    again("load, attach, detach and unload", times // 10, all_of_it)
    before = kills()
    wait(lambda: kills() > before)
    for each in running:
        each.kill()
    print(json.dumps({"proof": "log", "tainted": tainted(), "still": kills() - before, "lines": log().splitlines()}))


if __name__ == "__main__":
    main()
