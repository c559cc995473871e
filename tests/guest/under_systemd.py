"""The unit file, obeyed by a real systemd: PID 1 of a pid namespace in a guest, with nothing to do but this daemon.

Belongs here: the machine around the unit, what is done to it, and what was seen, one line of JSON a proof. Must not
know: what is right; test_under_systemd.py judges.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from functools import partial
from pathlib import Path

from guest.oom_stage import CGROUPS, cannot_be_chosen, load, log, wait

ROOT = CGROUPS / "container"
LOG = Path("/lab/oompolicy.log")
UNITS = Path("/etc/systemd/system")
SYSTEMD = Path("/usr/lib/systemd/systemd")
TRACING = Path("/sys/kernel/tracing")
MRELEASE = TRACING / "events/syscalls/sys_exit_process_mrelease/enable"

WORKER = "[Service]\nExecStart=/bin/hog - worker - 0 1 told\nRestart=no\nStandardInput=file:/lab/{name}\n"
CONFIG = """backend = "hook"
policy = "kernel_default"
[[rule]]
name = "kills"
when = "cgroup.current_mib > 20"
scope = "/container/system.slice/killed.service"
action = "kill_cgroup"
cooldown = "1h"
pre_kill = ["sh", "-c", "id -u"]
[[rule]]
name = "restarts"
when = "cgroup.current_mib > 20"
scope = "/container/system.slice/restarted.service"
action = "restart"
cooldown = "1h"
[[rule]]
name = "squeezes"
when = "cgroup.current_mib > 20"
scope = "/container/system.slice/squeezed.service"
action = "high"
amount = "64M"
cooldown = "1h"
"""
# Where the log goes, since there is no journald; and shorter times, so that they pass in a test.
DROP_IN = f"""[Service]
StandardError=append:{LOG}
WatchdogSec=6s
TimeoutAbortSec=1s
"""


def tell(proof: str, **seen: object) -> None:
    print(json.dumps({"proof": proof, **seen}), flush=True)


def furnish() -> None:
    """What systemd and the unit want to find."""
    UNITS.mkdir(parents=True, exist_ok=True)
    for name in ("sysinit", "basic", "shutdown", "lab"):
        (UNITS / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    for name in ("killed", "restarted", "squeezed", "limited"):
        (UNITS / f"{name}.service").write_text(WORKER.format(name=name))
        Path(f"/lab/{name}").write_bytes(b"x" * 30)  # a MiB for each byte
    with (UNITS / "limited.service").open("a") as limited:
        limited.write("MemoryMax=16M\nMemorySwapMax=0\n")
    (UNITS / "oompolicy.service.d").mkdir()
    (UNITS / "oompolicy.service.d/lab.conf").write_text(DROP_IN)
    Path("/etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    Path("/etc/oompolicy").mkdir()
    Path("/etc/oompolicy/oompolicy.toml").write_text(CONFIG)
    for path in ("/etc", "/etc/oompolicy", "/lab", "/home", "/root", "/var", "/var/tmp", "/mnt"):
        Path(path).mkdir(exist_ok=True)
        Path(path).chmod(0o755)


class Systemd:
    """PID 1 of its own pid and mount namespace, in a cgroup of its own."""

    def __init__(self) -> None:
        ROOT.mkdir()
        systemd = f"{SYSTEMD} --system --unit=lab.target --log-target=console"
        inside = f"echo 0 > {ROOT}/cgroup.procs; mount -t proc proc /proc; exec env container=lab {systemd}"
        move = f"exec unshare -f -p -m sh -ec '{inside}'"
        with Path("/lab/systemd.log").open("wb") as out:
            self.process = subprocess.Popen(["sh", "-ec", move], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        wait(lambda: self._pid() is not None and self("is-system-running").strip() in ("running", "degraded"), 60)

    def _pid(self) -> int | None:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def __call__(self, *words: str) -> str:
        """What systemctl says."""
        enter = ["nsenter", "-t", str(self._pid()), "-m", "-p", "systemctl", *words]
        done = subprocess.run(enter, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def show(self, unit: str, *names: str) -> dict[str, str]:
        said = self("show", unit, *(f"--property={name}" for name in names))
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    def main_pid(self, unit: str = "oompolicy.service") -> int:
        """As it is seen from outside; 0 where it has none."""
        procs = ROOT / "system.slice" / unit / "cgroup.procs"
        return int((procs.read_text().split() if procs.exists() else ["0"])[0])


def said() -> list[str]:
    return LOG.read_text().splitlines() if LOG.exists() else []


def until_said(text: str, limit_s: float = 30) -> None:
    wait(lambda: any(text in line for line in said()), limit_s)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    wanted = ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "VmLck", "VmRSS")
    return {name: rest.strip() for name, _, rest in (line.partition(":") for line in lines) if name in wanted}


def real_time_priorities(pid: int) -> list[int]:
    """Of each of its threads, the first one first, once that one waits; 0: as others, as while it sees to values."""
    end = time.monotonic() + 15
    while True:
        threads = sorted(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir())
        found = [os.sched_getparam(thread).sched_priority for thread in threads]
        if found[0] > 0 or time.monotonic() > end:
            return found
        time.sleep(0.02)


def started(systemd: Systemd) -> None:
    answer = systemd("start", "oompolicy.service")
    pid = systemd.main_pid()
    cgroup = ROOT / "system.slice/oompolicy.service"
    tell(
        "started",
        answer=answer,
        shown=systemd.show("oompolicy.service", "ActiveState", "SubState", "StatusText", "NRestarts"),
        status=status_of(pid) if pid else {},
        adj=Path(f"/proc/{pid}/oom_score_adj").read_text() if pid else "",
        min=(cgroup / "memory.min").read_text() if cgroup.exists() else "",
        priorities=real_time_priorities(pid) if pid else [],
        said=said(),
    )


def rules(systemd: Systemd) -> None:
    if MRELEASE.exists():
        MRELEASE.write_text("1")
    systemd("start", "killed.service")
    until_said(": killed")
    time.sleep(1)
    lines = (TRACING / "trace").read_text().splitlines() if MRELEASE.exists() else []
    answers = [match[1] for line in lines if (match := re.search(r"process_mrelease -> (\S+)", line))]
    tell("killed", shown=systemd.show("killed.service", "Result", "ActiveState"), mrelease=answers, said=said())
    systemd("start", "restarted.service")
    first = systemd.main_pid("restarted.service")
    until_said("restarted.service: restart")
    time.sleep(2)
    tell("restarted", pids=[first, systemd.main_pid("restarted.service")], said=said())
    systemd("start", "squeezed.service")
    until_said("memory.high set to")
    high = ROOT / "system.slice/squeezed.service/memory.high"
    tell("squeezed", high=high.read_text().strip())


def reloads(systemd: Systemd) -> None:
    answer = systemd("reload", "oompolicy.service")
    until_said("reloaded: ")
    Path("/etc/oompolicy/oompolicy.toml").write_text("polcy = 3\n")
    refused = systemd("reload", "oompolicy.service")
    until_said("the old configuration stays in force")
    Path("/etc/oompolicy/oompolicy.toml").write_text(CONFIG)
    tell("reloaded", answers=[answer, refused], said=said())


def is_active(systemd: Systemd) -> bool:
    return systemd.show("oompolicy.service", "ActiveState") == {"ActiveState": "active"}


def restarts(systemd: Systemd) -> None:
    """kill -9, and a daemon that does not feed the watchdog any more."""
    counts = []
    for number in (9, 19):
        os.kill(systemd.main_pid(), number)
        wait(lambda: not is_active(systemd), 40)
        wait(lambda: is_active(systemd), 40)
        counts.append(systemd.show("oompolicy.service", "NRestarts", "ActiveState"))
    tell("restarted by systemd", counts=counts, said=said())
    high = ROOT / "system.slice/squeezed.service/memory.high"
    answer = systemd("stop", "oompolicy.service")
    shown = systemd.show("oompolicy.service", "Result", "ActiveState", "ExecMainStatus")
    tell("stopped", answer=answer, shown=shown, high=high.read_text().strip(), said=said())


NOTIFY_SEND = '#!/bin/sh\necho "told: $(id -u):$(id -g) $XDG_RUNTIME_DIR $*"\n'  # what it prints goes into the log
DESKTOP = """backend = "kill"
[[rule]]
name = "tells"
when = "cgroup.current_mib > 20"
scope = "/container/system.slice/killed.service"
action = "kill"
notify = ["desktop"]
"""


def kills_told() -> int:
    return len([line for line in said() if "rule tells" in line and "killed" in line])


def has_grown(before: int) -> bool:
    return kills_told() > before


def tells_desktops(systemd: Systemd) -> None:
    """Without the drop-in, and with it: a user with a session bus, and notify-send's name for a script of ours."""
    enter = ["nsenter", "-t", str(systemd._pid()), "-m", "sh", "-ec"]
    script = "mkdir -p /run/user/1000; touch /run/user/1000/bus; chown -R 1000:1000 /run/user/1000"
    subprocess.run([*enter, script], check=True)
    Path("/usr/bin/notify-send").write_text(NOTIFY_SEND)
    Path("/usr/bin/notify-send").chmod(0o755)
    Path("/etc/oompolicy/oompolicy.toml").write_text(DESKTOP)
    for is_dropped_in in (False, True):
        if is_dropped_in:
            (UNITS / "oompolicy.service.d/desktop.conf").write_bytes(Path("/lab/desktop.conf").read_bytes())
            systemd("daemon-reload")
        systemd("start", "oompolicy.service")
        before = kills_told()
        systemd("start", "killed.service")
        wait(partial(has_grown, before), 30)
        time.sleep(3)
        systemd("stop", "oompolicy.service")
        systemd("reset-failed", "killed.service")
    tell("desktops", said=said())


def tells_of_the_kernels_kills(systemd: Systemd) -> None:
    """Without the hook they are read from the kernel's log, which only CAP_SYSLOG may."""
    Path("/proc/sys/kernel/dmesg_restrict").write_text("1")
    Path("/etc/oompolicy/oompolicy.toml").write_text('backend = "oom_score_adj"\ninterval_ms = 500\n')
    systemd("start", "oompolicy.service")
    systemd("start", "limited.service")
    until_said("the kernel killed worker")
    systemd("stop", "oompolicy.service")
    tell("the kernel's kill", said=said())


def main() -> None:
    cannot_be_chosen()
    load()
    furnish()
    systemd = Systemd()
    tell("booted", said=systemd("is-system-running"), log=Path("/lab/systemd.log").read_text()[-3000:])
    started(systemd)
    rules(systemd)
    reloads(systemd)
    restarts(systemd)
    tells_desktops(systemd)
    tells_of_the_kernels_kills(systemd)
    tell("log", lines=log().splitlines())
    systemd.process.kill()
    (ROOT / "cgroup.kill").write_text("1")


if __name__ == "__main__":
    main()
