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

from lab.world import Round, World

FOLDER = Path("/lab/policy")
COMING_S = 30.0
GOING_S = 20.0
INTERVAL_MS = 1000
IN_FORCE = re.compile(r"holds in \d+ of \d+ scopes|policy \S+ is in force")


class InForce:
    """One daemon with one policy."""

    def __init__(self, world: World, said: Round) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        self._log = FOLDER / "log"
        config = FOLDER / "oompolicy.toml"
        config.write_text(configuration(world, said))
        config.chmod(0o644)
        command = [sys.executable, "-m", "oompolicy", "run", "--config", str(config)]
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = self._popen.pid

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
