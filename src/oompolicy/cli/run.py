"""`oompolicy run`: the daemon.

Belongs here: the command's options, how they change the configuration, and what --once prints.
Must not know: what a backend does, when.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click

from oompolicy.backends import choose_backend
from oompolicy.backends.backend import TakeSnapshot
from oompolicy.backends.dry_run import DryRun
from oompolicy.backends.hook.backend import Hook, default_ttl_ms, detach
from oompolicy.backends.hook.ruling import Wanted
from oompolicy.backends.hook.target import load_module
from oompolicy.backends.oom_score_adj.backend import OomScoreAdj, ProcWriter, restore_left_behind
from oompolicy.backends.oom_score_adj.claims import Claim
from oompolicy.backends.oom_score_adj.journal import Journal, boot_id
from oompolicy.backends.oom_score_adj.plan import Adjustment, Plan
from oompolicy.cli.inputs import json_option, policy_options, scope_path, usable_policy
from oompolicy.cli.render import Column, mib, print_json, print_line, print_table
from oompolicy.config import Backend, Config, load_config
from oompolicy.daemon import Daemon, Orders, log
from oompolicy.errors import BackendError, PrivilegeError
from oompolicy.policy.api import Policy
from oompolicy.policy_limit import call_limit
from oompolicy.sources.live import live_snapshot

NOT_YET = ("kill",)
FIXED = ("backend", "scope", "state_dir", "drift", "ttl_ms")  # what a reload does not change
ONCE_HINT = "use --backend oom_score_adj or dry_run, or run without --once"
UNMET_SHOWN = 20
SCOPES_SHOWN = 20

ADJUSTMENTS = (
    Column("PID", is_number=True),
    Column("COMM"),
    Column("MIB", is_number=True),
    Column("ORIGINAL", is_number=True),
    Column("PLAN", is_number=True),
    Column("CGROUP"),
)
CLAIMS = (
    Column("SCOPE"),
    Column("CANDIDATES", is_number=True),
    Column("HELD", is_number=True),
    Column("FIRST VICTIM"),
    Column("GROWTH THAT CHANGES IT, MIB", is_number=True),
    Column("ANY OF THE ORDER, MIB", is_number=True),
)


@dataclass(frozen=True, slots=True)
class InKernel:
    """How the hook is to have the policy, and which others are asked beside it."""

    wanted: Wanted = Wanted.COMPILED_IF_POSSIBLE
    shadowing: tuple[Policy, ...] = ()


_WANTED = {None: Wanted.COMPILED_IF_POSSIBLE, True: Wanted.COMPILED, False: Wanted.PUBLISHED}


@click.command()
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="Instead of /etc/oompolicy/oompolicy.toml."
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "hook", "oom_score_adj", "dry_run", *NOT_YET]),
    help="How the policy becomes force; default: the configuration's.",
)
@policy_options(default=None)
@click.option("--interval-ms", type=click.IntRange(100, 3_600_000), help="How often to look.")
@click.option("--scope", metavar="CGROUP", help="Touch and rank only the processes of this cgroup.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where originals are written down.")
@click.option(
    "--compiled/--published",
    "compiled",
    default=None,
    help="With the hook: refuse a policy that does not compile, or publish its answers though it does.",
)
@click.option(
    "--shadow",
    "shadowing",
    multiple=True,
    metavar="POLICY",
    help="With the hook: ask this one too in every OOM, and tell where it would have chosen another. Repeatable.",
)
@click.option("--once", is_flag=True, help="Put the policy in force once, print the plan, and leave it so.")
@json_option
def run(
    config_path: Path | None,
    backend: Backend | None,
    policy_name: str | None,
    parameters: tuple[str, ...],
    interval_ms: int | None,
    scope: str | None,
    state_dir: Path | None,
    compiled: bool | None,
    shadowing: tuple[str, ...],
    once: bool,
    as_json: bool,
) -> None:
    """The daemon: keep a policy in force, until SIGTERM; then everything is put back.

    SIGHUP reads the configuration anew. After a kill -9 the policy stays in force, until the next start or
    `oompolicy restore`.
    """
    if as_json and not once:
        raise click.UsageError("--json goes with --once: the daemon itself prints only its log.")

    def configured() -> Config:
        config = load_config(config_path)
        return replace(
            config,
            backend=backend or config.backend,
            policy=policy_name or config.policy,
            # The file's parameters are those of the file's policy.
            params=() if policy_name else config.params,
            interval_ms=interval_ms or config.interval_ms,
            scope=scope_path(scope) or config.scope,
            state_dir=state_dir or config.state_dir,
        )

    first = configured()

    def orders() -> Orders:
        config = configured()
        for name in FIXED:
            if getattr(config, name) != getattr(first, name):
                log(f"{name} counts from the next start")
        return Orders(_policy(config, parameters), config.assign, config.interval_ms, call_limit())

    in_kernel = InKernel(_WANTED[compiled], tuple(usable_policy(name) for name in shadowing))
    chosen = _backend(first, _unsaid if once else log, once, in_kernel)
    _clear_the_way(chosen, first)
    daemon = Daemon(chosen, _snapshots(first), orders(), orders)
    if not once:
        daemon.run()
        return
    daemon.run_once()
    assert isinstance(chosen, OomScoreAdj)
    assert chosen.plan is not None
    (_print_json if as_json else _print)(chosen.plan)
    if not isinstance(chosen, DryRun):
        log("it stays so until `oompolicy restore`; processes that are new are not looked after")


def _policy(config: Config, parameters: tuple[str, ...]) -> Policy:
    """The policy with the file's parameters, and those of the command line over them."""
    named = {text.partition("=")[0] for text in parameters}
    rest = {name: value for name, value in config.params if name not in named}
    return usable_policy(config.policy, parameters, rest)


def _unsaid(line: str) -> None:
    """The table says it."""


def _backend(config: Config, say: Callable[[str], None], once: bool, in_kernel: InKernel) -> Hook | OomScoreAdj:
    if config.backend in NOT_YET:
        raise BackendError(f"backend {config.backend}", "is not in this build yet", "use hook or oom_score_adj")
    backend = _automatic(once) if config.backend == "auto" else config.backend
    if backend != "hook" and in_kernel != InKernel():
        raise BackendError(f"backend {backend}", "knows no --compiled, --published or --shadow", "they are the hook's")
    if backend == "dry_run":
        if config.backend == "auto":
            log("not root: nothing will be changed, only said (backend dry_run)")
        return DryRun(say, config.scope)
    if os.geteuid() != 0:
        raise PrivilegeError("run", "needs root to put a policy in force", "use --backend dry_run")
    if backend == "hook":
        if once:
            raise BackendError("backend hook", "cannot --once: its answers expire without the daemon", ONCE_HINT)
        load_module()
        return Hook(
            config.ttl_ms or default_ttl_ms(config.interval_ms),
            config.scope,
            wanted=in_kernel.wanted,
            shadowing=in_kernel.shadowing,
        )
    return OomScoreAdj(ProcWriter(), Journal(config.state_dir, boot_id()), config.drift, config.scope)


def _clear_the_way(chosen: Hook | OomScoreAdj, config: Config) -> None:
    """One backend at a time: undo what a killed daemon has left in force by the other one."""
    if isinstance(chosen, Hook):
        for line in restore_left_behind(Journal(config.state_dir, boot_id()), live_snapshot, config.scope):
            log(line)
    elif not isinstance(chosen, DryRun) and detach():
        log("what an earlier daemon has left attached is detached")


def _automatic(once: bool) -> str:
    """What `auto` takes; the module is loaded where it is installed."""
    if once:
        return "oom_score_adj" if os.geteuid() == 0 else "dry_run"
    if os.geteuid() == 0:
        load_module()
    backend, reason = choose_backend()
    if reason is not None:
        log(f"not the hook: {reason}")
    return backend


def _snapshots(config: Config) -> TakeSnapshot:
    """How the machine is looked at; what cannot be seen is said now. Raises GoneError where the scope is not there."""
    now = live_snapshot()
    for sentence in now.missing:
        log(sentence)
    if config.scope is not None:
        now.memcg(config.scope)
    return live_snapshot


def _print(plan: Plan) -> None:
    adjustments, page_size = plan.adjustments, plan.ranking.page_size_bytes
    if adjustments:
        print_table(ADJUSTMENTS, (_adjustment_row(item, page_size) for item in adjustments))
    same = len(plan.values) - len(adjustments)
    print_line(f"{len(adjustments)} of {len(plan.values)} processes get another oom_score_adj, {same} keep theirs.")
    print_line("")
    print_table(CLAIMS, (_claim_row(claim, page_size) for claim in plan.claims[:SCOPES_SHOWN]))
    if len(plan.claims) > SCOPES_SHOWN:
        rest = plan.claims[SCOPES_SHOWN:]
        whole = sum(claim.held == claim.candidates for claim in rest)
        print_line(f"… and {len(rest)} more scopes (--json shows all); the whole order holds in {whole} of them")
    if plan.unmet:
        print_line("")
    for item in plan.unmet[:UNMET_SHOWN]:
        print_line(item.in_words(page_size))
    if len(plan.unmet) > UNMET_SHOWN:
        print_line(f"… and {len(plan.unmet) - UNMET_SHOWN} more (--json shows all)")


def _adjustment_row(item: Adjustment, page_size: int) -> tuple[object, ...]:
    task = item.task
    size = None if task.mm is None else task.mm.rss_pages + task.mm.swap_pages
    cgroup = "" if task.memcg is None else task.memcg.path
    return task.process_id, task.comm, mib(size, page_size), task.oom_score_adj, item.adj, cgroup


def _claim_row(claim: Claim, page_size: int) -> tuple[object, ...]:
    chosen = "" if claim.chosen is None else f"{claim.chosen.comm} ({claim.chosen.process_id})"
    first = "not the policy's" if not claim.holds_first else _growth(claim.first_margin_pages, page_size)
    any_ = "" if claim.held == 0 else _growth(claim.margin_pages, page_size)
    scope = "the machine" if claim.scope is None else claim.scope
    return scope, claim.candidates, claim.held, chosen, first, any_


def _growth(pages: int | None, page_size: int) -> str:
    return "none does" if pages is None else mib(pages, page_size)


def _print_json(plan: Plan) -> None:
    for item in plan.adjustments:
        task = item.task
        print_json(
            {
                "kind": "adjustment",
                "pid": task.process_id,
                "comm": task.comm,
                "cgroup": None if task.memcg is None else task.memcg.path,
                "original": task.oom_score_adj,
                "adj": item.adj,
            }
        )
    for claim in plan.claims:
        print_json(
            {
                "kind": "scope",
                "scope": claim.scope,
                "totalpages": claim.totalpages,
                "candidates": claim.candidates,
                "held": claim.held,
                "first": None if claim.chosen is None else claim.chosen.process_id,
                "is_the_policy_s": claim.holds_first,
                "first_margin_pages": claim.first_margin_pages,
                "margin_pages": claim.margin_pages,
            }
        )
    for unmet in plan.unmet:
        print_json(
            {
                "kind": "unmet",
                "scope": unmet.scope.path,
                "rank": unmet.rank,
                "above": unmet.above.process_id,
                "below": unmet.below.process_id,
                "short_pages": unmet.short_pages,
                "range_pages": unmet.range_pages,
                "why": unmet.in_words(plan.ranking.page_size_bytes),
            }
        )
