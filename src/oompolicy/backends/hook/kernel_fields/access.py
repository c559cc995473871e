"""Which ways to memory this kernel's verifier allows, and remembering that.

Belongs here: the finding, and its file beside the remembered BTF. Must not know: how it is found (trial.py).
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from oompolicy.errors import OompolicyError
from oompolicy.trusted_file import read_trusted

FORMAT: Final = 1  # of the file: another set of ways, or another trial, another number


@dataclass(frozen=True, slots=True)
class Access:
    """What may be done; where not, there is another way.

    casts: bpf_rdonly_cast() gives an address a type. Else: probing. loads_comm: eight bytes of task->comm in one load.
    Else: probing. sums_cpus: per-CPU counters can be summed. Else: what has been folded into the counter counts alone.
    """

    casts: bool = True
    loads_comm: bool = True
    sums_cpus: bool = True


NONE: Final = Access(casts=False, loads_comm=False, sums_cpus=False)


def load(path: Path) -> Access | None:
    """What the file remembers; None where it is missing, damaged or not to be trusted."""
    try:
        found = json.loads(read_trusted(path))
        if found.pop("format") != FORMAT or set(found) != {each.name for each in fields(Access)}:
            return None
        return Access(**{name: bool(value) for name, value in found.items()})
    except (OompolicyError, ValueError, TypeError, LookupError, AttributeError):
        return None


def save(access: Access, path: Path) -> None:
    """Write it, whole or not at all; a folder that cannot be written is no reason to fail."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # O_EXCL: a link that somebody laid there is not followed.
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump({"format": FORMAT} | asdict(access), file)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
