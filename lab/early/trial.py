"""One trial: a machine with a database, a browser and a shell, somebody who watches over it, and a load. In the guest.

Belongs here: the order of things, and what is seen of them. Must not know: what is right.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lab.early import machine
from lab.early.contenders import BROWSER, DATABASE, LOAD, SHELL, Contender
from lab.early.loads import PROGRAMS, Load
from lab.early.seen import NOTES_BYTES, STALL_MS, Sample, Seen, felt, in_a_row
from lab.early.trace import KERNEL, Trace

WATCHER: Final = "/system.slice/watcher.service"
DATABASE_MIB, BROWSER_MIB = "60", "40"
EVERY_S: Final = 0.1
IS_BACK: Final = 0.7  # of the memory that was available before
STALLS_PERCENT: Final = 10  # of the last second: then nothing is back to what it was
READY_WITHIN_S: Final = 40
SAID_LINES: Final = 40
SILENT_LIMIT_MS: Final = 5000


@dataclass(slots=True)
class Watched:
    """Sizes over time: the load's last moment, the moment since which all is well, extremes."""

    before_mib: float
    gone_s: float | None = None
    back_s: float | None = None
    least_mib: float = float("inf")
    processes: int = 0
    course: list[Sample] = field(default_factory=list)
    _second: list[tuple[float, machine.Counters]] = field(default_factory=list)

    def look(self, at_s: float) -> None:
        """Take a sample; one of each second is kept."""
        now = at_s, machine.counters()
        self._second = [each for each in self._second if each[0] >= at_s - 1] + [now]
        sample = self._sample(at_s)
        self.least_mib = min(self.least_mib, sample.available_mib)
        self.processes = max(self.processes, sample.processes)
        if sample.available_mib < IS_BACK * self.before_mib or sample.full_percent > STALLS_PERCENT:
            self.back_s = None
        elif self.back_s is None:
            self.back_s = at_s
        if machine.is_populated(LOAD):
            self.gone_s = None
        elif self.gone_s is None:
            self.gone_s = at_s
        if not self.course or at_s - self.course[-1].at_s >= 1:
            self.course.append(sample)

    def _sample(self, at_s: float) -> Sample:
        (before_s, before), (_, now) = self._second[0], self._second[-1]
        span_s = max(at_s - before_s, EVERY_S)
        sizes_mib = machine.meminfo_mib()
        return Sample(
            at_s=round(at_s, 1),
            available_mib=round(sizes_mib["MemAvailable"], 1),
            swap_free_mib=round(sizes_mib["SwapFree"], 1),
            some_percent=round((now.some_us - before.some_us) / span_s / 1e4, 1),
            full_percent=round((now.full_us - before.full_us) / span_s / 1e4, 1),
            io_full_percent=round((now.io_full_us - before.io_full_us) / span_s / 1e4, 1),
            refaults=round((now.refaults - before.refaults) / span_s),
            processes=int((machine.CGROUPS / LOAD.strip("/") / "pids.current").read_text()),
        )


class Scene:
    """Those that are to live, and a heartbeat that needs no memory. `with` it, and nothing is left behind."""

    def __init__(self, name: str) -> None:
        self.notes = {each: Path(f"/run/{name}.{each}") for each in ("shell", "still")}
        self.started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Scene:
        for path in self.notes.values():
            path.write_bytes(bytes(NOTES_BYTES))
        for cgroup in (DATABASE, SHELL, BROWSER, LOAD, WATCHER):
            machine.make_cgroup(cgroup)
        for name, cgroup, mib in (("database", DATABASE, DATABASE_MIB), ("browser", BROWSER, BROWSER_MIB)):
            self.started[name] = machine.start(("/bin/load", name, "hold", mib), cgroup)
        self.started["shell"] = machine.start(("/bin/pulse", str(self.notes["shell"]), "beat", PROGRAMS), SHELL)
        self.still = machine.start(("/bin/pulse", str(self.notes["still"]), "still"), adj=-1000)
        return self

    def lives(self) -> dict[str, bool]:
        """Who still does."""
        return {name: machine.lives(process.pid, name) for name, process in self.started.items()}

    def late_ms(self, began_ms: int, lives: bool) -> tuple[list[int], int, int]:
        """Since then: by how much the shell was late, each time; the same of who needs no memory, at most; no forks.

        A shell that lives is waited for: its next beat tells how late that is.
        """
        silent_ms = 0
        beats = felt(self.notes["shell"].read_bytes()).beats
        while lives and silent_ms < SILENT_LIMIT_MS and felt(self.notes["shell"].read_bytes()).beats == beats:
            time.sleep(0.05)
            silent_ms += 50
        shell, still = (felt(self.notes[each].read_bytes()) for each in ("shell", "still"))
        late_ms = [late_ms for at_ms, late_ms in shell.late if at_ms >= began_ms]
        late_ms.append(silent_ms if silent_ms >= SILENT_LIMIT_MS else 0)
        noise_ms = max((late_ms for at_ms, late_ms in still.late if at_ms >= began_ms), default=0)
        return late_ms, noise_ms, shell.failed_forks

    def __exit__(self, *_: object) -> None:
        self.still.kill()
        for top in ("/user.slice", "/system.slice"):
            machine.remove_cgroups(top)
        machine.reap()
        for path in Path("/tmp").glob("*"):
            path.unlink()
        subprocess.run(["/bin/busybox", "sh", "-c", "swapoff $(cat /run/swap) && swapon $(cat /run/swap)"], check=True)
        Path("/proc/sys/vm/drop_caches").write_text("3")


def trial(contender: Contender, load: Load, trace: Trace, tell: Callable[[Seen], None]) -> None:
    """Play it, tell what was seen, and clean up, which may fail where the machine does not come back."""
    with Scene(load.name) as scene:
        tell(_played(scene, contender, load, trace))


def _played(scene: Scene, contender: Contender, load: Load, trace: Trace) -> Seen:
    path = Path(f"/run/{load.name}.log")
    with path.open("wb") as said:
        watcher, log = _watcher(contender, said), Log(path)
        began_ms = int(time.monotonic() * 1000)
        killed_before = machine.vmstat("oom_kill")
        trace.clear()
        watched, took_s = _watch(load, log)
        killed = in_a_row((comm, KERNEL if by == KERNEL else contender.name) for comm, by in trace.victims())
        lives = scene.lives() | ({} if watcher is None else {"the watcher": watcher.poll() is None})
        oom_kills = machine.vmstat("oom_kill") - killed_before
        late_ms, noise_ms, failed_forks = scene.late_ms(began_ms, lives["shell"])
        if watcher is not None:
            _stop(watcher)
    return Seen(
        contender.name,
        load.name,
        killed=killed,
        lives=lives,
        longest_ms=max(late_ms),
        stalls=sum(each > STALL_MS for each in late_ms),
        stalled_ms=sum(late_ms),
        failed_forks=failed_forks,
        noise_ms=noise_ms,
        gone_s=_rounded(watched.gone_s),
        back_s=_rounded(watched.back_s),
        took_s=round(took_s, 1),
        oom_kills=oom_kills,
        least_available_mib=round(watched.least_mib, 1),
        processes=watched.processes,
        course=tuple(watched.course),
        said=tuple(log.lines[-SAID_LINES:]),
    )


def _watcher(contender: Contender, said: object) -> subprocess.Popen[bytes] | None:
    """Started, and waited for until it has nothing more to do."""
    for cgroup in contender.avoid:
        os.setxattr(machine.CGROUPS / cgroup.strip("/"), "trusted.oomd_avoid", b"1")
    for name, value in contender.cgroup.items():
        (machine.CGROUPS / WATCHER.strip("/") / name).write_text(value)
    watcher = None
    if contender.command:
        command, adj, nice = contender.command, contender.oom_score_adj, contender.nice
        watcher = machine.start(command, WATCHER, adj, nice, said)  # type: ignore[arg-type]
        machine.settled(watcher.pid, READY_WITHIN_S)
    else:
        time.sleep(2)
    return watcher


def _watch(load: Load, talk: Log) -> tuple[Watched, float]:
    """Start the load, and look until it has been gone for a while, or its time is over."""
    watched = Watched(machine.meminfo_mib()["MemAvailable"])
    began_s = time.monotonic()
    machine.start(("/bin/load", load.name, *load.arguments), LOAD)
    while (at_s := time.monotonic() - began_s) < load.limit_s:
        if at_s > 1:  # it is there by now, or was
            watched.look(at_s)
        talk.read(at_s)
        if watched.gone_s is not None and at_s - watched.gone_s > load.watched_s:
            break
        machine.reap()
        time.sleep(EVERY_S)
    return watched, at_s


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    process.kill()
    process.wait()


class Log:
    """What the watcher says, and when it was read, which is soon after it was said."""

    def __init__(self, path: Path) -> None:
        self.lines: list[str] = []
        self._file = path.open(errors="replace")

    def read(self, at_s: float) -> None:
        """Take what is new."""
        self.lines += [f"{at_s:.1f} s: {line}" for line in self._file.read().splitlines()]


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)
