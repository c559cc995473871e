"""Starting workers in memcgs, telling them what to hold, and seeing who died.

Belongs here: the processes of a contained OOM. Must not know: why it is made.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from oompolicy.contained_oom.own_memcg import OwnMemcg
from oompolicy.errors import OompolicyError

ANSWER_WITHIN_S = 60.0
WORKER = Path(__file__).with_name("worker.py")


class Worker:
    """One process in a memcg of ours, under a name of our choice."""

    def __init__(self, name: str, memcg: OwnMemcg) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(WORKER), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.pid = self._process.pid
        memcg.add(self.pid)
        # Inherited from us it might be -1000, and nobody could be killed. Raising it is anybody's right.
        Path(f"/proc/{self.pid}/oom_score_adj").write_text("0")

    def hold(self, size_mib: int) -> bool:
        """Let it touch that much more memory; False if it died of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(b"%d\n" % size_mib)
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_WITHIN_S)
        if not ready:
            raise OompolicyError(f"{self.name} ({self.pid})", f"did not get {size_mib} MiB in {ANSWER_WITHIN_S:g} s")
        return self._process.stdout.readline() != b""

    def was_killed(self) -> bool:
        """Has SIGKILL ended it by now?"""
        return self._process.poll() == -signal.SIGKILL

    def end(self) -> None:
        """End it, if it still lives, and reap it."""
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue


class Workers:
    """All workers of one OOM; ended on leaving the `with`."""

    def __init__(self) -> None:
        self.all: list[Worker] = []

    def start(self, name: str, memcg: OwnMemcg, size_mib: int) -> Worker:
        """One more, which holds that much when this returns."""
        worker = Worker(name, memcg)
        self.all.append(worker)
        if not worker.hold(size_mib):
            raise OompolicyError(
                f"{name} ({worker.pid})", f"died before it held {size_mib} MiB", "is the machine full?"
            )
        return worker

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.all:
            worker.end()
