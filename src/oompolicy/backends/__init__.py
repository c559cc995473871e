"""How a policy becomes force.

Belongs here: one room or file a backend, and which of them `auto` takes. Must not know: where snapshots come from,
who asked.
"""

from __future__ import annotations

import os
from typing import Literal


def choose_backend() -> Literal["oom_score_adj", "dry_run"]:
    """The best backend that this process may use: without root only the one that changes nothing."""
    return "oom_score_adj" if os.geteuid() == 0 else "dry_run"
