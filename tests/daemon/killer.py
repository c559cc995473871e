"""A daemon as a person starts it, with rules that really kill, and nobody in reach of them but processes of the test's.

Belongs here: its configuration, its process, its log, systemd's end of its socket. Must not know: what is tried on it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backends.kill.arena import Arena
from oompolicy.contained_oom.own_memcg import OwnMemcg
from oompolicy.contained_oom.workers import Worker
from sources.fake_machine import write

WITHIN_S = 60.0
# A cgroup that uses more is one that rules are about.
OVER_MIB = 16


def until(what: Callable[[], object], within_s: float = WITHIN_S, why: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, why() or "it did not come about"
        time.sleep(0.02)


@dataclass
class Killer:
    """One daemon: process, log, and what it has told systemd."""

    folder: Path
    systemd: socket.socket
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> list[str]:
        return (self.folder / "log").read_text(errors="surrogateescape").splitlines()

    def saying(self, text: str) -> list[str]:
        return [line for line in self.log if text in line]

    def until_said(self, text: str, times: int = 1, within_s: float = WITHIN_S) -> str:
        """The line, when it has been said so often."""
        until(lambda: len(self.saying(text)) >= times or self.process.poll() is not None, within_s, lambda: self.log)
        found = self.saying(text)
        assert len(found) >= times, (text, self.log)
        return found[times - 1]

    def heard(self, within_s: float = WITHIN_S) -> str:
        """The next thing that it tells systemd; nothing where it says nothing for so long."""
        self.systemd.settimeout(within_s)
        try:
            return self.systemd.recv(4096).decode()
        except TimeoutError:
            return ""

    def start(self) -> None:
        """Start it; it is ready when this returns."""
        with (self.folder / "log").open("ab") as log:
            environment = {**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify"), **self.environment}
            self.process = subprocess.Popen(self.command, stderr=log, env=environment)
        until(lambda: self.process.poll() is not None or "READY=1" in self.heard(1), why=lambda: self.log)
        assert self.process.poll() is None, self.log

    def stop(self) -> None:
        """As systemd does; what it had set is put back."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(WITHIN_S) == 0, self.log


def with_mounts(*commands: str) -> tuple[str, ...]:
    """A prefix for a command line: it runs in a mount namespace of its own, after these commands of a shell."""
    for tool in ("unshare", "mount"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    return ("unshare", "--mount", "sh", "-ec", "\n".join([*commands, 'exec "$@"']), "sh")


@contextlib.contextmanager
def folder_of_root() -> Iterator[Path]:
    """As the fixture trusted_folder, for what lives longer than a test."""
    folder = Path(tempfile.mkdtemp(prefix="oompolicy-test-", dir="/run"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def rule(name: str, scope: str, more: str = 'action = "kill"', when: str = "") -> str:
    """A row about cgroups below that one, which fires where more is used than OVER_MIB."""
    when = when or f"cgroup.current_mib > {OVER_MIB}"
    return f"[[rule]]\nname = {name!r}\nwhen = {when!r}\nscope = {scope!r}\n{more}\n"


def configure(folder: Path, *rows: str, head: str = "", backend: str = "kill") -> Path:
    path = folder / "oompolicy.toml"
    write(path, "\n".join((f'backend = "{backend}"\nstate_dir = "{folder}/state"\n{head}', *rows)))
    return path


@contextlib.contextmanager
def killer(
    folder: Path, *rows: str, head: str = "", prefix: tuple[str, ...] = (), environment: dict[str, str] | None = None
) -> Iterator[Killer]:
    """Started with rules alone, and ready; at the end it is gone. prefix comes before its command line."""
    with running(configure(folder, *rows, head=head), prefix, environment) as daemon:
        yield daemon


@contextlib.contextmanager
def running(path: Path, prefix: tuple[str, ...] = (), environment: dict[str, str] | None = None) -> Iterator[Killer]:
    """The same with a configuration that is there already."""
    folder = path.parent
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(folder / "notify"))
        command = [*prefix, sys.executable, "-m", "oompolicy", "run", "--config", str(path)]
        daemon = Killer(folder, systemd, command, environment=environment or {})
        try:
            daemon.start()
            yield daemon
        finally:
            daemon.process.kill()
            daemon.process.wait()


def too_big(arena: Arena, name: str = "big", memcg: OwnMemcg | None = None) -> Worker:
    """One that makes rules fire, in a cgroup below the test's own."""
    worker = arena.workers.start(name, memcg or arena.memcg.child(name), 1)
    worker.hold(OVER_MIB + 8)  # it may be killed before it can say that it has got it
    return worker
