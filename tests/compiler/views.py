"""A made-up world as plain Python sees it: the attributes of policy/view.py, each read from the world.

So that one world answers the original function and the interpreter of the IR alike.
"""

from __future__ import annotations

from typing import cast

from oompolicy.compiler.interp import World
from oompolicy.compiler.ir import BandNumber
from oompolicy.compiler.subset import BY_NAME, FieldKind
from oompolicy.policy import OomControl, Policy, Task, Verdict
from oompolicy.policy.decision import checked_answer


class _View:
    """One object of a world."""

    _kind = ""

    def __init__(self, world: World, number: object) -> None:
        self._world = world
        self._number = number

    def __getattr__(self, name: str) -> object:
        row = BY_NAME.get(f"{self._kind}.{name}")
        if row is None or name.startswith("_"):
            raise AttributeError(name)
        found = self._world.read(row.name, self._number, None)
        match row.kind:
            case FieldKind.COMM:
                assert isinstance(found, bytes)
                return found.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            case FieldKind.BOOL:
                return bool(found)
            case FieldKind.MEMCG:
                return None if found is None else MemcgView(self._world, found)
            case FieldKind.TASK:
                return None if found is None else TaskView(self._world, found)
        return found


class TaskView(_View):
    """A task."""

    _kind = "task"


class MemcgView(_View):
    """A memcg."""

    _kind = "memcg"

    def is_under(self, other: str | MemcgView) -> bool:
        """As policy.view.Memcg has it: every memcg is under the root."""
        argument = other._number if isinstance(other, MemcgView) else "/" + other.strip("/")
        return argument == "/" or bool(self._world.read("memcg.is_under", self._number, argument))


class OomControlView(_View):
    """The OOM."""

    _kind = "oc"


def python_says(policy: Policy, world: World, task: object, oc: object) -> tuple[BandNumber, int] | Exception:
    """What the policy's own function answers, or the fault."""
    try:
        answer = policy(cast(Task, TaskView(world, task)), cast(OomControl, OomControlView(world, oc)))
        checked = checked_answer(answer)
    except Exception as fault:
        return fault
    return (BandNumber[checked.name], 0) if isinstance(checked, Verdict) else (BandNumber.SCORE, checked)
