"""An operator's Python that goes wrong in a running daemon: a scorer, and the policy of a rule.

Belongs here: what it raises and how long it takes, on real processes. Must not know: policies that work.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.kill.arena import Arena, arena_in, memory_hierarchy
from daemon.killer import OVER_MIB, configure, killer, rule, running, too_big, until
from oompolicy.contained_oom.workers import Worker

pytestmark = pytest.mark.root

SCORED = """
from pathlib import Path
from oompolicy import *

MODE = Path({mode!r})

@policy
def scored(task: Task, oc: OomControl) -> int | Verdict:
    return DEFER if task.value is None else task.value

@scored.scorer
def score(scene):
    mode = MODE.read_text()
    if mode == "raise":
        raise RuntimeError("out of order")
    if mode == "give nonsense":
        return 7
    while mode == "hang":
        pass
    return [(task, 10**9 if task.comm == mode else 1) for task in scene.tasks]
"""


@pytest.fixture
def arena() -> Iterator[Arena]:
    with arena_in(memory_hierarchy()) as arena:
        yield arena


class Scored:
    """Two processes, and a daemon whose scorer says which of them goes first."""

    def __init__(self, arena: Arena, folder: Path) -> None:
        self.mode = folder / "mode"
        self.first, self.second = (arena.workers.start(name, arena.memcg, 4) for name in ("first", "second"))
        (folder / "scored.py").write_text(SCORED.format(mode=str(self.mode)))
        head = f'policy = "scored.py"\ninterval_ms = 100\nscope = "{arena.scope}"\n'
        self.path = configure(folder, rule("big", f"{arena.scope}/*"), head=head, backend="oom_score_adj")

    def says(self, mode: str) -> None:
        """The file is replaced in one step: the scorer reads it all the time."""
        self.mode.with_suffix(".new").write_text(mode)
        self.mode.with_suffix(".new").rename(self.mode)

    def goes_first(self, worker: Worker) -> bool:
        other = self.first if worker is self.second else self.second
        return adj(worker) > adj(other)


def adj(worker: Worker) -> int:
    return int(Path(f"/proc/{worker.pid}/oom_score_adj").read_text())


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("raise", "RuntimeError: out of order: its earlier values stay"),
        ("give nonsense", "it returned 7; a scorer returns pairs of a task or memcg and its value"),
        ("hang", "it took longer than 1 s: does it loop? It is asked again in 10 s: its earlier values stay"),
    ],
)
def test_a_scorer_at_fault_is_said_once_and_its_last_values_stay_in_force(
    arena: Arena, trusted_folder: Path, mode: str, why: str
) -> None:
    scored = Scored(arena, trusted_folder)
    scored.says("first")
    with running(scored.path) as daemon:
        until(lambda: scored.goes_first(scored.first), why=lambda: daemon.log)
        scored.says(mode)
        daemon.until_said(why)
        time.sleep(3)
        assert len(daemon.saying("scorer score (")) == 1
        assert scored.goes_first(scored.first)
        scored.says("second")  # it is asked again, and works again
        until(lambda: scored.goes_first(scored.second), why=lambda: daemon.log)
        daemon.stop()
    assert adj(scored.first) == adj(scored.second) == 0


def test_a_scorer_that_hangs_does_not_keep_a_rule_from_killing(arena: Arena, trusted_folder: Path) -> None:
    scored = Scored(arena, trusted_folder)
    scored.says("hang")
    with running(scored.path) as daemon:
        daemon.until_said("it took longer than 1 s")
        started_s = time.monotonic()
        worker = too_big(arena)
        until(worker.was_killed, why=lambda: daemon.log)
        assert time.monotonic() - started_s < 8
        daemon.stop()


POLICY = """
from oompolicy import *

@policy
def odd(task: Task, oc: OomControl) -> int | Verdict:
    {body}
"""


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return 1 // (task.pid - task.pid)", "policy odd faulted: ZeroDivisionError"),
        ("return 'nobody'", "policy odd faulted: it returned 'nobody'"),
        ("while True: pass", "policy odd faulted: it took longer than 1 s"),
    ],
)
def test_where_a_rule_s_policy_is_at_fault_badness_chooses(
    arena: Arena, trusted_folder: Path, body: str, why: str
) -> None:
    (trusted_folder / "odd.py").write_text(POLICY.format(body=body))
    with killer(trusted_folder, rule("big", f"{arena.scope}/*", 'action = "kill"\npolicy = "odd.py"')) as daemon:
        both = arena.memcg.child("both")
        small = arena.workers.start("small", both, 2)
        big = arena.workers.start("big", both, 4)
        big.hold(OVER_MIB)
        until(big.was_killed, 10, lambda: daemon.log)
        assert why in daemon.until_said("faulted")
        assert daemon.until_said("faulted").endswith("the kernel's badness counts there")
        assert not small.was_killed()
        daemon.stop()
