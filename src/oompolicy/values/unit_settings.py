"""Values in systemd's unit files: [X-Oompolicy] with Value=, of the unit's file and its drop-ins.

Belongs here: which of them a unit goes by, as systemd has it. Must not know: where the files are.

systemd ignores sections whose names begin with X- (systemd.unit(5)). A unit's settings are those of its file, or of
its template's, and then those of its drop-ins in the order of their names, whatever folder they are in; among files
of one name that of the more specific folder counts (systemd.unit(5), unit_file_find_dirs() in src/shared/dropin.c).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from oompolicy.assign import is_unit_itself, unit_of_system
from oompolicy.mm.memcontrol import MemCgroup
from oompolicy.snapshot import Snapshot

# What one file says, in its order; None: "Value=", which forgets what was said before.
Saying: TypeAlias = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class UnitSettings:
    """fragments: of units' own files, by the unit's name; drop_ins: by the name of the folder without ".d".

    notes: what is wrong with some of them, in sentences for the log.
    """

    fragments: Mapping[str, Saying] = field(default_factory=dict)
    drop_ins: Mapping[str, Mapping[str, Saying]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Does no file say anything?"""
        return not any(self.fragments.values()) and not any(any(each.values()) for each in self.drop_ins.values())

    def value_of(self, unit: str) -> int | None:
        """The value of a unit; None where its files give it none."""
        said = self.fragments.get(unit, self.fragments.get(_template_of(unit) or "", ()))
        files: dict[str, Saying] = {}
        for folder in _folders_of(unit):  # the more specific ones come later
            files.update(self.drop_ins.get(folder, {}))
        for name in sorted(files):
            said += files[name]
        return said[-1] if said else None

    def valued(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot in which the cgroups of units have them, where they have no value of their own."""
        if self.is_empty:
            return snapshot
        found: dict[MemCgroup, int | None] = {}
        for memcg in snapshot.kernel.memcgs:
            unit = unit_of_system(memcg.path) if memcg.value is None and is_unit_itself(memcg.path) else None
            value = None if unit is None else self.value_of(unit)
            if value is not None:
                found[memcg] = value
        return snapshot.with_values(found, {})


def _template_of(unit: str) -> str | None:
    """What an instance is made of.

    >>> _template_of("user@7.service"), _template_of("db.service")
    ('user@.service', None)
    """
    stem, dot, kind = unit.rpartition(".")
    prefix, at, instance = stem.partition("@")
    return f"{prefix}@{dot}{kind}" if at and instance else None


def _folders_of(unit: str) -> Iterator[str]:
    """The drop-in folders of a unit, without ".d", the least specific first.

    >>> list(_folders_of("foo-bar.service")), list(_folders_of("a-b@c.service"))
    (['service', 'foo-.service', 'foo-bar.service'], ['service', 'a-@c.service', 'a-b@.service', 'a-b@c.service'])
    """
    stem, _, kind = unit.rpartition(".")
    prefix, at, instance = stem.partition("@")
    yield kind
    for place, letter in enumerate(prefix[:-1]):
        if letter == "-" and place:
            yield f"{prefix[: place + 1]}{at}{instance}.{kind}"
    template = _template_of(unit)
    if template is not None:
        yield template
    yield unit
