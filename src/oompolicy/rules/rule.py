"""A rule as the configuration has it, and the order that a rule gives when it fires.

Belongs here: data. Must not know: how a condition is judged, how an order is carried out.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple


class Kill(enum.Enum):
    """How much dies with the chosen one."""

    PROCESS = "process"  # it alone, or its whole cgroup where memory.oom.group says so
    TREE = "tree"  # it and all that descends from it
    CGROUP = "cgroup"  # the whole cgroup it is in, below the rule's scope


class Other(enum.Enum):
    """What can be done instead of killing: to the scope itself; to the chosen one's cgroup where the scope is the
    machine, or the rule has a policy of its own.
    """

    FREEZE = "freeze"
    THAW = "thaw"
    RECLAIM = "reclaim"  # memory.reclaim, `amount_bytes` of it
    HIGH = "high"  # memory.high to `amount_bytes`, undone after `for_ms`
    RESTART = "restart"  # the systemd unit of the cgroup
    NOTIFY = "notify"  # the command alone
    NOTHING = "nothing"  # said in the log; what a dry run does of any


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `kills` in any span of `per_ms`."""

    kills: int
    per_ms: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One [[rule]].

    when: the condition's text; python: instead of it, a function of a file ("FILE.py:NAME"). scope: globs on the path
    from the root of the cgroups that the rule is judged for, each on its own (scopes.matches); ("/",) is the machine.
    policy: who is chosen among the processes of the scope (None: the daemon's). among: patterns of cgroups that are
    compared with each other and killed whole, by numbers (ranking.py); is_recursive: and their children. grace_ms:
    SIGTERM first, and SIGKILL after so long; 0 kills at once. pre_kill: a command with a time limit that is run before.
    cooldown_ms: how long the rule rests in this scope when what it ordered is done; after it, what must last must last
    anew, unless must_last_anew is false. budget: of each scope's kills.
    """

    name: str
    when: str
    scope: tuple[str, ...] = ("/",)
    policy: str | None = None
    params: tuple[tuple[str, object], ...] = ()
    action: Kill | Other = Kill.PROCESS
    among: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    is_recursive: bool = False
    amount_bytes: int = 0
    for_ms: int = 0
    grace_ms: int = 0
    cooldown_ms: int = 5_000
    must_last_anew: bool = True
    budget: Budget | None = None
    pre_kill: tuple[str, ...] = ()
    pre_kill_limit_ms: int = 5_000
    notify: tuple[str, ...] = ()
    is_dry_run: bool = False
    python: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A rule has fired for one scope, a cgroup's path or "/" for the machine. why: the condition, with numbers.

    compared: of a rule that compares cgroups, their paths with the numbers of each; None where one is not known.
    """

    rule: Rule
    scope: str
    why: str
    compared: tuple[tuple[str, tuple[float | None, ...]], ...] = ()


class Victim(NamedTuple):
    """Who died."""

    pid: int
    comm: str

    @property
    def name(self) -> str:
        """In words.

        >>> Victim(42, "sort").name
        'sort (42)'
        """
        return f"{self.comm} ({self.pid})"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order, for the judge and for the log.

    killed: how many processes. freed_bytes: what came back until freed_ms. failed: why nothing was done, None where
    something was. cgroup: the first victim's, or the one that it was done to; None where there is none.
    """

    order: Order
    killed: int = 0
    freed_bytes: int = 0
    at_ms: int = 0
    failed: str | None = None
    victims: tuple[Victim, ...] = ()
    cgroup: str | None = None
