"""Values for memcg_priority from what cgroups do: who goes over its protection, stalls others or was killed before.

In oompolicy.toml:

    policy = "memcg_priority"        # the lowest value goes first
    scorers = ["by_pressure.py"]
"""

from __future__ import annotations

from collections.abc import Iterator

from oompolicy import Memcg, Scene, scorer

PAGES_A_STEP = 25_600  # 100 MiB
PARDONED_AFTER_MS = 600_000


@scorer
def by_pressure(scene: Scene) -> Iterator[tuple[Memcg, int]]:
    """0 for who keeps to what it was promised; less for each 100 MiB above it, and each 100 MiB taken in a second."""
    killed = {kill.cgroup for kill in scene.kills if scene.at_ms - kill.at_ms < PARDONED_AFTER_MS}
    is_short = (scene.read("psi.memory.some.avg10") or 0) > 10
    for memcg in scene.memcgs:
        over = scene.over_protection(memcg)
        if over is None:
            continue
        value = -max(over, 0) // PAGES_A_STEP
        if is_short:  # the files of each cgroup are read only when it matters
            value -= (scene.allocation(memcg) or 0) // PAGES_A_STEP
            value -= round(scene.read("cgroup.psi.memory.full.avg10", memcg) or 0)
        if scene.path(memcg) in killed:  # it has paid already
            value += 5
        yield memcg, value
