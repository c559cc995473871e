"""The exception tree: what a person did or met, said so that they can mend it.

Belongs here: one class for each kind of trouble that has a kind of answer. Must not know: how it is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file, as editors count: lines from 1, columns from 1 (None: the whole line)."""

    path: str
    line: int | None = None
    column: int | None = None
    text: str | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.path, self.line, self.column) if part is not None)

    def excerpt(self) -> str:
        """The source line with a caret under the column; empty where the text is unknown."""
        if self.text is None:
            return ""
        stripped = self.text.rstrip("\n")
        if self.column is None:
            return f"    {stripped.strip()}"
        indent = len(stripped) - len(stripped.lstrip())
        return f"    {stripped.lstrip()}\n    {' ' * max(self.column - 1 - indent, 0)}^"


class OompolicyError(Exception):
    """Something a person can act on: what, why, and what to do.

    what: the thing concerned (a file, a cgroup, a pid, an option); why: what is wrong with it;
    hint: what to do, or None where nothing sensible can be said.
    """

    def __init__(self, what: object, why: str, hint: str | None = None) -> None:
        super().__init__(str(what), why, hint)
        self.what = str(what)
        self.why = why
        self.hint = hint
        self.excerpt = what.excerpt() if isinstance(what, Place) else ""

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" + (f": {self.hint}" if self.hint else "")


class PolicyError(OompolicyError):
    """A policy that cannot be loaded, or that broke the contract of its return value."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One construct of a policy's source that the language does not have."""

    place: Place
    why: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.why}" + (f": {self.hint}" if self.hint else "")


class CompileError(PolicyError):
    """A policy that cannot go into the kernel; `refusals` is all that was found, in the source's order, never empty."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__(refusals[0].place, refusals[0].why, refusals[0].hint)
        self.refusals = tuple(refusals)

    def __str__(self) -> str:
        return "\n".join(map(str, self.refusals))


class ConfigError(OompolicyError):
    """A configuration file that is not what the daemon understands."""


class SourceError(OompolicyError):
    """A snapshot, a log or a recording that cannot be read."""


class GoneError(SourceError):
    """A process or a cgroup that existed a moment ago, or never did."""


class BackendError(OompolicyError):
    """A backend that cannot do what it was asked."""


class PrivilegeError(OompolicyError):
    """The kernel refuses this user."""
