"""nohang's lines: keys with values, and the @ lines.

Belongs here: reading them, their defaults, and which have no equivalent. Must not know: rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from oompolicy.errors import ConfigError
from oompolicy.importing.imported import Setting, bad_line

SEPARATOR: Final = "///"

DEFAULTS: Final = {
    "zram_checking_enabled": "False", "psi_checking_enabled": "False", "psi_path": "/proc/pressure/memory",
    "psi_metrics": "full_avg10", "psi_excess_duration": "30", "psi_post_action_delay": "15", "fill_rate_mem": "6000",
    "fill_rate_swap": "2000", "fill_rate_zram": "4000", "max_sleep": "3", "min_sleep": "0.1",
    "post_action_gui_notifications": "False", "hide_corrective_action_type": "False",
    "low_memory_warnings_enabled": "False", "warning_exe": "", "warning_threshold_min_mem": "20 %",
    "warning_threshold_min_swap": "25 %", "warning_threshold_max_zram": "45 %", "warning_threshold_max_psi": "10",
    "min_post_warning_delay": "60", "env_cache_time": "300", "soft_threshold_min_mem": "5 %",
    "soft_threshold_min_swap": "10 %", "soft_threshold_max_zram": "55 %", "soft_threshold_max_psi": "40",
    "hard_threshold_min_mem": "2 %", "hard_threshold_min_swap": "4 %", "hard_threshold_max_zram": "60 %",
    "hard_threshold_max_psi": "90", "ignore_positive_oom_score_adj": "False", "max_soft_exit_time": "10",
    "post_kill_exe": "", "min_badness": "1", "post_soft_action_delay": "3", "post_zombie_delay": "0.1",
    "victim_cache_time": "10", "exe_timeout": "20", "print_config_at_startup": "False",
    "print_mem_check_results": "False", "min_mem_report_interval": "60", "print_proc_table": "False",
    "extra_table_info": "None", "print_victim_status": "True", "print_victim_cmdline": "False",
    "max_victim_ancestry_depth": "3", "print_statistics": "True", "debug_psi": "False",
    "debug_gui_notifications": "False", "debug_sleep": "False", "debug_threading": "False", "separate_log": "False",
}  # fmt: skip

_POLLING = "the daemon sleeps until the kernel wakes it, and sets its own pace near a threshold"
_LOGGING = "a matter of the log, not of the rules"
_POP_UP = "what is shown on a desktop is notify-send's own, and its text the rule's name and what was done"

NO_EQUIVALENT: Final = {
    **dict.fromkeys(("fill_rate_mem", "fill_rate_swap", "fill_rate_zram", "max_sleep", "min_sleep"), _POLLING),
    **dict.fromkeys(
        (
            "print_config_at_startup", "print_mem_check_results", "min_mem_report_interval", "print_proc_table",
            "extra_table_info", "print_victim_status", "print_victim_cmdline", "max_victim_ancestry_depth",
            "print_statistics", "debug_psi", "debug_gui_notifications", "debug_sleep", "debug_threading",
            "separate_log",
        ),
        _LOGGING,
    ),
    "hide_corrective_action_type": _POP_UP,
    "env_cache_time": _POP_UP,
    "min_badness": "who is chosen goes, however small: a policy can say SPARE to the small ones, which means last",
    "post_soft_action_delay": "the daemon waits for the memory of the victim before it judges again",
    "post_zombie_delay": "the daemon waits for the memory of the victim before it judges again",
    "victim_cache_time": "who is chosen is told anew each time",
    "exe_timeout": "a command of notify has the daemon's own time limit",
}  # fmt: skip

_PROPERTIES: Final = ("NAME", "CGROUP_V1", "CGROUP_V2", "UID", "REALPATH", "CWD", "CMDLINE", "ENVIRON")


@dataclass(frozen=True, slots=True)
class Badness:
    """One @BADNESS_ADJ_RE_ line: the property that is searched, for what, and the points that are added."""

    property: str
    points: int
    regex: str
    setting: Setting


@dataclass(slots=True)
class Keys:
    """All that was found. found: by key, the line's number, the line and the value."""

    path: str
    found: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    badness: list[Badness] = field(default_factory=list)
    soft_actions: list[Setting] = field(default_factory=list)
    unknown: list[Setting] = field(default_factory=list)

    def text(self, name: str) -> str:
        """The value, or nohang's default."""
        return self.found[name][2] if name in self.found else DEFAULTS[name]

    def setting(self, name: str) -> Setting:
        """The key as it stands there, and where; the default where it is not there."""
        if name not in self.found:
            return Setting(f"{name} = {DEFAULTS[name]} (nohang's default)", self.path)
        line, _, value = self.found[name]
        return Setting(f"{name} = {value}", f"{self.path}:{line}")

    def line(self, name: str) -> tuple[str, int, str]:
        """Path, number and text of a key's line, for an error."""
        line, written, _ = self.found.get(name, (1, "", ""))
        return self.path, line, written

    def truth(self, name: str) -> bool:
        """True or False, spelled so."""
        text = self.text(name)
        if text not in ("True", "False"):
            raise self._bad(name, f"{text!r} is neither True nor False")
        return text == "True"

    def number(self, name: str) -> float:
        """A number that is not negative."""
        return self._number(name, self.text(name))

    def milliseconds(self, name: str) -> int:
        """Seconds, as milliseconds."""
        return round(1000 * self.number(name))

    def amount(self, name: str) -> tuple[float, str]:
        """A threshold as "5 %" or "500 M": the number, and percent or mib."""
        text = self.text(name)
        for suffix, unit in (("%", "percent"), ("M", "mib")):
            if text.endswith(suffix):
                return self._number(name, text[:-1].strip()), unit
        raise self._bad(name, f"{text!r} ends neither with % nor with M")

    def _number(self, name: str, text: str) -> float:
        if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", text):
            raise self._bad(name, f"{text!r} is not a number")
        return float(text)

    def _bad(self, name: str, why: str) -> ConfigError:
        return bad_line(*self.line(name), f"{name}: {why}")


def is_nohang(text: str) -> bool:
    """Is it a configuration of nohang?"""
    return re.search(r"^(soft|hard)_threshold_(min|max)_\w+\s*=", text, re.MULTILINE) is not None


def read_keys(text: str, path: str) -> Keys:
    """As nohang reads it: a line that begins with #, a blank or a tab is a comment."""
    keys = Keys(path)
    for line, written in enumerate(text.splitlines(), start=1):
        if not written or written[0] in "# \t":
            continue
        setting = Setting(written.strip(), f"{path}:{line}")
        if written.startswith("@BADNESS_ADJ_RE_"):
            keys.badness.append(_badness(written, path, line))
        elif written.startswith("@SOFT_ACTION_RE_"):
            if SEPARATOR not in written:
                raise bad_line(path, line, written, f"{SEPARATOR} and a command are missing")
            keys.soft_actions.append(setting)
        elif written.startswith("@"):
            keys.unknown.append(setting)
        else:
            name, has_value, value = (part.strip() for part in written.partition("="))
            if not has_value:
                raise bad_line(path, line, written, "is neither key = value nor a comment", 1)
            if name in keys.found:
                raise bad_line(path, line, written, f"{name} was set already, in line {keys.found[name][0]}")
            if name in DEFAULTS:
                keys.found[name] = (line, written, value)
            else:
                keys.unknown.append(setting)
    return keys


def _badness(written: str, path: str, line: int) -> Badness:
    found = re.match(rf"@BADNESS_ADJ_RE_(\w+)\s+(-?\d+)\s*{SEPARATOR}\s*(.*)$", written)
    if found is None or found[1] not in _PROPERTIES:
        hint = f"expected @BADNESS_ADJ_RE_NAME points {SEPARATOR} expression, NAME one of {', '.join(_PROPERTIES)}"
        raise bad_line(path, line, written, hint)
    regex = found[3].strip()
    try:
        re.compile(regex)
    except re.error as error:
        raise bad_line(path, line, written, f"not a regular expression: {error}") from None
    return Badness(found[1], int(found[2]), regex, Setting(written.strip(), f"{path}:{line}"))
