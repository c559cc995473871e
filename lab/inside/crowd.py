"""The processes of a round: started, told to grow, waited for.

Belongs here: the hogs, what they say on their pipes, how they end. Must not know: cgroups' limits, who is to die.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from lab.inside.tree import directory
from lab.seen import KILLED, Death, Process
from lab.world import Workload

HOG = "/bin/hog"
STARTING_S = 30.0
PF_EXITING = 0x4  # include/linux/sched.h


class Hog:
    """One started process of a workload: its pipes, and what it said."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        command = [HOG, "-", workload.name, str(directory(workload.cgroup)), str(workload.oom_score_adj)]
        command += [f"{workload.size_kib}K", *workload.words]
        pipe = subprocess.PIPE
        self._popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0)
        assert self._popen.stdin
        assert self._popen.stdout
        self.pid = self._popen.pid
        self.stdin, self.stdout = self._popen.stdin.fileno(), self._popen.stdout.fileno()
        os.set_blocking(self.stdout, False)
        self.ready = False
        self.told = 0
        self.held_kib = workload.size_kib
        self.grown = 0
        self._rest = b""

    def tell(self, times: int = 1) -> None:
        """Let it hold 1 MiB more, or have one more child, so many times."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.stdin, b"x" * times)
            self.told += times

    def close(self) -> None:
        """It has been waited for by somebody else than its Popen."""
        self._popen.returncode = 0
        for pipe in (self._popen.stdin, self._popen.stdout):
            assert pipe
            pipe.close()

    def lines(self) -> Iterator[list[str]]:
        """What it and its children have said since, cut at tabs."""
        try:
            while block := os.read(self.stdout, 65536):
                self._rest += block
        except BlockingIOError:
            pass
        *whole, self._rest = self._rest.split(b"\n")
        yield from (said.decode(errors="replace").split("\t") for said in whole)


class Crowd:
    """All processes of a round.

    heard counts what they said.
    """

    def __init__(self) -> None:
        self.hogs: list[Hog] = []
        self.living: dict[int, Process] = {}
        self.born: list[Process] = []
        self.deaths: list[Death] = []
        self.process_of: dict[int, int] = {}
        self.heard = 0
        self.triggered_s = time.monotonic()
        self._poll = select.poll()
        self._waking, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, _noted)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._writing = writing
        self._poll.register(self._waking, select.POLLIN)

    def start(self, workload: Workload) -> str | None:
        """Start a workload and wait until it holds its memory; what went wrong, or None."""
        for _ in range(workload.copies):
            hog = Hog(workload)
            self.hogs.append(hog)
            self._add(hog.pid, workload)
            self._poll.register(hog.stdout, select.POLLIN)
            deadline = time.monotonic() + STARTING_S
            while not hog.ready:
                self.look(0.1)
                if hog.pid not in self.living:
                    ended = next(death for death in self.deaths if death.process.pid == hog.pid)
                    how = f"signal {ended.signal}" if ended.signal else f"exit status {ended.status}"
                    return f"{workload.name} ended ({how}) before it held its {workload.size}"
                if time.monotonic() > deadline:
                    return f"{workload.name} did not hold its {workload.size} within {STARTING_S:.0f} s"
        return None

    def hog_of(self, name: str) -> Hog:
        """The process that was started for a workload."""
        return next(hog for hog in self.hogs if hog.workload.name == name)

    @property
    def killed(self) -> int:
        """How many have been killed."""
        return sum(death.signal == KILLED for death in self.deaths)

    def is_somebody_dying(self) -> bool:
        """Has somebody been killed who has not ended yet?"""
        return any(_is_dying(pid) for pid in self.living)

    def look(self, timeout_s: float) -> None:
        """Wait until somebody says something or dies, at most so long; take note of all that has happened."""
        for fd, events in self._poll.poll(timeout_s * 1000):
            if fd == self._waking:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._waking, 4096)
            elif not events & select.POLLIN:
                self._poll.unregister(fd)  # nobody holds the other end any more
        for hog in self.hogs:
            for said in hog.lines():
                self.heard += 1
                self._take(hog, said)
        self._reap()

    def end(self) -> str | None:
        """Kill who still lives, wait for all; what went wrong, or None."""
        died = len(self.deaths)
        deadline = time.monotonic() + STARTING_S
        while self.living and time.monotonic() < deadline:
            for pid in self.living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.look(0.01)
        del self.deaths[died:]  # these are the lab's own doing
        for hog in self.hogs:
            hog.close()
        signal.set_wakeup_fd(-1)
        os.close(self._waking)
        os.close(self._writing)
        left = [process.comm for process in self.living.values()]
        return f"{', '.join(left)} did not end within {STARTING_S:.0f} s of a SIGKILL" if left else None

    def _take(self, hog: Hog, said: list[str]) -> None:
        match said:
            case ["ready", pid] if int(pid) == hog.pid:
                hog.ready = True
            case ["held", held_kib]:
                hog.grown += 1
                hog.held_kib = int(held_kib)
            case ["born", thread, pid, *_]:
                self.process_of[int(thread)] = int(pid)
                if int(pid) not in {process.pid for process in self.born}:  # a child of a storm
                    self._add(int(pid), hog.workload)

    def _add(self, pid: int, workload: Workload) -> None:
        process = Process(pid, workload.name, workload.cgroup, workload.name, workload.oom_score_adj)
        self.living[pid] = process
        self.born.append(process)

    def _reap(self) -> None:
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while (info := _waited(options)) is not None:
            pid = info.si_pid
            if pid not in self.living:  # killed before it said that it was born: only a storm has children
                storm = next((hog.workload for hog in self.hogs if hog.workload.forks), None)
                if storm is None:  # a straggler of an earlier round
                    os.waitpid(pid, 0)
                    continue
                self._add(pid, storm)
            process = self.living.pop(pid)
            if (comm := _comm(pid)) != process.comm:
                process = Process(pid, comm, process.cgroup, process.workload, process.oom_score_adj)
            os.waitpid(pid, 0)
            is_signal = info.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
            number, status = (info.si_status, 0) if is_signal else (0, info.si_status)
            self.deaths.append(Death(process, number, status, time.monotonic() - self.triggered_s))


def _waited(options: int) -> os.waitid_result | None:
    try:
        return os.waitid(os.P_PGID, os.getpgrp(), options)  # a daemon has a group of its own
    except ChildProcessError:
        return None


def _is_dying(pid: int) -> bool:
    """Is every thread of a process on its way out, or about to be? A leader alone may have exited long ago."""
    return all(map(_is_thread_dying, Path(f"/proc/{pid}/task").glob("*")))


def _is_thread_dying(task: Path) -> bool:
    """Has a thread a SIGKILL pending, or is it exiting?"""
    try:
        status = (task / "status").read_text(errors="replace")
        flags = int((task / "stat").read_text(errors="replace").rpartition(")")[2].split()[6])
    except OSError:
        return True
    pending = [int(found, 16) for found in re.findall(r"^(?:Sig|Shd)Pnd:\s*(\w+)", status, re.MULTILINE)]
    return bool(flags & PF_EXITING) or any(mask >> (KILLED - 1) & 1 for mask in pending)


def _comm(pid: int) -> str:
    """The name of a process that has ended and is not waited for yet."""
    return Path(f"/proc/{pid}/comm").read_text(errors="replace").rstrip("\n")


def _noted(number: int, frame: FrameType | None) -> None:
    """Python has written the number into the pipe."""
