"""What an import yields: rules with their origin, policies, and what was left out.

Belongs here: data, and the error of a configuration that cannot be read. Must not know: any tool.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from oompolicy.assign import Assignment
from oompolicy.errors import ConfigError, Place
from oompolicy.rules.rule import Rule

MOST_NAME = 64  # a rule's name, see docs/rules.md
DESKTOP = ("desktop",)  # a rule's notify: every user that has a session
BYTES_PER_KIB = 1 << 10
BYTES_PER_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it was found: its text, and where: "oomd.conf:3", "argument 2"."""

    text: str
    place: str

    @property
    def origin(self) -> str:
        """Where a rule came from, for its comment."""
        return f"{self.place}: {self.text}"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A setting that has no equivalent, or not quite; why: the reason, and what to do where something can be done."""

    what: str
    why: str
    place: str


@dataclass(frozen=True, slots=True)
class ImportedRule:
    """A rule, and from which settings it was made: one comment line each."""

    rule: Rule
    origins: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """A row of [[assign]], for a policy that reads values, and from which setting it was made."""

    row: Assignment
    origin: Setting


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy that a rule names: a file beside the configuration."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Imported:
    """All that came of it. source: what was read, for the configuration's first line.

    protected_comms and protected_uids: who is never to be killed; patterns of names, user ids.
    """

    tool: str
    source: str
    rules: tuple[ImportedRule, ...] = ()
    policies: tuple[PolicyFile, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    protected_comms: tuple[str, ...] = ()
    protected_uids: tuple[int, ...] = ()
    assigned: tuple[ImportedRow, ...] = ()


def rule_name(text: str, taken: Collection[str] = ()) -> str:
    """A rule's name made of what another tool allows, and one that is not taken.

    >>> rule_name("low swap: user@*.service"), rule_name("low swap", {"low-swap"})
    ('low-swap-user@-.service', 'low-swap.2')
    """
    plain = re.sub(r"[^A-Za-z0-9_.@-]+", "-", text)[: MOST_NAME - 4].strip("-") or "rule"
    number, name = 2, plain
    while name in taken:
        name, number = f"{plain}.{number}", number + 1
    return name


def plain(text: str) -> str:
    """For a comment: on one line, without what TOML or Python refuses there."""
    return "".join(character if character.isprintable() else " " for character in text)


def bad(place: str, why: str, hint: str | None = None) -> ConfigError:
    """The error of a setting that the tool itself would refuse."""
    return ConfigError(place, why, hint)


def bad_line(path: str, line: int, text: str, why: str, column: int | None = None) -> ConfigError:
    """The same, with the line shown."""
    return ConfigError(Place(path, line, column, text), why)
