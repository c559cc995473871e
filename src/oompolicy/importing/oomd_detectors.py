"""oomd's detectors as conditions.

Sources: docs/core_plugins.md of oomd 0.5.0 and main (GPL-2.0), and src/oomd/plugins/PressureAbove.cpp,
PressureRisingBeyond.cpp, MemoryAbove.cpp, MemoryReclaim.cpp, SwapFree.cpp, NrDyingDescendants.cpp. Pressure is the
"full" line (util/Fs.h: readMempressureAt's default). Of several cgroups the worst one counts.

Belongs here: what each detector says, of the machine or of one cgroup. Must not know: rulesets, actions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from oompolicy.importing import when
from oompolicy.importing.imported import BYTES_PER_MIB

_SUFFIX_BYTES: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
FAST_FALL_RATIO: Final = 0.85
INTERVAL_S: Final = 5  # what oomd waits between two looks by default (Main.cpp): "falling rapidly" is since the last


@dataclass(frozen=True, slots=True)
class Plugin:
    """A detector or an action as it stands in the file."""

    name: str
    args: Mapping[str, str]
    place: str

    @property
    def text(self) -> str:
        """For people: name(key=value, ...)."""
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.args.items())})"

    @property
    def cgroups(self) -> tuple[str, ...]:
        """The globs of its `cgroup`, as paths from the root."""
        return globs(self.args.get("cgroup", ""))


@dataclass(frozen=True, slots=True)
class Detected:
    """A condition; cgroups: of which its cgroup fields are, () for the machine.

    always: it does not restrict at all (condition is empty then). never: the group never fires. lost: what of the
    detector could not be said, so that the condition holds more often than oomd's.
    """

    condition: str = ""
    cgroups: tuple[str, ...] = ()
    always: bool = False
    never: bool = False
    lost: str | None = None
    notes: tuple[str, ...] = field(default=())


class BadArgumentError(Exception):
    """An argument that oomd itself would refuse: its name and what is wrong."""


def globs(text: str) -> tuple[str, ...]:
    """oomd's comma separated cgroups as paths from the root.

    >>> globs("system.slice/*,user.slice"), globs("/"), globs("")
    (('/system.slice/*', '/user.slice'), ('/',), ())
    """
    return tuple("/" + part.strip("/") for part in text.split(",") if part)


def detected(plugin: Plugin) -> Detected:
    """What a detector says; a plugin that is not known, or cannot be said, is `lost`."""
    make = DETECTORS.get(plugin.name)
    if make is None:
        return Detected(always=True, lost="no such detector among oomd's core plugins")
    if not plugin.cgroups and make not in (_swap_free, _dump, _continue, _stop):
        return Detected(never=True, notes=("it names no cgroup, and so never fires",))
    return make(plugin)


def _number(plugin: Plugin, name: str, default: float | None = None) -> float:
    text = plugin.args.get(name)
    if text is None:
        if default is None:
            raise BadArgumentError(f"{plugin.name} needs {name}")
        return default
    if not re.fullmatch(r"\d+(\.\d+)?", text.strip()):
        raise BadArgumentError(f"{plugin.name}: {name} is {text!r}, not a number")
    return float(text)


def truth(plugin: Plugin, name: str, default: bool) -> bool:
    """A boolean argument, as PluginArgParser reads it: true, True, 1."""
    return plugin.args.get(name, str(default)).lower() in ("true", "1")


def _fields(plugin: Plugin) -> tuple[str, tuple[str, ...]]:
    """The prefix of the fields, and the cgroups they are of: the root's are the machine's."""
    return ("", ()) if plugin.cgroups == ("/",) else ("cgroup.", plugin.cgroups)


def _resource(plugin: Plugin) -> str:
    resource = plugin.args.get("resource")
    if resource not in ("io", "memory"):
        raise BadArgumentError(f"{plugin.name}: resource is {resource!r}, neither io nor memory")
    return resource


def _pressure_above(plugin: Plugin) -> Detected:
    prefix, cgroups = _fields(plugin)
    above = when.compare(f"{prefix}psi.{_resource(plugin)}.full.avg10", ">", _number(plugin, "threshold"))
    return Detected(when.lasting(above, _number(plugin, "duration")), cgroups)


def _pressure_rising_beyond(plugin: Plugin) -> Detected:
    prefix, cgroups = _fields(plugin)
    name = f"{prefix}psi.{_resource(plugin)}.full"
    threshold = _number(plugin, "threshold")
    minute = when.lasting(when.compare(f"{name}.avg60", ">", threshold), _number(plugin, "duration"))
    ratio = when.number(_number(plugin, "fast_fall_ratio", FAST_FALL_RATIO))
    now = f"{name}.avg10"
    not_falling = f"{now} >= {ratio} * ({now} - growth({now}, {INTERVAL_S}))"
    return Detected(when.all_of(minute, when.compare(now, ">", threshold), not_falling), cgroups)


def _memory_above(plugin: Plugin) -> Detected:
    """threshold_anon goes before threshold. The root's own use is what meminfo says."""
    prefix, cgroups = _fields(plugin)
    name = "threshold_anon" if "threshold_anon" in plugin.args else "threshold"
    text = plugin.args.get(name)
    if text is None:
        raise BadArgumentError("memory_above needs threshold or threshold_anon")
    if not prefix:
        return Detected(always=True, lost="the root cgroup's own use is not among the fields of a condition")
    used = f"{prefix}{'anon' if name == 'threshold_anon' else 'current'}_mib"
    above = when.compare(used, ">", _amount(text))
    return Detected(when.lasting(above, _number(plugin, "duration")), cgroups)


def _amount(text: str) -> float | str:
    """MiB of "1.5G 32K 512" or, for "50%", of all memory; a bare number alone is in MiB (Util::parseSizeOrPercent)."""
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?%", text):
        return f"{when.number(float(text[:-1]) / 100)} * mem_total_mib"
    if re.fullmatch(r"\d+", text):
        return float(text)
    total = 0.0
    for part in text.split():
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", part, re.IGNORECASE)
        if found is None:
            raise BadArgumentError(f"{text!r} is not an amount of memory")
        total += float(found[1]) * _SUFFIX_BYTES.get(found[2].upper(), 1)
    return total / BYTES_PER_MIB


def _memory_reclaim(plugin: Plugin) -> Detected:
    prefix, cgroups = _fields(plugin)
    scanned = f"{prefix}scan_pages_per_s"
    return Detected(when.within(f"{scanned} > 0", f"{scanned} == 0", _number(plugin, "duration")), cgroups)


def _swap_free(plugin: Plugin) -> Detected:
    """Without swap it never fires: nothing is less than nothing."""
    low = when.compare("swap_free_percent", "<", _number(plugin, "threshold_pct"))
    lost = "how fast is swapped out is not a field" if "swapout_bps_threshold" in plugin.args else None
    return Detected(when.all_of(when.HAS_SWAP, low), lost=lost)


def _nr_dying_descendants(plugin: Plugin) -> Detected:
    prefix, cgroups = _fields(plugin)
    if not prefix:
        return Detected(always=True, lost="a condition reads cgroup.stat of a cgroup below the root alone")
    is_at_most = truth(plugin, "lte", True) != truth(plugin, "negate", False)
    return Detected(
        when.compare(f"{prefix}dying_descendants", "<=" if is_at_most else ">", _number(plugin, "count")), cgroups
    )


def _exists(plugin: Plugin) -> Detected:
    if truth(plugin, "negate", False):
        return Detected(always=True, lost="a condition cannot say that a cgroup is not there")
    # A rule is judged for cgroups that are there.
    return Detected(always=True, cgroups=plugin.cgroups)


def _dump(plugin: Plugin) -> Detected:
    return Detected(always=True, notes=("it only writes to the log; each order is logged with its numbers",))


def _swap_above_memory_max(plugin: Plugin) -> Detected:
    """Without a memory.max the field is not known, and nothing is above it."""
    prefix, cgroups = _fields(plugin)
    if not prefix:
        return Detected(never=True)
    share = when.number(_number(plugin, "threshold_pct") / 100)
    return Detected(f"cgroup.swap_mib > {share} * cgroup.max_mib", cgroups)


def _xattr_glob(plugin: Plugin) -> Detected:
    return Detected(always=True, lost="a condition does not read extended attributes")


def _continue(plugin: Plugin) -> Detected:
    return Detected(always=True)


def _stop(plugin: Plugin) -> Detected:
    return Detected(never=True, notes=("the detector stop never fires: only a drop-in can change that",))


DETECTORS: Final[dict[str, Callable[[Plugin], Detected]]] = {
    "pressure_above": _pressure_above,
    "pressure_rising_beyond": _pressure_rising_beyond,
    "memory_above": _memory_above,
    "memory_reclaim": _memory_reclaim,
    "swap_free": _swap_free,
    "exists": _exists,
    "nr_dying_descendants": _nr_dying_descendants,
    "dump_cgroup_overview": _dump,
    "swap_above_memory_max": _swap_above_memory_max,
    "xattr_glob": _xattr_glob,
    "continue": _continue,
    "stop": _stop,
}
