"""oomd's actions: the cgroups that they kill, and by which numbers they compare them.

Sources: docs/core_plugins.md of oomd 0.5.0 and main (GPL-2.0), and rankForKilling() of src/oomd/plugins/
KillMemoryGrowth-inl.h, KillSwapUsage-inl.h, KillPressure-inl.h, KillIOCost-inl.h, KillPgScan-inl.h, and
src/oomd/CgroupContext.cpp for what they rank by.

Belongs here: one action of its chain. Must not know: detectors, the chain, what makes a rule fire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from oompolicy.importing import when
from oompolicy.importing.oomd_detectors import Plugin, amount, argument, resource, truth

_SENPAI: Final = "it squeezes memory.high all the time to learn how much is needed; a rule acts when memory is short"

NOT_KILLS: Final = {
    "senpai": _SENPAI,
    "senpai_poking": _SENPAI,
    "senpai_hold": _SENPAI,
    "dump_cgroup_overview": "each order is logged with its numbers",
    "dump_kill_info": "each kill is logged and explained",
    "kernel_panic": "nothing here panics a machine",
    "adjust_cgroup": "a rule does not change limits for good: action = high does it for a while",
    "throttle_cgroup": "use a rule with action = high",
    "freeze": "use a rule with action = freeze",
}

# Arguments of kill actions that say nothing of a rule, and why; None: nothing is to be said of it.
_ARGUMENTS: Final = {
    **dict.fromkeys(("cgroup", "recursive", "post_action_delay", "dry", "always_continue", "debug", "resource")),
    **dict.fromkeys(("size_threshold", "min_growth_ratio", "growing_size_percentile", "threshold")),
    "biased_swap_kill": "swap is compared as it is, without regard to protection",
    "kernelkill": "a whole cgroup goes by cgroup.kill where there is one",
    "log_kmemalloc_prekill": "a matter of the log",
    "reap_memory": "process_mrelease is used where the kernel has it",
}

# A cgroup's usage, of which its average of the last looks (a quarter of each, every 5 s) lags behind by 15 s.
AVERAGE_LAGS_S: Final = 15
_GROWTH: Final = f"cgroup.current_mib / (cgroup.current_mib - growth(cgroup.current_mib, {AVERAGE_LAGS_S}))"


def _size_or_growth(action: Plugin) -> tuple[str, ...]:
    """Who holds so much of all; then who grows, among the largest; then who is largest (get_ranking_fn())."""
    size = when.number(argument(action, "size_threshold", 50) / 100)
    ratio = when.number(argument(action, "min_growth_ratio", 1.25))
    percentile = argument(action, "growing_size_percentile", 80)
    grows = f"{_GROWTH} >= {ratio}"
    if percentile > 0:
        # At 100 the largest alone is left, as with a number just below it.
        below = when.number(min(percentile, 99.9))
        grows += f" and cgroup.unprotected_mib >= percentile(cgroup.unprotected_mib, {below})"
    return (
        f"cgroup.unprotected_mib if cgroup.current_mib >= {size} * total(cgroup.current_mib) else 0",
        f"{_GROWTH} if {grows} else 0",
        "cgroup.unprotected_mib",
    )


def _pressure(action: Plugin) -> tuple[str, ...]:
    name = f"cgroup.psi.{resource(action)}.full"
    return (f"{name}.avg10 / 2 + {name}.avg60 / 2",)


KILLS: Final[dict[str, Callable[[Plugin], tuple[str, ...]]]] = {
    "kill_by_memory_size_or_growth": _size_or_growth,
    "kill_by_swap_usage": lambda action: ("cgroup.swap_mib",),
    "kill_by_pressure": _pressure,
    "kill_by_io_cost": lambda action: ("rate(cgroup.io_mib)",),
    "kill_by_pg_scan": lambda action: ("cgroup.scan_pages_per_s",),
}


def among(action: Plugin) -> tuple[str, ...]:
    """The cgroups that are compared; the root itself never goes, and with `recursive` what is in it is compared."""
    inside = ("/*",) if truth(action, "recursive", False) else ()
    return tuple(found for glob in action.cgroups for found in (inside if glob == "/" else (glob,)))


def wanted(action: Plugin, targets: tuple[str, ...]) -> str:
    """What must be true of one of its cgroups for the action to kill at all; empty where nothing must."""
    if action.name != "kill_by_swap_usage":
        return ""
    if "threshold" not in action.args:
        return when.of(targets, "cgroup.swap_mib > 0")
    return when.of(targets, when.compare("cgroup.swap_mib", ">=", amount(action.args["threshold"], "swap_total_mib")))


def remarks(action: Plugin) -> Iterator[str]:
    """What of an action is not, or not quite, said by its rule."""
    if action.name == "kill_by_io_cost":
        yield "by what is read and written in MiB: what a disk makes of it (--device, --ssd-coeffs) is not reckoned"
    if action.name == "kill_by_memory_size_or_growth":
        yield "growth is of the last 15 s, about as far as oomd's average lags; protection is the cgroup's own"
    for name in action.args:
        if name not in _ARGUMENTS:
            yield f"{name}: not an argument of {action.name}"
        elif (why := _ARGUMENTS[name]) is not None:
            yield f"{name}: {why}"
