"""A memcg with hogs in it, and the OOM killer called upon. Runs in a guest, as root.

Belongs here: making OOMs and telling who died.
Must not know: policies.
"""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PARAMETERS = Path("/sys/module/oom_policy/parameters")
HOG, MODULE = "/bin/hog", "/lib/oom_policy.ko"


def command(*words: str) -> tuple[int, str]:
    """Its exit status, and what it complained."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip()


def load() -> None:
    status, complaint = command("insmod", MODULE)
    assert status == 0, complaint


def counters() -> dict[str, int]:
    """The module's own, read only; none in a kernel that has the hook built in."""
    if not PARAMETERS.exists():
        return {}
    return {name: int((PARAMETERS / name).read_text()) for name in ("abi", "events", "asked", "answered")}


def log() -> str:
    return subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout


class Stage:
    """One memcg below the root; `with` it, and it leaves nothing behind."""

    number = 0

    def __init__(self, limit_mib: int = 0) -> None:
        Stage.number += 1
        self.path = CGROUPS / f"stage{Stage.number}"
        self.ledger = Path(f"/run/ledger{Stage.number}")
        self.limit_mib = limit_mib
        self.mark = f"oom_stage: {self.path.name} begins"

    def __enter__(self) -> Stage:
        Path("/dev/kmsg").write_text(self.mark)
        self.path.mkdir()
        self.ledger.mkdir()
        for name in ("born", "ready", "ends"):
            (self.ledger / name).touch()
        if self.limit_mib:
            (self.path / "memory.max").write_text(f"{self.limit_mib}M")
        return self

    def __exit__(self, *_: object) -> None:
        (self.path / "cgroup.kill").write_text("1")
        wait(lambda: not (self.path / "cgroup.procs").read_text())
        self.path.rmdir()

    def hog(self, name: str, mib: int, *words: str, adj: int = 0) -> int:
        """Start one, return its pid when it holds its memory."""
        before = len(self.lines("ready"))
        subprocess.Popen([HOG, str(self.ledger), name, str(self.path), str(adj), str(mib), *words])
        wait(lambda: len(self.lines("ready")) > before)
        return int(self.lines("ready")[-1])

    def lines(self, file: str) -> list[str]:
        return (self.ledger / file).read_text().splitlines()

    def victims(self) -> list[str]:
        """The comms of those that were killed, in the order of the kernel's log, after at least one has ended."""
        wait(lambda: any(line.endswith("signal 9") for line in self.lines("ends")))
        time.sleep(0.3)  # for one more that should not
        return re.findall(r"Killed process \d+ \((\S+)\)", log().rpartition(self.mark)[2])


def wait(condition: object, limit_s: float = 15) -> None:
    """Until it holds; what is waited for in vain shows in what the caller finds next."""
    assert callable(condition)
    until_s = time.monotonic() + limit_s
    while not condition() and time.monotonic() < until_s:
        time.sleep(0.02)


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score").read_text())


def small_and_big() -> list[str]:
    """A memcg with a small process and a big one, and one that asks for more until somebody dies: the victims.

    Whoever dies, it is enough: 30 + 10 + 22 MiB at a limit of 60.
    """
    with Stage(60) as stage:
        stage.hog("small", 10)
        stage.hog("big", 30)
        stage.hog("asks", 1, "grow=22")
        return stage.victims()


def sysrq_f() -> None:
    """Call the OOM killer on the whole machine; returns when it has been at work, or soon after."""
    Path("/proc/sysrq-trigger").write_text("f")


def cannot_be_chosen() -> None:
    """This process must not die; children inherit this, hogs set their own."""
    Path("/proc/self/oom_score_adj").write_text("-1000")


def tainted() -> int:
    """The kernel's own word on what it went through: bit 7 an oops, bit 9 a warning, bit 14 a lockup."""
    return int(Path("/proc/sys/kernel/tainted").read_text())
