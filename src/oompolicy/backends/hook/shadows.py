"""Candidates for being the policy: asked beside the live one in the same OOM, deciding nothing.

Belongs here: attaching, pinning and replacing them. Must not know: how they are made, what comes of what they say.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from oompolicy.backends.hook.ruling import Ruling
from oompolicy.bpf.links import Link
from oompolicy.bpf.pins import pin, unpin
from oompolicy.bpf.uapi import AttachType

PREFIX: Final = "shadow-"


def attach_all(rulings: Sequence[Ruling], folder: Path) -> None:
    """Let these run beside the live policy, and no others; pins keep them. Raises BpfError."""
    before = _pinned(folder)
    for ruling in rulings:
        with Link.attach(ruling.program, AttachType.TRACE_FENTRY) as link:
            pin(link, folder / f"{PREFIX}{ruling.id:016x}-{time.monotonic_ns():x}")
    for name in before:
        unpin(folder / name)


def _pinned(folder: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(name for name in os.listdir(folder) if name.startswith(PREFIX))
    return []
