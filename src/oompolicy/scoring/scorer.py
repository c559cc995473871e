"""@scorer: a Python function that gives tasks and memcgs their values, whichever policy reads them.

Belongs here: the mark, and which scorers a policy goes by. Must not know: when they are asked, what a value means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from oompolicy.policy.api import Policy
from oompolicy.policy.view import Memcg, Task
from oompolicy.scoring.scene import Scene

Said: TypeAlias = "Mapping[Task, int] | Mapping[Memcg, int] | Iterable[tuple[Task | Memcg, int]]"
ScorerFunction: TypeAlias = Callable[[Scene], Said]


@dataclass(frozen=True, eq=False)
class Scorer:
    """A function (scene) -> pairs of a task or memcg and its value."""

    function: ScorerFunction

    @property
    def name(self) -> str:
        """The function's own."""
        return getattr(self.function, "__name__", "scorer")

    @property
    def source_path(self) -> str | None:
        """The file it was read from; None for a function without code of its own."""
        code = getattr(self.function, "__code__", None)
        return None if code is None else str(code.co_filename)

    def __call__(self, scene: Scene) -> Said:
        """What it says of a scene."""
        return self.function(scene)


def scorer(function: ScorerFunction) -> Scorer:
    """Mark a function of a scene as a scorer for any policy; `scorers` in oompolicy.toml names its file.

    >>> @scorer
    ... def by_age(scene: Scene):
    ...     return {task: -task.age_ms for task in scene.tasks}
    >>> by_age.name
    'by_age'
    """
    return Scorer(function)


def scorers_of(policy: Policy, others: Sequence[Scorer] = ()) -> tuple[Scorer, ...]:
    """Those of the configuration, and last, so that it goes before them, the policy's own."""
    return tuple(others) if policy.scoring is None else (*others, Scorer(policy.scoring))
