"""Who has grown most since the last look goes first: a scorer measures, the policy in the kernel looks it up.

oompolicy run --policy fastest_growing.py
"""

from __future__ import annotations

from collections.abc import Iterator

from oompolicy import DEFER, OomControl, Scene, Task, Verdict, policy


@policy
def fastest_growing(task: Task, oc: OomControl) -> int | Verdict:
    """The process that has grown fastest; who is new since the last look, by badness."""
    if task.value is None:
        return DEFER
    return task.value


@fastest_growing.scorer
def pages_a_second(scene: Scene) -> Iterator[tuple[Task, int]]:
    """Of each process that was there at the last look too."""
    for task in scene.tasks:
        growth = scene.growth(task)
        if growth is not None:
            yield task, growth
