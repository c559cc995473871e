"""How a policy becomes force.

Belongs here: one room or file a backend, and which of them `auto` takes. Must not know: where snapshots come from,
who asked.
"""

from __future__ import annotations

import os
from typing import Literal

from oompolicy.errors import OompolicyError

Chosen = Literal["hook", "oom_score_adj", "dry_run"]


def choose_backend() -> tuple[Chosen, OompolicyError | None]:
    """The best backend that this process may use, and why it is not the hook. Changes nothing.

    Without root only the one that changes nothing.
    """
    if os.geteuid() != 0:
        return "dry_run", None
    from oompolicy.backends.hook.target import why_not

    reason = why_not()
    return ("hook", None) if reason is None else ("oom_score_adj", reason)
