"""The files of systemd that concern systemd-oomd: settings with their places, units with their cgroups.

Sources: systemd.syntax(7), systemd.time(7), systemd.unit(5) (drop-ins, which directory goes before which),
systemd.special(7) and systemd.slice(5) (where a unit's cgroup is), parse_permyriad() in src/basic/percent-util.c.

Belongs here: reading and merging them. Must not know: what systemd-oomd does with a setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from oompolicy.importing.imported import Setting, bad, bad_line

UNIT_TYPES: Final = ("service", "slice", "scope", "socket", "mount", "swap")
USER_MANAGER: Final = "/user.slice/user-*.slice/user@*.service"
# Of two files of one name, that of the first directory counts.
_DIRECTORIES: Final = ("etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd", "lib/systemd")

_SECONDS: Final = {
    "us": 1e-6, "usec": 1e-6, "ms": 1e-3, "msec": 1e-3, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "": 1.0,
    "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0,
    "hours": 3600.0, "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One `Key=value` of a section."""

    section: str
    key: str
    value: str
    setting: Setting


@dataclass(slots=True)
class Unit:
    """A unit, or a pattern of units ("user-*.slice" of user-.slice.d); settings: the last of each key."""

    name: str
    is_of_user: bool
    settings: dict[str, Entry] = field(default_factory=dict)

    def value(self, key: str) -> str:
        """The setting's value, empty where it is not set."""
        return self.settings[key].value if key in self.settings else ""

    @property
    def cgroup(self) -> str:
        """The glob of its cgroup's path."""
        base = USER_MANAGER if self.is_of_user else ""
        if self.name.endswith(".slice"):
            return base + _slice_path(self.name) or "/"
        if self.name == "user@*.service":
            return USER_MANAGER
        inside = re.sub(r"%\w", "*", self.value("Slice")) or self._default_slice()
        return f"{base}{_slice_path(inside)}/{self.name}"

    def _default_slice(self) -> str:
        """system.slice, a template's own slice below it, app.slice for the units of a user."""
        parent = "app" if self.is_of_user else "system"
        template, at, _ = self.name.partition("@")
        # Escaped as unit names are: a dash in a slice's name is a step down.
        escaped = template.replace("-", "\\x2d")
        return f"{parent}-{escaped}.slice" if at else f"{parent}.slice"


def _slice_path(name: str) -> str:
    """The path of a slice: each dash is a step down.

    >>> _slice_path("a-b.slice"), _slice_path("-.slice"), _slice_path("user-*.slice")
    ('/a.slice/a-b.slice', '', '/user.slice/user-*.slice')
    """
    stem = name.removesuffix(".slice")
    if stem == "-":
        return ""
    parts = stem.split("-")
    return "".join(f"/{'-'.join(parts[: count + 1])}.slice" for count in range(len(parts)))


def entries(text: str, path: str) -> Iterator[Entry]:
    """All settings of a file, in their order."""
    section, line, pending = "", 0, ""
    start = 0
    for written in text.splitlines():
        line += 1
        if pending and written.lstrip()[:1] in ("#", ";"):
            continue
        start = start if pending else line
        whole = pending + written.strip()
        if whole.endswith("\\"):
            pending = whole[:-1] + " "
            continue
        pending = ""
        if not whole or whole[0] in "#;":
            continue
        if heading := re.fullmatch(r"\[([^\[\]]+)\]", whole):
            section = heading[1]
            continue
        key, equals, value = (part.strip() for part in whole.partition("="))
        if not equals or not key:
            raise bad_line(path, start, written, "is neither Key=value, nor [Section], nor a comment")
        if not section:
            raise bad_line(path, start, written, "stands before the first [Section]")
        yield Entry(section, key, value, Setting(f"{key}={value}", f"{path}:{start}"))


def in_order(paths: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The files that count, each overriding the ones before: main files, then drop-ins by their names."""
    chosen: dict[tuple[str, str, bool], str] = {}
    for path in sorted(paths, key=_directory, reverse=True):
        folder, name = parent_and_name(path)
        chosen[(folder if folder.endswith(".d") else "", name, is_of_user(path))] = path
    for key in sorted(chosen, key=lambda key: (key[0] != "", key[1])):
        yield chosen[key], paths[chosen[key]]


def parent_and_name(path: str) -> tuple[str, str]:
    """The folder's name and the file's.

    >>> parent_and_name("/etc/systemd/oomd.conf.d/10.conf"), parent_and_name("oomd.conf")
    (('oomd.conf.d', '10.conf'), ('', 'oomd.conf'))
    """
    above, _, name = path.rpartition("/")
    return above.rpartition("/")[2], name


def _directory(path: str) -> int:
    """Its rank: 0 goes before all others."""
    return next((rank for rank, folder in enumerate(_DIRECTORIES) if f"/{folder}/" in f"/{path}"), len(_DIRECTORIES))


def unit_name(path: str) -> str | None:
    """The unit that a file, or a drop-in's folder, is of; None where it is none's."""
    folder, name = parent_and_name(path)
    if name.endswith(".conf") and folder.endswith(".d"):
        name = folder.removesuffix(".d")
    if name in UNIT_TYPES:
        return f"*.{name}"
    stem, dot, kind = name.rpartition(".")
    if not dot or kind not in UNIT_TYPES:
        return None
    # foo@.service is a template; user-.slice.d is for every unit whose name begins so.
    if stem.endswith("@") or (stem.endswith("-") and stem != "-"):
        stem += "*"
    return f"{stem}.{kind}"


def is_of_user(path: str) -> bool:
    """Is it a unit of the users' managers, rather than of the system's?"""
    return "/systemd/user/" in f"/{path}"


def percent(entry: Entry) -> float:
    """A share as 60%, 600‰ or 6000‱."""
    for sign, scale in (("%", 1.0), ("‰", 0.1), ("‱", 0.01)):
        number = entry.value.removesuffix(sign)
        if number != entry.value and re.fullmatch(r"\d+(\.\d+)?", number) and float(number) * scale <= 100:
            return float(number) * scale
    why = f"{entry.key}={entry.value} is not a share from 0% to 100%"
    raise bad(entry.setting.place, why, "write it as 60%")


def seconds(entry: Entry) -> float:
    """A time span as systemd writes it: 20, 1min 30s; infinity is endless."""
    if entry.value == "infinity":
        return float("inf")
    found = re.findall(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)", entry.value)
    whole = "".join(f"{number}{unit}" for number, unit in found)
    if not found or whole != re.sub(r"\s", "", entry.value) or any(unit not in _SECONDS for _, unit in found):
        raise bad(entry.setting.place, f"{entry.key}={entry.value} is not a time span", "write it as 20s or 1min 30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in found)
