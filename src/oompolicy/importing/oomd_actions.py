"""oomd's actions: whom each would take.

Sources: docs/core_plugins.md of oomd 0.5.0 (GPL-2.0), src/oomd/plugins/KillMemoryGrowth-inl.h and Senpai.h.

Belongs here: the policy that comes nearest to an action, and what it does not say. Must not know: rulesets, detectors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from oompolicy.importing.imported import PolicyFile
from oompolicy.importing.oomd_detectors import Plugin
from oompolicy.importing.policy_text import Clause, Constant, policy_source

_SENPAI: Final = "it squeezes memory.high all the time to learn how much is needed; a rule acts when memory is short"


@dataclass(frozen=True, slots=True)
class _Taken:
    """policy: the built-in one, or None for the one by swap. remark: what it does not say."""

    policy: str | None
    remark: str | None = None


KILLS: Final = {
    "kill_by_memory_size_or_growth": _Taken(
        "over_protection",
        "over_protection takes the one furthest above its protection, as oomd does by size; growth is not looked at",
    ),
    "kill_by_swap_usage": _Taken(None),
    "kill_by_pressure": _Taken(
        "largest_memcg", "the pressure that a cgroup makes is not what a policy reads: the largest is taken"
    ),
    "kill_by_io_cost": _Taken(
        "largest_memcg", "what a cgroup reads and writes is not what a policy reads: the largest"
    ),
    "kill_by_pg_scan": _Taken("largest_memcg", "how much a cgroup is scanned is not what a policy reads: the largest"),
}

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

# Arguments of kill actions that have no place in a rule.
_ARGUMENTS: Final = {
    "size_threshold": "sizes are compared as they are, without a threshold",
    "min_growth_ratio": "growth is not looked at",
    "growing_size_percentile": "growth is not looked at",
    "threshold": "whoever swaps most goes, however little it is",
    "biased_swap_kill": "swap is compared as it is, without regard to protection",
    "recursive": "there are no steps from sibling to sibling: all below the scope are compared at once",
    "kernelkill": "a whole cgroup goes by cgroup.kill where there is one",
    "log_kmemalloc_prekill": "a matter of the log",
    "reap_memory": "process_mrelease is used where the kernel has it",
}


def policy_of(
    action: Plugin, scope: Sequence[str], targets: Sequence[str], number: int
) -> tuple[str, PolicyFile | None]:
    """The name of the policy in a rule, and its file where it needs one."""
    taken = KILLS[action.name]
    under = _restriction(scope, targets)
    if taken.policy is not None and not under:
        return taken.policy, None
    name = f"oomd_{number}"
    clauses = [Clause("task.memcg is None or task.memcg.depth == 0", "return SPARE" if under else "return DEFER")]
    if under:
        tests = " or ".join(f"task.memcg.is_under(UNDER[{index}])" for index in range(len(under)))
        comment = f"{action.place}: only these are to be killed: {', '.join(targets)}"
        clauses.append(Clause(f"not ({tests})", "return SPARE", (Constant("UNDER", under, comment),)))
    if taken.policy is None:
        last, module, used = "by_memcg(task.memcg.swap, task.badness)", "largest_memcg", "by_memcg"
        what = "the cgroup that swaps most"
    else:
        last, module, used = f"{taken.policy}(task, oc)", taken.policy, taken.policy
        what = f"as {taken.policy}"
    doc = f"Whom oomd's {action.name} takes: {what}{', of some cgroups alone' if under else ''}."
    imports = (f"from oompolicy.policies.{module} import {used}",)
    return f"{name}.py", PolicyFile(f"{name}.py", policy_source(name, doc, clauses, last, imports=imports))


def narrowed(scope: tuple[str, ...], targets: Sequence[str]) -> tuple[str, ...]:
    """The scope, or what of the machine is to be killed in where that is one cgroup: then nobody else ever goes."""
    under = _restriction(scope, targets)
    return under if scope == ("/",) and len(under) == 1 else scope


def remarks(action: Plugin, scope: Sequence[str], targets: Sequence[str]) -> Iterator[str]:
    """What of an action is not, or not quite, said by its rule."""
    taken = KILLS[action.name]
    if taken.remark is not None:
        yield taken.remark
    for name in action.args:
        if name in _ARGUMENTS:
            yield f"{name}: {_ARGUMENTS[name]}"
        elif name not in ("cgroup", "post_action_delay", "dry", "always_continue", "resource", "debug"):
            yield f"{name}: not an argument of {action.name}"
    wider = [target for target in targets if not _is_said(target, scope)]
    if wider:
        whole = ", ".join(dict.fromkeys(_literal(target) for target in wider))
        yield f"all of {whole} can go, not only {', '.join(wider)}"
    if _restriction(scope, targets):
        yield "who is outside of those cgroups is spared, which means last, not never"


def _restriction(scope: Sequence[str], targets: Sequence[str]) -> tuple[str, ...]:
    """The cgroups, by their paths as far as these have no pattern, that narrow the scope down; () if they do not."""
    prefixes = tuple(dict.fromkeys(_literal(target) for target in targets))
    within = [_literal(one) for one in scope]
    for prefix in prefixes:
        if not any(prefix != above and prefix.startswith(above.rstrip("/") + "/") for above in within):
            return ()
    return prefixes


def _is_said(target: str, scope: Sequence[str]) -> bool:
    """Can a rule say exactly that: the scope itself, all below it, or a path without a pattern?"""
    is_scope = target in scope or target.removesuffix("/*") in scope
    return is_scope or target.removeprefix(_literal(target)).strip("/") in ("", "*")


def _literal(glob: str) -> str:
    """The part of a glob's path before its first pattern.

    >>> _literal("/user.slice/user-*.slice/session-1.scope"), _literal("/*"), _literal("/system.slice")
    ('/user.slice', '/', '/system.slice')
    """
    parts = []
    for part in glob.strip("/").split("/"):
        if re.search(r"[*?\[]", part):
            break
        parts.append(part)
    return "/" + "/".join(parts)
