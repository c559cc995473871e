"""What a scenario can say: cgroups, workloads, what runs out, who decides, what is expected.

Belongs here: the keys of a scenario with their types and defaults, in the words of docs/lab.md.
Must not know: how they are written in a file, how they are played.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from oompolicy.config import AssignRow, Parameter, Value

UNITS: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
MACHINE: Final = "machine"
SYSRQ: Final = "sysrq"
MORE: Final = "..."  # last among victims: whoever dies after them does not matter

Backend = Literal["none", "auto", "oom_score_adj", "hook", "kill"]
# Each description completes the sentence "expected ...".
Size = Annotated[
    Annotated[str, Meta(pattern=r"^[0-9]{1,12}[KMG]?$")] | Annotated[int, Meta(ge=0)],
    Meta(description='a size like "64M" or "512K", or a number of bytes'),
]
Limit = Annotated[
    Annotated[str, Meta(pattern=r"^(max|[0-9]{1,12}[KMG]?)$")] | Annotated[int, Meta(ge=0)],
    Meta(description='a limit like "64M" or "max", or a number of bytes'),
]
CgroupPath = Annotated[
    str,
    Meta(pattern=r"^/([^/\s]+(/[^/\s]+)*)?$", description='a path from the root of the cgroup tree, like "/job/db"'),
]
Name = Annotated[  # a comm has 15 bytes; MORE is a word of its own
    str,
    Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$", description="a name of 1 to 15 letters, digits, - . or _"),
]
Number = Annotated[int, Meta(ge=1, le=1000, description="a number from 1 to 1000")]
Adj = Annotated[int, Meta(ge=-1000, le=1000, description="a number from -1000 to 1000")]
Uid = Annotated[int, Meta(ge=0, lt=(1 << 32) - 1, description="the number of a user")]
Forks = Annotated[int, Meta(ge=0, le=1000, description="a number from 0 to 1000")]
Seconds = Annotated[float, Meta(gt=0, le=3600, description="a number of seconds, at most 3600")]
Mib = Annotated[int, Meta(ge=0, le=1 << 20, description="a number of MiB")]
Victims = Annotated[
    list[str | list[str]],
    Meta(description="a list of workloads in the order of their deaths; [names] inside it die in any order"),
]
Names = Annotated[list[str], Meta(description="a list of workloads")]
Params = Annotated[dict[str, Parameter], Meta(description="a table of parameters, like { FLOOR_PAGES = 100 }")]
Cannot = Annotated[dict[str, str], Meta(description='a table of backends, like { oom_score_adj = "why it cannot" }')]


class _Said(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Anything that a file can say: what is not a key of it is refused."""


class Swap(_Said, frozen=True):
    """memory.swap.* of a cgroup."""

    max: Limit | None = None
    high: Limit | None = None


class Oom(_Said, frozen=True):
    """memory.oom.* of a cgroup."""

    group: bool | None = None


class Memory(_Said, frozen=True):
    """memory.* of a cgroup, by the names of the kernel's own files."""

    max: Limit | None = None
    high: Limit | None = None
    low: Limit | None = None
    min: Limit | None = None
    swap: Swap = Swap()
    oom: Oom = Oom()

    def files(self) -> Iterator[tuple[str, str]]:
        """What is to be written into which file of the cgroup."""
        for name in ("min", "low", "high", "max"):
            if (limit := getattr(self, name)) is not None:
                yield f"memory.{name}", str(limit)
        for name in ("high", "max"):
            if (limit := getattr(self.swap, name)) is not None:
                yield f"memory.swap.{name}", str(limit)
        if self.oom.group is not None:
            yield "memory.oom.group", str(int(self.oom.group))


class Cgroup(_Said, frozen=True):
    """A cgroup: its memory.* files, and the value that policies read."""

    memory: Memory = Memory()
    value: Value | None = None


class Workload(_Said, frozen=True):
    """A process that holds memory; docs/lab.md has a table of these keys."""

    name: Name
    cgroup: CgroupPath = "/"
    size: Size = "1M"
    grow_to: Size | None = None
    forks: Forks = 0
    copies: Number = 1
    threads: Number = 1
    leader_exits: bool = False
    shmem: bool = False
    mlock: bool = False
    pageout: bool = False
    oom_score_adj: Adj = 0
    uid: Uid = 0
    late: bool = False

    @property
    def size_kib(self) -> int:
        """What it holds before anything runs out."""
        return kib(self.size)

    @property
    def words(self) -> list[str]:
        """What hog.c is told."""
        said = {
            "told": self.forks == 0,
            "forks": self.forks > 0,
            "shmem": self.shmem,
            "mlock": self.mlock,
            "pageout": self.pageout,
            "thread": self.leader_exits,
            f"threads={self.threads - 1}": self.threads > 1,
            f"uid={self.uid}": self.uid > 0,
        }
        return [word for word, is_said in said.items() if is_said]


class Round(_Said, frozen=True):
    """One OOM in a world of its own, and what is expected of it. None: as the scenario says for all its rounds."""

    about: str | None = None
    runs_out: str | None = None
    by: str | None = None
    policy: str | None = None
    params: Params | None = None
    backend: Backend | None = None
    cannot: Cannot | None = None
    victims: Victims | None = None
    victims_among: Names | None = None
    survivors: Names | None = None
    within_s: Seconds | None = None

    @property
    def deaths_awaited(self) -> int:
        """How many have to die before the round is over."""
        if self.victims is None:
            return 1
        return sum(1 if isinstance(item, str) else len(item) for item in self.victims if item != MORE)

    @property
    def scope(self) -> str | None:
        """The memcg that runs out; None: the machine."""
        return None if self.runs_out in (None, MACHINE, SYSRQ) else self.runs_out


class Machine(_Said, frozen=True):
    """The guest; see lab.guest.Machine."""

    memory_mib: Mib = 512
    swap_mib: Mib = 0
    processors: Number = 2
    append: str = ""


class World(_Said, frozen=True):
    """What is there before anything runs out. Cgroups are made and workloads started in the order written."""

    cgroup: dict[str, Cgroup] = {}
    workload: list[Workload] = []
    assign: list[AssignRow] = []


class ScenarioFile(Round, frozen=True):
    """A whole file. The keys of a round at the top are what its rounds have in common."""

    machine: Machine = Machine()
    cgroup: dict[str, Cgroup] = field(default_factory=dict)
    workload: list[Workload] = field(default_factory=list)
    assign: list[AssignRow] = field(default_factory=list)
    round: list[Round] = field(default_factory=list)
    time_limit_s: Seconds | None = None


class Play(_Said, frozen=True):
    """One round as it is carried into a guest: a world, and what happens to it. number counts from 1 in its scenario.

    settle_s is how long to look, after the last death that is awaited, for one more. trace_points: note what
    oom_badness() returns.
    """

    world: World
    round: Round
    number: int = 1
    settle_s: float = 0.4
    trace_points: bool = False

    @property
    def skipped(self) -> str | None:
        """Why it is not played: the backend cannot do what is wanted; None where it is played.

        What auto takes is known in the guest only: such a round is played, and judged by what was taken.
        """
        return (self.round.cannot or {}).get(self.round.backend or "none")


def kib(size: Size) -> int:
    """A size in KiB, rounded up.

    >>> kib("64M"), kib("3K"), kib(4096), kib("1000")
    (65536, 3, 4, 1)
    """
    if isinstance(size, str):
        size = int(size[:-1]) * UNITS[size[-1]] if size[-1] in UNITS else int(size)
    return -(-size // 1024)
