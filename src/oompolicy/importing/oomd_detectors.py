"""oomd's detectors as conditions.

Sources: docs/core_plugins.md of oomd 0.5.0 and main (GPL-2.0), and src/oomd/plugins/PressureAbove.cpp,
PressureRisingBeyond.cpp, MemoryAbove.cpp, MemoryReclaim.cpp, SwapFree.cpp, NrDyingDescendants.cpp. Pressure is the
"full" line (util/Fs.h: readMempressureAt's default). Of several cgroups one is enough: the worst one counts there.

Belongs here: what each detector says, of the machine or of one cgroup. Must not know: rulesets, actions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from oompolicy.importing import when
from oompolicy.importing.imported import BYTES_PER_MIB

_SUFFIX_BYTES: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
FAST_FALL_RATIO: Final = 0.85
PAGE_BYTES: Final = 4096  # of x86 and most of ARM
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
    """A condition; empty where it does not restrict at all.

    never: the group never fires. lost: what of the detector could not be said, so that the condition holds more often
    than oomd's.
    """

    condition: str = ""
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


def detected(plugin: Plugin, scope: tuple[str, ...] = ()) -> Detected:
    """What a detector says in a rule of that scope, () for the machine.

    A plugin that is not known, or cannot be said, is `lost`.
    """
    make = DETECTORS.get(plugin.name)
    if make is None:
        return Detected(lost="no such detector among oomd's core plugins")
    if not plugin.cgroups and make not in (_swap_free, _dump, _continue, _stop):
        return Detected(never=True, notes=("it names no cgroup, and so never fires",))
    return make(plugin, scope)


def argument(plugin: Plugin, name: str, default: float | None = None) -> float:
    """A number; the default where it is not given. Raises BadArgumentError."""
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


def _asked(plugin: Plugin, scope: tuple[str, ...], ask: Callable[[str], str | None]) -> Detected:
    """A question about each of its cgroups, one of which is enough.

    ask(prefix) is the condition with that prefix to the fields, "" for the root, whose are the machine's; None where
    it cannot be asked there.
    """
    if plugin.cgroups == scope:
        return Detected(ask("cgroup.") or "")
    others = tuple(glob for glob in plugin.cgroups if glob != "/")
    asked, lost = [], None
    if len(others) < len(plugin.cgroups):
        of_machine = ask("")
        if of_machine is None:
            return Detected(lost="of the root cgroup a condition does not read this")
        asked.append(of_machine)
    if others:
        of_others = ask("cgroup.")
        assert of_others is not None
        asked.append(when.of(others, of_others))
        if any(re.search(r"[*?\[]", own) for own in scope):
            lost = "it asks about that cgroup of any of the ruleset's cgroups, not of the same one"
    return Detected(when.any_of(*asked), lost=lost)


def _outside(found: Detected, wrap: Callable[[str], str]) -> Detected:
    """The same with its condition inside of something more."""
    return replace(found, condition=wrap(found.condition)) if found.condition else found


def resource(plugin: Plugin) -> str:
    """The resource whose pressure it is about. Raises BadArgumentError."""
    found = plugin.args.get("resource")
    if found not in ("io", "memory"):
        raise BadArgumentError(f"{plugin.name}: resource is {found!r}, neither io nor memory")
    return found


def _pressure_above(plugin: Plugin, scope: tuple[str, ...]) -> Detected:
    name, threshold = f"psi.{resource(plugin)}.full.avg10", argument(plugin, "threshold")
    found = _asked(plugin, scope, lambda prefix: when.compare(f"{prefix}{name}", ">", threshold))
    return _outside(found, lambda above: when.lasting(above, argument(plugin, "duration")))


def _pressure_rising_beyond(plugin: Plugin, scope: tuple[str, ...]) -> Detected:
    name, threshold = f"psi.{resource(plugin)}.full", argument(plugin, "threshold")
    ratio = when.number(argument(plugin, "fast_fall_ratio", FAST_FALL_RATIO))

    def rising(prefix: str) -> str:
        now = f"{prefix}{name}.avg10"
        not_falling = f"{now} >= {ratio} * ({now} - growth({now}, {INTERVAL_S}))"
        return when.all_of(when.compare(now, ">", threshold), not_falling)

    minute = _asked(plugin, scope, lambda prefix: when.compare(f"{prefix}{name}.avg60", ">", threshold))
    lasting = _outside(minute, lambda above: when.lasting(above, argument(plugin, "duration")))
    return _outside(lasting, lambda above: when.all_of(above, _asked(plugin, scope, rising).condition))


def _memory_above(plugin: Plugin, scope: tuple[str, ...]) -> Detected:
    """threshold_anon goes before threshold. The root's own use is what meminfo says (Fs::readRootMemcurrent())."""
    name = "threshold_anon" if "threshold_anon" in plugin.args else "threshold"
    text = plugin.args.get(name)
    if text is None:
        raise BadArgumentError("memory_above needs threshold or threshold_anon")
    threshold = amount(text, "mem_total_mib")

    def above(prefix: str) -> str | None:
        if not prefix:
            return None if name == "threshold_anon" else when.compare("mem_total_mib - mem_free_mib", ">", threshold)
        return when.compare(f"{prefix}{'anon' if name == 'threshold_anon' else 'current'}_mib", ">", threshold)

    return _outside(_asked(plugin, scope, above), lambda part: when.lasting(part, argument(plugin, "duration")))


def amount(text: str, whole: str) -> float | str:
    """MiB of "1.5G 32K 512" or, for "50%", of the whole; a bare number alone is in MiB (Util::parseSizeOrPercent)."""
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?%", text):
        return f"{when.number(float(text[:-1]) / 100)} * {whole}"
    if re.fullmatch(r"\d+", text):
        return float(text)
    total = 0.0
    for part in text.split():
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", part, re.IGNORECASE)
        if found is None:
            raise BadArgumentError(f"{text!r} is not an amount of memory")
        total += float(found[1]) * _SUFFIX_BYTES.get(found[2].upper(), 1)
    return total / BYTES_PER_MIB


def _memory_reclaim(plugin: Plugin, scope: tuple[str, ...]) -> Detected:
    """Of all its cgroups together: somebody was scanned."""
    found = _asked(plugin, scope, lambda prefix: f"{prefix}scan_pages_per_s > 0")
    span_s = argument(plugin, "duration")
    opposite = _opposite(found.condition)
    return _outside(found, lambda scanned: when.within(scanned, opposite, span_s))


def _opposite(scanned: str) -> str:
    if scanned.startswith("of(") or " or " in scanned:
        return f"not ({scanned})" if " or " in scanned else f"not {scanned}"
    return scanned.replace("> 0", "== 0")


def _swap_free(plugin: Plugin, scope: tuple[str, ...]) -> Detected:
    """Without swap it never fires: nothing is less than nothing."""
    parts = [when.HAS_SWAP, when.compare("swap_free_percent", "<", argument(plugin, "threshold_pct"))]
    if "swapout_bps_threshold" in plugin.args:
        pages = argument(plugin, "swapout_bps_threshold") / PAGE_BYTES
        parts.append(when.compare("swap_out_pages_per_s", ">=", pages))
    return Detected(when.all_of(*parts))


def _nr_dying_descendants(plugin: Plugin, scope: tuple[str, ...]) -> Detected:
    op = "<=" if truth(plugin, "lte", True) != truth(plugin, "negate", False) else ">"
    count = argument(plugin, "count")
    return _asked(
        plugin, scope, lambda prefix: when.compare(f"{prefix}dying_descendants", op, count) if prefix else None
    )


def _exists(plugin: Plugin, scope: tuple[str, ...]) -> Detected:
    is_negated = truth(plugin, "negate", False)
    if plugin.cgroups == scope or "/" in plugin.cgroups:  # these are always there
        return Detected(never=is_negated)
    return Detected(f"{'not ' if is_negated else ''}{when.exists(plugin.cgroups)}")


def _dump(plugin: Plugin, scope: tuple[str, ...]) -> Detected:
    return Detected(notes=("it only writes to the log; each order is logged with its numbers",))


def _swap_above_memory_max(plugin: Plugin, scope: tuple[str, ...]) -> Detected:
    """Without a memory.max the field is not known, and nothing is above it."""
    if plugin.cgroups == ("/",):
        return Detected(never=True)
    share = when.number(argument(plugin, "threshold_pct") / 100)
    above = f"cgroup.swap_mib > {share} * cgroup.max_mib"
    return _asked(plugin, scope, lambda prefix: above if prefix else None)


def _xattr_glob(plugin: Plugin, scope: tuple[str, ...]) -> Detected:
    return Detected(lost="a condition does not read extended attributes")


def _continue(plugin: Plugin, scope: tuple[str, ...]) -> Detected:
    return Detected()


def _stop(plugin: Plugin, scope: tuple[str, ...]) -> Detected:
    return Detected(never=True, notes=("the detector stop never fires: only a drop-in can change that",))


DETECTORS: Final[dict[str, Callable[[Plugin, tuple[str, ...]], Detected]]] = {
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
