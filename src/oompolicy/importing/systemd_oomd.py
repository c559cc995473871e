"""systemd-oomd: oomd.conf, the ManagedOOM* properties of units, and .oomrule files.

Sources: oomd.conf(5), systemd-oomd.service(8) and systemd.resource-control(5) of systemd 252 and main; for .oomrule and
OOMRules= (in v261) also ruleset_load_one() in src/oom/oomd-conf.c and ruleset_check_conditions() in
src/oom/oomd-manager.c, as are the swap and pressure handlers and their delays (LGPL-2.1).

Belongs here: what its settings mean. Must not know: how systemd's files are read and merged (systemd_files.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from oompolicy.importing import when
from oompolicy.importing.imported import Imported, ImportedRule, LeftOut, Setting, bad, rule_name
from oompolicy.importing.systemd_files import (
    Entry,
    Unit,
    entries,
    in_order,
    is_of_user,
    parent_and_name,
    percent,
    seconds,
    unit_name,
)
from oompolicy.rules.rule import Kill, Rule

SWAP_LIMIT_PERCENT: Final = 90.0  # DEFAULT_SWAP_USED_LIMIT_PERCENT, oomd-manager.h, as all these
PRESSURE_LIMIT_PERCENT: Final = 60.0
PRESSURE_DURATION_S: Final = 30.0
RECLAIM_DURATION_S: Final = 30
POST_ACTION_DELAY_MS: Final = 15_000
SWAP_INTERVAL_MS: Final = 1_000  # it looks every 150 ms, and waits for nothing after a kill
SWAP_THRESHOLD: Final = 0.05  # of all swap: THRESHOLD_SWAP_USED_PERCENT

UNIT_KEYS: Final = frozenset(
    (
        "ManagedOOMSwap", "ManagedOOMMemoryPressure", "ManagedOOMMemoryPressureLimit",
        "ManagedOOMMemoryPressureDurationSec", "ManagedOOMPreference", "OOMRules", "Slice",
    )
)  # fmt: skip
_ACTIONS: Final = ("kill-all", "kill-by-pgscan", "kill-by-swap")
# compare_pgscan_rate_and_memory_usage() and compare_swap_usage(), oomd-util.h.
_BY_SCAN: Final = ("cgroup.scan_pages_per_s", "cgroup.current_mib")
_BY_SWAP: Final = ("cgroup.swap_mib",)


@dataclass(slots=True)
class _Found:
    """All that the files say."""

    conf: dict[str, Entry] = field(default_factory=dict)
    units: dict[tuple[str, bool], Unit] = field(default_factory=dict)
    rules: dict[str, dict[str, Entry]] = field(default_factory=dict)
    rule_files: dict[str, str] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)

    def leave_out(self, setting: Setting, why: str) -> None:
        self.left_out.append(LeftOut(setting.text, why, setting.place))


def is_systemd_oomd(path: str, text: str) -> bool:
    """Is it a file that says something to systemd-oomd?"""
    if path.endswith(".oomrule") or "\n[OOM]" in f"\n{text}":
        return True
    return any(f"{key}=" in text for key in UNIT_KEYS - {"Slice"})


def import_systemd(files: Mapping[str, str], source: str) -> Imported:
    """From files by their paths: as much of /etc/systemd and /usr/lib/systemd as is given."""
    found = _Found()
    for path, text in in_order(files):
        # Of a whole tree most files are other matters', and not always in systemd's syntax.
        if len(files) == 1 or "Slice=" in text or is_systemd_oomd(path, text):
            _read(path, text, found)
    rules: list[ImportedRule] = list(_swap(found))
    for unit in found.units.values():
        rules += _pressure(unit, found)
        rules += _rulesets(unit, found)
    _unused(found, source)
    return Imported("systemd-oomd", source, tuple(rules), (), tuple(found.left_out))


def _read(path: str, text: str, found: _Found) -> None:
    found_entries = list(entries(text, path))
    name = parent_and_name(path)[1]
    if name.endswith(".oomrule"):
        found.rules[name.removesuffix(".oomrule")] = {one.key: one for one in found_entries if one.section == "Rule"}
        found.rule_files[name.removesuffix(".oomrule")] = path
        return
    unit = unit_name(path)
    for entry in found_entries:
        if entry.section == "OOM":
            _merge(found.conf, entry)
        elif entry.key in UNIT_KEYS:
            if unit is None:
                raise bad(path, f"{entry.key}= is a unit's, and this is no unit's file", "name it as the unit is named")
            known = found.units.setdefault((unit, is_of_user(path)), Unit(unit, is_of_user(path)))
            _merge(known.settings, entry)


def _merge(settings: dict[str, Entry], entry: Entry) -> None:
    """The last one counts; OOMRules= adds to those before. An empty one takes back what was said before."""
    before = settings.get(entry.key)
    if not entry.value:
        settings.pop(entry.key, None)
    elif entry.key == "OOMRules" and before is not None:
        settings[entry.key] = Entry(entry.section, entry.key, f"{before.value} {entry.value}", entry.setting)
    else:
        settings[entry.key] = entry


def _swap(found: _Found) -> Iterator[ImportedRule]:
    """Both memory and swap used above the limit; of all such units' descendants, the one that swaps most."""
    units = [unit for unit in found.units.values() if _is_kill(unit, "ManagedOOMSwap")]
    if not units:
        return
    limit = found.conf.get("SwapUsedLimit")
    free = when.number(100 - (SWAP_LIMIT_PERCENT if limit is None else percent(limit)))
    among = tuple(dict.fromkeys(pattern for unit in units for pattern in _leaves(unit)))
    enough = when.of(among, f"cgroup.swap_mib > {when.number(SWAP_THRESHOLD)} * swap_total_mib")
    condition = when.all_of(f"mem_available_percent < {free}", when.HAS_SWAP, f"swap_free_percent < {free}", enough)
    entries = [unit.settings["ManagedOOMSwap"] for unit in units]
    name = _name(units[0], "swap") if len(units) == 1 else "systemd-oomd-swap"
    rule = Rule(name, condition, action=Kill.CGROUP, among=among, by=_BY_SWAP, cooldown_ms=SWAP_INTERVAL_MS)
    yield _imported(rule, [*entries, limit])


def _leaves(unit: Unit) -> tuple[str, ...]:
    """All below it that have none below them, or the unit itself (recursively_get_cgroup_context())."""
    return ("/**",) if unit.cgroup == "/" else (unit.cgroup, f"{unit.cgroup}/**")


def _pressure(unit: Unit, found: _Found) -> Iterator[ImportedRule]:
    """The unit's pressure above its limit for so long, and reclaim in the last 30 s."""
    if not _is_kill(unit, "ManagedOOMMemoryPressure"):
        return
    entry = unit.settings["ManagedOOMMemoryPressure"]
    limit = unit.settings.get("ManagedOOMMemoryPressureLimit") or found.conf.get("DefaultMemoryPressureLimit")
    if limit is not None and percent(limit) == 0:  # 0 is the default's sign
        limit = found.conf.get("DefaultMemoryPressureLimit")
    span = unit.settings.get("ManagedOOMMemoryPressureDurationSec") or found.conf.get(
        "DefaultMemoryPressureDurationSec"
    )
    above = PRESSURE_LIMIT_PERCENT if limit is None else percent(limit)
    lasting_s = PRESSURE_DURATION_S if span is None or seconds(span) == 0 else seconds(span)
    if lasting_s == float("inf"):
        assert span is not None
        found.leave_out(span.setting, "for ever is never: there is no rule of it")
        return
    prefix = "" if unit.cgroup == "/" else "cgroup."
    scanned = f"{prefix}scan_pages_per_s"
    condition = when.all_of(
        when.lasting(when.compare(f"{prefix}psi.memory.full.avg10", ">", above), lasting_s),
        when.within(f"{scanned} > 0", f"{scanned} == 0", RECLAIM_DURATION_S),
    )
    rule = _rule(unit, "pressure", condition, _BY_SCAN, POST_ACTION_DELAY_MS)
    yield _imported(rule, [entry, limit, span])


def _rulesets(unit: Unit, found: _Found) -> Iterator[ImportedRule]:
    """OOMRules= names files; each is a rule for this unit."""
    if "OOMRules" not in unit.settings:
        return
    entry = unit.settings["OOMRules"]
    for name in dict.fromkeys(entry.value.split()):
        if name not in found.rules:
            found.leave_out(Setting(f"OOMRules={name}", entry.setting.place), f"there is no {name}.oomrule among these")
            continue
        yield from _ruleset(name, unit, found)


def _ruleset(name: str, unit: Unit, found: _Found) -> Iterator[ImportedRule]:
    said = found.rules[name]
    path = found.rule_files[name]
    for key in said.keys() - {"MemoryPressureAbove", "SwapUsageMax", "Action", "LastingSec"}:
        found.leave_out(said[key].setting, "not a key of [Rule]")
    prefix = "" if unit.cgroup == "/" else "cgroup."
    parts = []
    if "MemoryPressureAbove" in said:
        parts.append(when.compare(f"{prefix}psi.memory.full.avg10", ">", percent(said["MemoryPressureAbove"])))
    if "SwapUsageMax" in said:
        parts += [when.HAS_SWAP, when.compare("swap_used_percent", ">", percent(said["SwapUsageMax"]))]
    lasting_s = seconds(said["LastingSec"]) if "LastingSec" in said else 0.0
    action = said.get("Action")
    if action is not None and action.value not in _ACTIONS:
        raise bad(action.setting.place, f"Action={action.value} is none of {', '.join(_ACTIONS)}")
    if not parts or action is None or lasting_s == float("inf"):
        why = "systemd-oomd ignores it: it has no condition, no Action=, or LastingSec=infinity"
        found.leave_out(Setting(f"{name}.oomrule", path), why)
        return
    condition = when.lasting(when.all_of(*parts), lasting_s)
    by = _BY_SWAP if action.value == "kill-by-swap" else _BY_SCAN
    rule = _rule(unit, name, condition, by, max(round(1000 * lasting_s), SWAP_INTERVAL_MS))
    if action.value == "kill-all":
        if unit.cgroup == "/":
            found.leave_out(action.setting, "a rule does not kill all of the machine")
            return
        rule = replace(rule, among=(unit.cgroup,))
    yield _imported(rule, [unit.settings["OOMRules"], *said.values()])


def _rule(unit: Unit, of: str, condition: str, by: tuple[str, ...], cooldown_ms: int) -> Rule:
    """One that is judged for the unit, and compares what is in it."""
    return Rule(
        _name(unit, of),
        condition,
        (unit.cgroup,),
        action=Kill.CGROUP,
        among=_leaves(unit),
        by=by,
        cooldown_ms=cooldown_ms,
        must_last_anew=not when.lasts(condition),
    )


def _name(unit: Unit, of: str) -> str:
    return rule_name(f"{'root.slice' if unit.name == '-.slice' else unit.name}-{of}")


def _imported(rule: Rule, used: Iterable[Entry | None]) -> ImportedRule:
    return ImportedRule(rule, tuple(entry.setting for entry in used if entry is not None))


def _is_kill(unit: Unit, key: str) -> bool:
    value = unit.value(key)
    if value not in ("", "auto", "kill"):
        raise bad(unit.settings[key].setting.place, f"{key}={value} is neither auto nor kill")
    return value == "kill"


def _unused(found: _Found, source: str) -> None:
    """What came to no rule."""
    for key, entry in found.conf.items():
        if key == "PrekillHookTimeoutSec":
            why = "hooks are varlink sockets in /run/systemd/oomd.prekill.hook: a rule's pre_kill is a command"
            found.leave_out(entry.setting, why)
        elif key not in ("SwapUsedLimit", "DefaultMemoryPressureLimit", "DefaultMemoryPressureDurationSec"):
            found.leave_out(entry.setting, "not a key of oomd.conf in systemd 261")
    for unit in found.units.values():
        if unit.value("ManagedOOMPreference") in ("avoid", "omit"):
            why = (
                "it stays in the unit: systemd writes it to the cgroup as user.oomd_avoid or user.oomd_omit, and the "
                "daemon goes by that"
            )
            found.leave_out(unit.settings["ManagedOOMPreference"].setting, why)
    named = {name for unit in found.units.values() for name in unit.value("OOMRules").split()}
    for name, path in found.rule_files.items():
        if name not in named:
            found.leave_out(Setting(f"{name}.oomrule", path), "no unit among these names it in OOMRules=")
    if found.conf and not any(_is_watched(unit) for unit in found.units.values()):
        why = "which units are watched is said by their ManagedOOM* settings: import the folders with the units too"
        found.leave_out(Setting("oomd.conf alone", source), why)


def _is_watched(unit: Unit) -> bool:
    return _is_kill(unit, "ManagedOOMSwap") or _is_kill(unit, "ManagedOOMMemoryPressure") or "OOMRules" in unit.settings
