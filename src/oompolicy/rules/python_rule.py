"""@rule: a condition that is a Python function, for what one line cannot say. It runs in user space, at each look.

Belongs here: what the function sees, and what becomes of its answer and of its faults. Must not know: files, timers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeAlias, overload

from oompolicy.mistakes import line_in, nearest
from oompolicy.policy.decision import CallLimit, PolicyTimeoutError
from oompolicy.rules.condition import Answer, Memory
from oompolicy.rules.fields import BY_NAME, FIELDS, Field
from oompolicy.rules.look import Look
from oompolicy.rules.readings import CgroupReading, MachineReading
from oompolicy.rules.watch import REGULAR_MS, WaitWatch, Watch


class Now:
    """What a rule's function is given: the readings of its scope, and every field of docs/conditions.md by its name.

    now["mem_available_percent"] is None where it is not known. machine and cgroup are the raw readings, in bytes;
    before is the look before, at least half a second older, None at first.
    """

    def __init__(self, look: Look) -> None:
        self._look = look

    def __getitem__(self, name: str) -> float | None:
        if name not in BY_NAME:
            near = nearest(name, BY_NAME)
            raise KeyError(f"there is no field {name}" + (f": did you mean {near}?" if near else ""))
        return BY_NAME[name].read(self._look)

    @property
    def scope(self) -> str:
        """The cgroup's path from the root, "/" for the machine."""
        return self._look.scope

    @property
    def at_ms(self) -> int:
        """When it was looked; a clock that only goes on."""
        return self._look.now.at_ms

    @property
    def machine(self) -> MachineReading:
        """The machine."""
        return self._look.machine

    @property
    def cgroup(self) -> CgroupReading | None:
        """The scope's cgroup; None where the scope is the machine."""
        return self._look.cgroup

    @property
    def before(self) -> Now | None:
        """The look before."""
        earlier = self._look.earlier
        return None if earlier is None else Now(earlier)


RuleFunction: TypeAlias = Callable[[Now], bool | str | None]


class PythonRule:
    """A function (now) -> True, False or None, or a text: then it is true, and the text says why.

    It is asked every every_ms, and whenever the daemon looks for another reason. What it raises counts as false and is
    told once; one that takes too long is not asked again.
    """

    def __init__(self, function: RuleFunction, every_ms: int = REGULAR_MS, limit: CallLimit = nullcontext) -> None:
        self.function = function
        self.every_ms = every_ms
        self.name = getattr(function, "__name__", "rule")
        self._limit = limit
        self._is_out = False

    def __repr__(self) -> str:
        return f"<rule {self.name}>"

    def __call__(self, now: Now) -> bool | str | None:
        """The function's own answer."""
        return self.function(now)

    @property
    def source_path(self) -> str | None:
        """The file it was read from; None for a function without code of its own."""
        code = getattr(self.function, "__code__", None)
        return None if code is None else str(code.co_filename)

    @property
    def text(self) -> str:
        """What tells it from other conditions."""
        return f"{self.source_path}:{self.name}"

    @property
    def fields(self) -> tuple[Field, ...]:
        """All: what it asks for is only known when it does."""
        return FIELDS

    @property
    def others(self) -> tuple[str, ...]:
        """It sees its scope and the machine alone."""
        return ()

    def limited(self, limit: CallLimit) -> PythonRule:
        """The same function, with a limit on the time of each call."""
        return PythonRule(self.function, self.every_ms, limit)

    def judge(self, look: Look, memory: Memory) -> tuple[Answer, Memory]:
        """Its answer; it remembers for itself what it wants to."""
        memory = Memory(seen_ms=look.now.at_ms)
        if self._is_out:
            return Answer(False), memory
        try:
            with self._limit():
                found: object = self.function(Now(look))
        except PolicyTimeoutError as timeout:
            self._is_out = True
            return Answer(False, faults=(f"{timeout} It is not asked again.",)), memory
        except Exception as error:
            return Answer(False, faults=(self._fault(error),)), memory
        if isinstance(found, bool | str) or found is None:
            why = found if isinstance(found, str) else f"{self.name} says so"
            return Answer(bool(found), why if found else ""), memory
        return Answer(False, faults=(f"it returned {found!r}, not True, False or a text",)), memory

    def watches(self, look: Look, memory: Memory) -> tuple[Watch, ...]:
        """Nothing is known of what it waits for."""
        return () if self._is_out else (WaitWatch(self.every_ms),)

    def _fault(self, error: Exception) -> str:
        line = line_in(error, self.source_path)
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        return f"{type(error).__name__}: {said}" + ("" if line is None else f" (line {line})")


@overload
def rule(function: RuleFunction) -> PythonRule: ...
@overload
def rule(*, every_ms: int) -> Callable[[RuleFunction], PythonRule]: ...
def rule(
    function: RuleFunction | None = None, *, every_ms: int = REGULAR_MS
) -> PythonRule | Callable[[RuleFunction], PythonRule]:
    """Mark a function of Now as a rule's condition; [[rule]] names it: python = "FILE.py:NAME".

    >>> @rule
    ... def short(now: Now) -> bool:
    ...     return now.machine.mem_available_bytes < now.machine.mem_total_bytes // 20
    >>> short
    <rule short>
    """
    if function is not None:
        return PythonRule(function, every_ms)
    return lambda function: PythonRule(function, every_ms)
