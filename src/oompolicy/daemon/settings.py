"""What a daemon is started with, as plain data that another process can hand over.

Belongs here: the data, and its way through a descriptor. Must not know: files, the command line, what anything means.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from oompolicy.assign import Assignment
from oompolicy.errors import ConfigError
from oompolicy.rules.protect import Protect
from oompolicy.rules.rule import Budget, Rule
from oompolicy.values.unit_settings import UnitSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """config.Config with what the command line has put over it, without the libraries that reading one takes.

    parameters are the command line's, params the file's; compiled and shadowing are the hook's; command is the command
    line that reads all of it anew. watched is the file whose changes are a reason to (None: only SIGHUP is), with its
    drop-ins and the Python files that it names. scorers are files; units is what systemd's unit files say.
    """

    backend: str = "auto"
    policy: str = "kernel_default"
    params: tuple[tuple[str, int | str | tuple[int | str, ...]], ...] = ()
    parameters: tuple[str, ...] = ()
    interval_ms: int = 5000
    drift: Literal["correct", "leave"] = "correct"
    scope: str | None = None
    state_dir: Path = Path("/run/oompolicy")
    ttl_ms: int | None = None
    assign: tuple[Assignment, ...] = field(default=(), repr=False)
    rules: tuple[Rule, ...] = field(default=(), repr=False)
    budget: Budget | None = None
    protect: Protect | None = None
    compiled: bool | None = None
    shadowing: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    scorers: tuple[str, ...] = ()
    units: UnitSettings = field(default_factory=UnitSettings, repr=False)
    watched: Path | None = None
    python: tuple[Path, ...] = ()


def packed(settings: Settings) -> bytes:
    """The settings as bytes for a process of the same program."""
    return pickle.dumps(settings)


def unpacked(data: bytes) -> Settings:
    """The settings of packed(). Raises ConfigError where they are not.

    Only bytes of our own processes come here: pickle runs whatever it is told to.
    """
    try:
        found = pickle.loads(data)  # noqa: S301 - see above
    except Exception as error:
        raise ConfigError("the configuration", f"did not arrive ({error})") from None
    assert isinstance(found, Settings)
    return found
