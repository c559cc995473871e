"""A policy put in force in the guest, as an operator does it: by `oompolicy run`.

Belongs here: its configuration, starting and stopping it, knowing when the policy is in force.
Must not know: how any backend does it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from oompolicy.backends.hook.poke import Poked, look_now

from lab.world import Play, Round, World

FOLDER = Path("/lab/policy")
COMING_S = 30.0
GOING_S = 20.0
INTERVAL_MS = 1000
IN_FORCE = re.compile(r"holds in \d+ of \d+ scopes|policy \S+ is in force")


class Daemon:
    """One daemon with one policy."""

    def __init__(self, config: str) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.config = config
        self._log = FOLDER / "log"
        path = FOLDER / "oompolicy.toml"
        path.write_text(config)
        path.chmod(0o644)
        command = [sys.executable, "-m", "oompolicy", "run", "--config", str(path)]
        with self._log.open("wb") as log:
            nowhere = subprocess.DEVNULL
            self._popen = subprocess.Popen(command, stdin=nowhere, stdout=log, stderr=log, process_group=0)

    @property
    def log(self) -> str:
        """What the daemon has said."""
        return self._log.read_text(errors="replace")

    def has_ended(self) -> bool:
        """Has the daemon ended? Then it is waited for."""
        return self._popen.poll() is not None

    def wait(self) -> str | None:
        """Wait until the policy is in force; what went wrong, or None."""
        deadline = time.monotonic() + COMING_S
        while time.monotonic() < deadline:
            if IN_FORCE.search(self.log):
                return None
            if self.has_ended():
                last = (self.log.strip().splitlines() or ["it said nothing"])[-1]
                return f"the policy is not in force: {last}"
            time.sleep(0.02)
        return f"the policy was not in force within {COMING_S:.0f} s"

    def stop(self) -> str | None:
        """Stop the daemon, which puts everything back; what went wrong, or None."""
        self._popen.terminate()
        try:
            status = self._popen.wait(GOING_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
            return f"the daemon did not stop within {GOING_S:.0f} s"
        return None if status == 0 else f"the daemon ended with status {status}"


class Force:
    """The policy of one round after the other.

    Starting a daemon takes seconds. Under the hook it therefore goes on into the next round, if that wants the same,
    and is told to look at the new world; oom_score_adj is started anew, since it looks only now and then.
    """

    def __init__(self) -> None:
        self.daemon: Daemon | None = None
        self._log_before = 0

    @property
    def log(self) -> str:
        """What the daemon has said since the round began."""
        return "" if self.daemon is None else self.daemon.log[self._log_before :]

    def begin(self, this: Play) -> str | None:
        """Before a round: only a daemon of the same policy may be there. What went wrong, or None."""
        self._log_before = 0
        if self.daemon is None:
            return None
        if self.daemon.config != configuration(this.world, this.round) or self.daemon.has_ended():
            return self.stop()
        self._log_before = len(self.daemon.log)
        return None

    def put(self, this: Play) -> str | None:
        """Put the round's policy in force in its world; what went wrong, or None."""
        if self.daemon is None:
            self.daemon = Daemon(configuration(this.world, this.round))
            return self.daemon.wait()
        poked = look_now()
        return None if poked is Poked.IN_FORCE else f"the policy is not in force: {poked.value}"

    def end(self, this: Play) -> str | None:
        """After a round; what went wrong, or None."""
        return None if this.round.backend == "hook" else self.stop()

    def stop(self) -> str | None:
        """No policy any more; what went wrong, or None."""
        daemon, self.daemon = self.daemon, None
        return None if daemon is None else daemon.stop()


def configuration(world: World, said: Round) -> str:
    """oompolicy.toml for a round."""
    lines = [
        f"backend = {_toml(said.backend)}",
        f"policy = {_toml(said.policy)}",
        f"interval_ms = {INTERVAL_MS}",
    ]
    lines += ["[params]", *(f"{name} = {_toml(value)}" for name, value in (said.params or {}).items())]
    for row in world.assign:
        lines.append("[[assign]]")
        keys = msgspec.to_builtins(row).items()
        lines += [f"{name} = {_toml(value)}" for name, value in keys if value is not None]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """A number, a text or a list of them: JSON's form of these is TOML's."""
    return json.dumps(value)
