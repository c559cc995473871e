"""The daemon with a rule, and a leak that would take the whole machine. Runs in a guest, as root.

Belongs here: the machine filling up, and what was seen, one line of JSON a proof. Must not know: what is right.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from guest.hook_daemon import CONFIG, LOG, OOMPOLICY
from guest.hook_stage import Tree
from guest.oom_stage import cannot_be_chosen, log, wait

CONFIG_TEXT = """backend = "kill"
policy = "memcg_priority"
[protect]
comms = ["sh", "python3"]
[[rule]]
name = "nearly-full"
"""
RULE = """
when = "mem_available_mib < 150"
scope = "/stage*"
action = "{action}"
"""
COMPARED = """
when = 'mem_available_mib < 150 and of("/stage*/batch", cgroup.anon_mib > 100) and not exists("/stage*/stop")'
action = "kill_cgroup"
among = "/stage*/*"
by = "rate(cgroup.anon_mib)"
"""


def one(name: str, rule: str) -> None:
    """A leak of low priority beside something that matters and is larger at first."""
    with Tree() as tree:
        tree.leaf("db", 900)
        tree.leaf("batch", 10)
        matters = tree.put("db", "database", 60)
        CONFIG.write_text(CONFIG_TEXT + rule)
        CONFIG.chmod(0o644)
        with LOG.open("wb") as out:
            daemon = subprocess.Popen([*OOMPOLICY, "run", "--config", str(CONFIG)], stderr=out)
        wait(lambda: LOG.read_text() != "", 60)  # it has begun, and says so
        time.sleep(2)
        tree.put("batch", "idle", 1)
        before = len(tree.lines("ends"))
        tree.put("batch", "leaks", 1, "grow=900")
        wait(lambda: len(tree.lines("ends")) > before, 60)
        time.sleep(1)
        daemon.send_signal(signal.SIGTERM)
        daemon.wait()
        said, ends = LOG.read_text().splitlines(), tree.lines("ends")[before:]
        print(json.dumps({"proof": name, "said": said, "ends": ends, "lives": Path(f"/proc/{matters}").exists()}))


def main() -> None:
    cannot_be_chosen()
    os.environ.pop("JOURNAL_STREAM", None)
    one("at once", RULE.format(action="kill"))
    one("the whole cgroup", RULE.format(action="kill_cgroup"))
    one("the one that grows, of those compared", COMPARED)
    print(json.dumps({"proof": "log", "lines": log().splitlines()}))


if __name__ == "__main__":
    main()
