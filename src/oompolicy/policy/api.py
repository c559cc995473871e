"""@policy: a Python function becomes a named policy with parameters, a preselection and a scorer.

Belongs here: the Policy object and how its module's constants are changed. Must not know: files, points, kernels.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeGuard, TypeVar

from oompolicy.errors import PolicyError
from oompolicy.policy.verdict import Verdict
from oompolicy.policy.view import Memcg, OomControl, Task

PolicyFunction: TypeAlias = Callable[[Task, OomControl], "int | Verdict"]
Preselection: TypeAlias = Callable[[Sequence[Task], OomControl], Iterable["Task | Memcg"]]
Scoring = TypeVar("Scoring", bound=Callable[..., Any])  # of a scene, see oompolicy.scoring
Parameter: TypeAlias = "int | str | tuple[int | str, ...]"
Function = TypeVar("Function", bound=Callable[..., Any])

_MARK: Final = "__oompolicy_function__"


class Policy:
    """A function that ranks one task of one OOM, under a name.

    function(task, oc) returns a score in pages, higher dies, or KILL, DEFER, SPARE. The upper-case constants of its
    module (int, str, tuples of these) that are not Final are its parameters. A preselection, where there is one,
    names the tasks and memcgs that go first; it runs in user space, before the OOM, and sees all candidates. A scorer,
    where there is one, gives tasks and memcgs the values that the function reads; it runs in user space at each look.
    lowest_first says that who has the lowest value goes first: then those to whom a cgroup was delegated may lower it.
    """

    def __init__(self, function: PolicyFunction) -> None:
        self.function = function
        self.name = getattr(function, "__name__", "policy")
        self.preselection: Preselection | None = None
        self.scoring: Callable[..., Any] | None = None
        self.lowest_first = False

    def __call__(self, task: Task, oc: OomControl) -> int | Verdict:
        """The policy's answer for one task."""
        return self.function(task, oc)

    def __repr__(self) -> str:
        return f"<policy {self.name}>"

    @property
    def doc(self) -> str:
        """Its docstring; empty where it has none."""
        return self.function.__doc__ or ""

    @property
    def source_path(self) -> str | None:
        """The file it was read from; None for a function without code of its own."""
        code = getattr(self.function, "__code__", None)
        return None if code is None else str(code.co_filename)

    def preselects(self, preselection: Preselection) -> Preselection:
        """Mark a function of (candidates, oc) that names the tasks and memcgs to go first."""
        self.preselection = preselection
        return preselection

    def scorer(self, scorer: Scoring) -> Scoring:
        """Mark a function of a scene that yields (task or memcg, value): what task.value and memcg.value are then."""
        self.scoring = scorer
        return scorer

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The upper-case constants of its module, by name; those annotated Final are nobody's to change."""
        found: dict[str, object] = getattr(self.function, "__globals__", {})
        annotations = found.get("__annotations__")
        fixed = (
            {name for name, kind in annotations.items() if "Final" in str(kind)}
            if isinstance(annotations, dict)
            else set()
        )
        return {
            name: value
            for name, value in found.items()
            if name.isupper() and name not in fixed and _is_parameter(value)
        }

    def with_parameters(self, values: Mapping[str, object]) -> Policy:
        """The same policy with other constants; the original is unchanged.

        Raises PolicyError where a name is not a parameter, or a value is not of the parameter's type.
        """
        if not values:
            return self
        known = self.parameters
        for name, value in values.items():
            if name not in known:
                offered = ", ".join(sorted(known)) or "none"
                raise PolicyError(f"policy {self.name}", f"has no parameter {name}", f"its parameters: {offered}")
            if not _is_parameter(value) or type(value) is not type(known[name]):
                wanted = type(known[name]).__name__
                raise PolicyError(
                    f"policy {self.name}", f"parameter {name} cannot be {value!r}", f"it takes a {wanted}"
                )
        rebound = _rebind(self.function, values)
        changed = self.with_function(rebound["function"])
        if self.preselection is not None:
            changed.preselection = _rebind(self.preselection, values)["function"]
        if self.scoring is not None:
            changed.scoring = _rebind(self.scoring, values)["function"]
        return changed

    def with_function(self, function: PolicyFunction) -> Policy:
        """The same policy, name, preselection and scorer included, that asks another function."""
        changed = Policy(function)
        changed.name = self.name
        changed.preselection = self.preselection
        changed.scoring = self.scoring
        changed.lowest_first = self.lowest_first
        return changed


def policy(function: PolicyFunction) -> Policy:
    """Mark a function (task, oc) -> score or verdict as a policy.

    >>> @policy
    ... def biggest_resident(task: Task, oc: OomControl) -> int | Verdict:
    ...     return task.rss
    >>> biggest_resident.name
    'biggest_resident'
    """
    return Policy(function)


def policy_function(function: Function) -> Function:
    """Mark a function that policies may call, in the kernel too: it is returned as it is.

    It takes numbers, absent numbers, a task, a memcg, the OOM or constants, and returns one of these or a verdict.

    >>> @policy_function
    ... def at_most(limit: int, pages: int) -> int:
    ...     return min(limit, pages)
    >>> at_most(3, 4)
    3
    """
    function.__dict__[_MARK] = True
    return function


def is_policy_function(item: object) -> TypeGuard[types.FunctionType]:
    """Was it marked?"""
    return isinstance(item, types.FunctionType) and _MARK in item.__dict__


def _is_parameter(value: object) -> TypeGuard[Parameter]:
    if isinstance(value, tuple):
        return all(isinstance(item, int | str) for item in value)
    return isinstance(value, int | str) and not isinstance(value, bool)


def _rebind(function: Callable[..., object], values: Mapping[str, object]) -> dict[str, types.FunctionType]:
    """The function, and those of its module that it may call, reading constants from a changed copy of the module."""
    assert isinstance(function, types.FunctionType)
    original = function.__globals__
    changed: dict[str, object] = {**original, **values}
    for name, item in original.items():
        if isinstance(item, types.FunctionType) and item.__globals__ is original:
            changed[name] = with_globals(item, changed)
        elif isinstance(item, Policy) and getattr(item.function, "__globals__", None) is original:
            changed[name] = item.with_function(with_globals(item.function, changed))
    return {"function": with_globals(function, changed)}


def with_globals(function: Callable[..., object], changed: dict[str, object]) -> types.FunctionType:
    """The same function, its marks included, with another module's names."""
    assert isinstance(function, types.FunctionType)
    copy = types.FunctionType(
        function.__code__, changed, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__doc__ = function.__doc__
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__dict__.update(function.__dict__)
    return copy
