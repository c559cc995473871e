"""Who watches over memory, by name: the command, the cgroup and the configuration that its package gives it.

Belongs here: the table. Must not know: loads, guests. Each is told in its own way that the database and the shell
must live, and nothing else is changed of what its package ships.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# As systemd lays a machine out.
DATABASE: Final = "/system.slice/database.service"
SHELL: Final = "/user.slice/user-1000.slice/session-1.scope"
BROWSER: Final = "/user.slice/user-1000.slice/user@1000.service/app-browser.scope"
LOAD: Final = "/user.slice/user-1000.slice/user@1000.service/app-load.scope"
MUST_LIVE: Final = ("database", "shell")

NONE: Final = "none"
OURS: Final = "oompolicy"
_PYTHON: Final = "/usr/bin/python3"


@dataclass(frozen=True, slots=True)
class Contender:
    """command is empty for nobody. cgroup: what its unit file sets; avoid: cgroups that get trusted.oomd_avoid."""

    name: str
    command: tuple[str, ...] = ()
    cgroup: dict[str, str] = field(default_factory=dict)
    oom_score_adj: int = 0
    nice: int = 0
    avoid: tuple[str, ...] = ()
    module: bool = False


CONTENDERS: Final = {
    contender.name: contender
    for contender in (
        Contender(NONE),
        Contender(
            "earlyoom",
            ("/usr/bin/earlyoom", "-r", "3600", "--avoid", "^(database|shell)$"),
            {"memory.max": "50M", "pids.max": "10"},
        ),
        Contender(
            "nohang",
            (_PYTHON, "/usr/sbin/nohang", "--monitor", "--config", "/etc/nohang/nohang-desktop.conf"),
            {"memory.max": "100M", "memory.swap.max": "100M", "pids.max": "25"},
        ),
        Contender(
            "oomd",
            ("/usr/bin/oomd", "--interval", "1", "--config", "/etc/oomd/oomd.json"),
            {"memory.low": "64M"},
            avoid=(DATABASE, SHELL),
        ),
        Contender(
            OURS,
            (_PYTHON, "-m", "oompolicy", "run", "--config", "/etc/oompolicy/oompolicy.toml"),
            {"memory.min": "32M", "pids.max": "32", "cpu.weight": "1000"},
            oom_score_adj=-1000,
            nice=-10,
            module=True,
        ),
    )
}
