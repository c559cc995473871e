"""systemd-oomd: oomd.conf, the ManagedOOM* properties of units, and .oomrule files.

Sources: oomd.conf(5), systemd-oomd.service(8) and systemd.resource-control(5) of systemd 252 and main; for .oomrule and
OOMRules= (in v261) also ruleset_load_one() in src/oom/oomd-conf.c and ruleset_check_conditions() in
src/oom/oomd-manager.c, as are the swap and pressure handlers and their delays (LGPL-2.1).

Belongs here: what its settings mean. Must not know: how systemd's files are read and merged (systemd_files.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from oompolicy.importing import when
from oompolicy.importing.imported import Imported, ImportedRule, LeftOut, PolicyFile, Setting, bad, rule_name
from oompolicy.importing.policy_text import Clause, policy_source
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
SWAP_POLICY: Final = "systemd_oomd_swap"

UNIT_KEYS: Final = frozenset(
    (
        "ManagedOOMSwap", "ManagedOOMMemoryPressure", "ManagedOOMMemoryPressureLimit",
        "ManagedOOMMemoryPressureDurationSec", "ManagedOOMPreference", "OOMRules", "Slice",
    )
)  # fmt: skip
_ACTIONS: Final = ("kill-all", "kill-by-pgscan", "kill-by-swap")
_BY_SCAN: Final = "largest_memcg"


@dataclass(slots=True)
class _Found:
    """All that the files say."""

    conf: dict[str, Entry] = field(default_factory=dict)
    units: dict[tuple[str, bool], Unit] = field(default_factory=dict)
    rules: dict[str, dict[str, Entry]] = field(default_factory=dict)
    rule_files: dict[str, str] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    needs_swap_policy: bool = False

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
    rules: list[ImportedRule] = []
    for unit in found.units.values():
        rules += _swap(unit, found)
        rules += _pressure(unit, found)
        rules += _rulesets(unit, found)
    _unused(found, source)
    policies = (PolicyFile(f"{SWAP_POLICY}.py", _swap_policy()),) if found.needs_swap_policy else ()
    return Imported("systemd-oomd", source, tuple(rules), policies, tuple(found.left_out))


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


def _swap(unit: Unit, found: _Found) -> Iterator[ImportedRule]:
    """Both memory and swap used above the limit; of the unit's descendants, the one that swaps most."""
    if not _is_kill(unit, "ManagedOOMSwap"):
        return
    entry = unit.settings["ManagedOOMSwap"]
    limit = found.conf.get("SwapUsedLimit")
    used = SWAP_LIMIT_PERCENT if limit is None else percent(limit)
    free = when.number(100 - used)
    condition = when.all_of(f"mem_available_percent < {free}", when.HAS_SWAP, f"swap_free_percent < {free}")
    found.leave_out(entry.setting, "cgroups with less than 5 % of all swap can go too, if nobody swaps more")
    yield _rule(f"{unit.name}-swap", condition, unit, _by_swap(found), SWAP_INTERVAL_MS, [entry, limit])


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
    _say_scan(entry.setting, found)
    yield _rule(f"{unit.name}-pressure", condition, unit, _BY_SCAN, POST_ACTION_DELAY_MS, [entry, limit, span])


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
    if action.value == "kill-by-swap":
        policy = _by_swap(found)
    else:
        policy = _BY_SCAN
        if action.value == "kill-all":
            why = "all of the unit goes there; a rule kills one cgroup of it, the largest, and looks again"
            found.leave_out(action.setting, why)
        else:
            _say_scan(action.setting, found)
    condition = when.lasting(when.all_of(*parts), lasting_s)
    cooldown_ms = max(round(1000 * lasting_s), SWAP_INTERVAL_MS)
    used = [unit.settings["OOMRules"], *said.values()]
    yield _rule(f"{unit.name}-{name}", condition, unit, policy, cooldown_ms, used)


def _rule(
    name: str, condition: str, unit: Unit, policy: str, cooldown_ms: int, used: list[Entry | None] | list[Entry]
) -> ImportedRule:
    rule = Rule(
        rule_name(name.replace("-.slice", "root.slice", 1) if unit.name == "-.slice" else name),
        condition,
        (unit.cgroup,),
        policy,
        action=Kill.CGROUP,
        cooldown_ms=cooldown_ms,
    )
    return ImportedRule(rule, tuple(entry.setting for entry in used if entry is not None))


def _is_kill(unit: Unit, key: str) -> bool:
    value = unit.value(key)
    if value not in ("", "auto", "kill"):
        raise bad(unit.settings[key].setting.place, f"{key}={value} is neither auto nor kill")
    return value == "kill"


def _by_swap(found: _Found) -> str:
    found.needs_swap_policy = True
    return f"{SWAP_POLICY}.py"


def _say_scan(setting: Setting, found: _Found) -> None:
    found.leave_out(setting, "how much a cgroup is scanned is not what a policy reads: the largest goes first")


def _swap_policy() -> str:
    doc = "Whom systemd-oomd takes for swap: the cgroup that swaps most."
    clauses = [Clause("task.memcg is None or task.memcg.depth == 0", "return DEFER")]
    imports = ("from oompolicy.policies.largest_memcg import by_memcg",)
    return policy_source(SWAP_POLICY, doc, clauses, "by_memcg(task.memcg.swap, task.badness)", imports=imports)


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
    by_swap = [unit for unit in found.units.values() if _is_kill(unit, "ManagedOOMSwap")]
    if len(by_swap) > 1:
        why = "of all these units systemd-oomd takes whoever swaps most; here the rule that stands first goes first"
        found.leave_out(by_swap[-1].settings["ManagedOOMSwap"].setting, why)
    named = {name for unit in found.units.values() for name in unit.value("OOMRules").split()}
    for name, path in found.rule_files.items():
        if name not in named:
            found.leave_out(Setting(f"{name}.oomrule", path), "no unit among these names it in OOMRules=")
    if found.conf and not any(_is_watched(unit) for unit in found.units.values()):
        why = "which units are watched is said by their ManagedOOM* settings: import the folders with the units too"
        found.leave_out(Setting("oomd.conf alone", source), why)


def _is_watched(unit: Unit) -> bool:
    return _is_kill(unit, "ManagedOOMSwap") or _is_kill(unit, "ManagedOOMMemoryPressure") or "OOMRules" in unit.settings
