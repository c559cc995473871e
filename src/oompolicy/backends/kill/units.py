"""From a cgroup's path to the systemd unit that it is.

Belongs here: systemd's naming of cgroups. Must not know: what is done to a unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# A scope is made by somebody, not by a unit file: it cannot be started again. A slice has no processes of its own.
_RESTARTABLE: Final = (".service", ".socket", ".mount", ".swap")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit, of the system or of a user's own manager."""

    name: str
    user: str | None = None

    def command(self, verb: str) -> tuple[str, ...]:
        """systemctl, for that manager; it returns when the job is queued. A unit name is never an option."""
        manager = () if self.user is None else ("--user", f"--machine={self.user}@.host")
        return ("systemctl", *manager, "--no-block", "--no-ask-password", verb, "--", self.name)


def unit_of(cgroup: str) -> Unit | None:
    """The unit that a cgroup is, or is in; None where it is in none that can be restarted.

    A unit's own cgroup is named as the unit, with "_" before it where it could be taken for a file of the kernel
    (cg_escape(), src/basic/cgroup-util.c of systemd). Below user@UID.service are the units of that user's manager,
    whose own cgroup is not meant: to restart it would end the session.

    >>> unit_of("/system.slice/db.service/worker")
    Unit(name='db.service', user=None)
    >>> unit_of("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service")
    Unit(name='web.service', user='1000')
    >>> unit_of("/user.slice/user-1000.slice/session-2.scope") is None
    True
    """
    user: str | None = None
    found: Unit | None = None
    for part in cgroup.split("/"):
        name = part.removeprefix("_")
        if name.startswith("user@") and name.endswith(".service"):
            user, found = name.removeprefix("user@").removesuffix(".service"), None
        elif found is None and name.endswith(_RESTARTABLE):
            found = Unit(name, user)
    return found
