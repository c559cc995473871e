"""The keys of the file, with their types and defaults; docs/config.md and docs/rules.md describe them.

Belongs here: what msgspec can check. Must not know: what a text in a value means (values.py, rows.py).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

Backend = Literal["auto", "oom_score_adj", "dry_run", "hook", "kill"]
Drift = Literal["correct", "leave"]
Action = Literal[
    "kill", "kill_tree", "kill_cgroup", "freeze", "thaw", "reclaim", "high", "restart", "notify", "nothing"
]
Parameter = int | str | list[int | str]
Value = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Uid = Annotated[int, Meta(ge=0, lt=1 << 32)]

# The texts that a key may have, for those that have only some.
CHOICES: Final[dict[str, Any]] = {"backend": Backend, "drift": Drift, "rule.action": Action}


class AssignRow(Struct, frozen=True, forbid_unknown_fields=True):
    """One [[assign]] row: whom it matches, and the value they get (see assign.Assignment)."""

    value: Value
    cgroup: str | None = None
    comm: str | None = None
    uid: Uid | None = None
    unit: str | None = None
    exe: str | None = None
    cmdline: str | None = None
    environment: str | None = None


class BudgetTable(Struct, frozen=True, forbid_unknown_fields=True):
    """[budget], and a rule's budget = { kills = 3, per = "10min" }."""

    kills: Annotated[int, Meta(ge=0, le=1_000_000)]
    per: str


class ProtectTable(Struct, frozen=True, forbid_unknown_fields=True):
    """[protect]: who is never killed by us."""

    cgroups: list[str] = []
    comms: list[str] = []
    uids: list[Uid] = []
    pids: list[Annotated[int, Meta(ge=1, le=1 << 22)]] = []


class RuleRow(Struct, frozen=True, forbid_unknown_fields=True):
    """One [[rule]] row (see rules.rule.Rule); durations and sizes are texts."""

    name: str
    when: str | None = None
    python: str | None = None
    enabled: bool = True
    scope: str | list[str] = "/"
    policy: str | None = None
    params: dict[str, Parameter] = {}
    action: Action = "kill"
    among: str | list[str] = []
    by: str | list[str] = []
    recursive: bool = False
    amount: str | None = None
    undo_after: str | None = None
    grace: str | None = None
    cooldown: str | None = None
    anew: bool = True
    budget: BudgetTable | None = None
    pre_kill: list[str] = []
    pre_kill_limit: str | None = None
    notify: list[str] = []
    dry_run: bool = False


class File(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole file."""

    backend: Backend = "auto"
    policy: str = "kernel_default"
    params: dict[str, Parameter] = {}
    interval_ms: Annotated[int, Meta(ge=100, le=3_600_000)] = 5000
    drift: Drift = "correct"
    scope: str | None = None
    state_dir: str = "/run/oompolicy"
    ttl_ms: Annotated[int, Meta(ge=1000, le=86_400_000)] | None = None
    reload_on_change: bool = True
    assign: list[AssignRow] = []
    scorers: list[str] = []
    rule: list[RuleRow] = []
    budget: BudgetTable | None = None
    protect: ProtectTable = ProtectTable()
