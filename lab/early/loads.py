"""The loads that take the machine's memory, by name.

Belongs here: how each is started, and how long it is let go on. Must not know: who watches over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Files on the disk, and their MiB: what the load reads, and what the shell's programs are.
DATA: Final = "/var/data"
PROGRAMS: Final = "/var/programs"
FILES_MIB: Final = {DATA: 240, PROGRAMS: 24}
FILLED: Final = "/tmp/filled"  # on a tmpfs that is larger than memory and swap


@dataclass(frozen=True, slots=True)
class Load:
    """arguments are those of load.c. watched_s: how long the machine is looked at after the load has gone."""

    name: str
    about: str
    arguments: tuple[str, ...]
    limit_s: float = 30
    watched_s: float = 4


LOADS: Final = {
    load.name: load
    for load in (
        Load(
            "thrash",
            "24 processes whose working set, two fifths of it files, is half as large again as memory",
            ("thrash", "16", DATA, "10", "24"),
        ),
        Load("leak", "one process that takes 100 MiB a second", ("leak", "100")),
        Load("bomb", "a fork bomb, whose children hold 1 MiB each", ("bomb", "1024")),
        Load("fill", "a file in a tmpfs that grows and grows", ("fill", FILLED, "100"), watched_s=10),
        Load("many", "four hundred processes of 3 MiB each", ("many", "3", "400")),
    )
}
