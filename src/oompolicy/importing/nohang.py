"""nohang: nohang.conf and nohang-desktop.conf.

Sources: nohang 0.2.0 (MIT): its configuration files' comments, and the functions check_mem_swap_ex, check_zram_ex,
check_psi_ex, pid_to_badness and implement_corrective_action of the program itself.

Belongs here: what its keys mean; their lines are read by nohang_keys.py. Must not know: how ours is written down.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Final

from oompolicy.importing import when
from oompolicy.importing.imported import DESKTOP, Imported, ImportedRule, LeftOut, bad_line
from oompolicy.importing.nohang_badness import chosen
from oompolicy.importing.nohang_keys import DEFAULTS, NO_EQUIVALENT, Keys, read_keys
from oompolicy.rules.rule import Kill, Other, Rule

AVERAGES: Final = ("avg10", "avg60", "avg300")
# What nohang rests after a victim has gone: it looks again at once. Where the victim stays, it waits for it.
COOLDOWN_MS: Final = 1_000
PLACEHOLDERS: Final = ("$PID", "$NAME", "$SERVICE")


def import_nohang(text: str, path: str) -> Imported:
    """Three rules at most of each threshold: memory with swap, zram, PSI."""
    keys = read_keys(text, path)
    left_out: list[LeftOut] = []
    victims = chosen(keys, left_out)
    rules: list[ImportedRule] = []
    for level in ("hard", "soft"):
        rules += _rules_of(keys, level, victims.policy, left_out)
    rules += _warnings(keys, left_out)
    left_out += _left_out(keys)
    why = "a victim has all of its grace: below the hard thresholds nohang sends SIGKILL at once"
    left_out.append(LeftOut("SIGTERM, then SIGKILL", why, path))
    return Imported("nohang", path, tuple(rules), victims.files, tuple(left_out), assigned=victims.rows)


def _rules_of(keys: Keys, level: str, policy: str | None, left_out: list[LeftOut]) -> Iterator[ImportedRule]:
    """soft is SIGTERM, and after max_soft_exit_time SIGKILL; hard is SIGKILL."""
    notify = _told(keys, level, left_out)
    grace_ms = keys.milliseconds("max_soft_exit_time") if level == "soft" else 0
    memory = _memory(keys, f"{level}_threshold_min_mem")
    condition = when.all_of(memory, _swap(keys, f"{level}_threshold_min_swap"))
    names = [f"{level}_threshold_min_mem", f"{level}_threshold_min_swap"]
    rule = Rule(f"nohang-{level}", condition, policy=policy, action=Kill.PROCESS, grace_ms=grace_ms)
    yield _with(keys, rule, names, COOLDOWN_MS, notify)
    if keys.truth("zram_checking_enabled"):
        condition = when.all_of(_zram(keys, f"{level}_threshold_max_zram"), memory)
        names = [f"{level}_threshold_max_zram", f"{level}_threshold_min_mem"]
        rule = Rule(f"nohang-{level}-zram", condition, policy=policy, action=Kill.PROCESS, grace_ms=grace_ms)
        yield _with(keys, rule, names, COOLDOWN_MS, notify)
    psi = _psi(keys, f"{level}_threshold_max_psi", left_out)
    if psi is None:
        return
    # check_psi_ex: its timer runs while both hold; without swap it does not look at PSI at all.
    both = when.lasting(when.all_of(psi, memory), keys.number("psi_excess_duration"))
    condition = when.all_of(both, when.HAS_SWAP)
    names = [f"{level}_threshold_max_psi", "psi_metrics", "psi_excess_duration", f"{level}_threshold_min_mem"]
    rule = Rule(f"nohang-{level}-psi", condition, policy=policy, action=Kill.PROCESS, grace_ms=grace_ms)
    yield _with(keys, rule, [*names, "psi_post_action_delay"], keys.milliseconds("psi_post_action_delay"), notify)


def _with(keys: Keys, rule: Rule, names: list[str], cooldown_ms: int, notify: tuple[str, ...]) -> ImportedRule:
    used = [*names, *(["max_soft_exit_time"] if rule.grace_ms else []), *(["post_kill_exe"] if notify else [])]
    made = Rule(
        rule.name,
        rule.when,
        policy=rule.policy,
        action=rule.action,
        grace_ms=rule.grace_ms,
        cooldown_ms=cooldown_ms,
        must_last_anew=not when.lasts(rule.when),
        notify=notify,
    )
    return ImportedRule(made, tuple(keys.setting(name) for name in used))


def _memory(keys: Keys, name: str) -> str:
    return _amount(keys, name, "mem_available")


def _swap(keys: Keys, name: str) -> str:
    return _amount(keys, name, "swap_free")


def _zram(keys: Keys, name: str) -> str:
    """What zram devices take (mem_used_total), of all memory (check_zram_ex)."""
    return _amount(keys, name, "zram_used", ">=")


def _amount(keys: Keys, name: str, field: str, op: str = "<=") -> str:
    """A threshold as "5 %" or "500 M" (calculate_percent)."""
    value, unit = keys.amount(name)
    return when.compare(f"{field}_{unit}", op, value)


def _psi(keys: Keys, name: str, left_out: list[LeftOut]) -> str | None:
    """PSI at or above the threshold; None where it is not to be looked at."""
    if not keys.truth("psi_checking_enabled"):
        return None
    of_cgroup = re.fullmatch(r"/sys/fs/cgroup(?:/unified)?(/.+)/memory\.pressure", keys.text("psi_path"))
    if of_cgroup is None and keys.text("psi_path") != "/proc/pressure/memory":
        why = "neither /proc/pressure/memory nor the memory.pressure of a cgroup: no PSI rule was made"
        setting = keys.setting("psi_path")
        if not any(found.what == setting.text for found in left_out):
            left_out.append(LeftOut(setting.text, why, setting.place))
        return None
    metrics = keys.text("psi_metrics")
    kind, _, average = metrics.partition("_")
    if kind not in ("some", "full") or average not in AVERAGES:
        raise bad_line(*keys.line("psi_metrics"), f"psi_metrics: {metrics!r} is none of some_avg10 to full_avg300")
    field = f"psi.memory.{kind}.{average}"
    if of_cgroup is None:
        return when.compare(field, ">=", keys.number(name))
    return when.of((of_cgroup[1],), when.compare(f"cgroup.{field}", ">=", keys.number(name)))


def _command(keys: Keys, name: str, left_out: list[LeftOut]) -> tuple[str, ...]:
    """A command with its arguments; what nohang would put in for $PID and its kind is said."""
    text = keys.text(name)
    if not text:
        return ()
    try:
        command = tuple(shlex.split(text))
    except ValueError as error:
        raise bad_line(*keys.line(name), f"{name}: {error}") from None
    used = [placeholder for placeholder in PLACEHOLDERS if placeholder in text]
    if used:
        setting = keys.setting(name)
        why = f"{', '.join(used)} is not put into the command: see docs/rules.md for what it gets"
        left_out.append(LeftOut(setting.text, why, setting.place))
    return command


def _told(keys: Keys, level: str, left_out: list[LeftOut]) -> tuple[str, ...]:
    """The command after a SIGKILL; else every desktop, where that is asked for."""
    command = _command(keys, "post_kill_exe", left_out) if level == "hard" else ()
    if not keys.truth("post_action_gui_notifications"):
        return command
    if command:
        setting = keys.setting("post_action_gui_notifications")
        why = "a rule has one notify: with post_kill_exe only SIGTERM is told to desktops"
        left_out.append(LeftOut(setting.text, why, setting.place))
    return command or DESKTOP


def _warnings(keys: Keys, left_out: list[LeftOut]) -> Iterator[ImportedRule]:
    """Low memory warnings, by memory and swap, zram, or PSI: a command, or every desktop."""
    if not keys.truth("low_memory_warnings_enabled"):
        return
    command = _command(keys, "warning_exe", left_out) or DESKTOP
    names = ["warning_threshold_min_mem", "warning_threshold_min_swap", "min_post_warning_delay", "warning_exe"]
    memory = _memory(keys, names[0])
    condition = when.all_of(memory, _swap(keys, names[1]))
    if keys.truth("zram_checking_enabled"):
        names.append("warning_threshold_max_zram")
        condition = when.any_of(condition, when.all_of(_zram(keys, names[-1]), memory))
    psi = _psi(keys, "warning_threshold_max_psi", left_out)
    if psi is not None:
        condition = when.any_of(condition, when.all_of(psi, memory, when.HAS_SWAP))
        names.append("warning_threshold_max_psi")
    delay_ms = keys.milliseconds("min_post_warning_delay")
    rule = Rule("nohang-warning", condition, action=Other.NOTIFY, cooldown_ms=delay_ms, notify=command)
    yield ImportedRule(rule, tuple(keys.setting(name) for name in names))


def _left_out(keys: Keys) -> Iterator[LeftOut]:
    for name, why in NO_EQUIVALENT.items():
        # A key at nohang's own default sets nothing that anybody chose.
        if name in keys.found and keys.text(name) != DEFAULTS[name]:
            yield LeftOut(keys.setting(name).text, why, keys.setting(name).place)
    for setting in keys.unknown:
        yield LeftOut(setting.text, "not a key of nohang 0.2.0", setting.place)
    for action in keys.soft_actions:
        why = (
            "a rule's action is one for all its victims: make a rule of its own, with the cgroup as its scope and "
            "action = restart or notify"
        )
        yield LeftOut(action.text, why, action.place)
