"""New orders while the daemon runs: read by another process, taken when they are whole.

Belongs here: waiting for them, with a time limit. Must not know: what is in a configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from oompolicy.daemon.upkeep import Orders


class Changes(Protocol):
    """What orders are read from, watched (config_watch.py): poll() for fd, ask is_changed() at due_ms."""

    due_ms: int | None

    @property
    def fd(self) -> int: ...  # noqa: D102
    def take(self, now_ms: int) -> None: ...  # noqa: D102
    def is_changed(self) -> bool: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Reloading(Protocol):
    """One reload under way. fd is readable when there is something to take; None: there is already."""

    fd: int | None
    until_ms: int

    def take(self, now_ms: int) -> Orders | None:
        """The orders; None where they are not whole yet. Raises OompolicyError where they are wrong, or too late."""

    def close(self) -> None:
        """Let go of it; a process that is at work is ended."""


@runtime_checkable
class Reload(Protocol):
    """How orders are got; where changes are watched, also when."""

    @property
    def changes(self) -> Changes | None:
        """None where only a signal asks for a reload."""

    def begin(self, now_ms: int) -> Reloading:
        """Raises OompolicyError."""


class _AtOnce:
    """Orders by a plain call."""

    changes = None

    def __init__(self, read: Callable[[], Orders]) -> None:
        self._read = read

    def begin(self, now_ms: int) -> Reloading:
        return _Read(self._read, now_ms)


class _Read:
    fd: int | None = None

    def __init__(self, read: Callable[[], Orders], now_ms: int) -> None:
        self._read = read
        self.until_ms = now_ms

    def take(self, now_ms: int) -> Orders:
        return self._read()

    def close(self) -> None:
        pass


def at_once(read: Callable[[], Orders]) -> Reload:
    """Orders by a plain call, in this process."""
    return _AtOnce(read)
