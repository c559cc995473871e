"""`oompolicy run`: the daemon.

Belongs here: the command's options, how they change the configuration, and what --once prints.
Must not know: what a backend does, when.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click

from oompolicy.backends.dry_run import DryRun
from oompolicy.backends.oom_score_adj.backend import OomScoreAdj
from oompolicy.backends.oom_score_adj.claims import Claim
from oompolicy.backends.oom_score_adj.plan import Adjustment, Plan
from oompolicy.cli.inputs import json_option, policy_options, scope_path
from oompolicy.cli.render import Column, mib, print_json, print_line, print_table
from oompolicy.config import DEFAULT_PATH, Backend, Config, load_config
from oompolicy.daemon import Daemon, log
from oompolicy.daemon.child_reload import REFUSED, UNDERSTOOD, answer, be_ordinary, refusal
from oompolicy.daemon.settings import Settings, packed
from oompolicy.daemon.start import (
    backend_for,
    check_scope,
    clear_the_way,
    exec_daemon,
    orders_of,
)
from oompolicy.errors import BackendError, OompolicyError
from oompolicy.python_file import file_of
from oompolicy.sources.live import live_snapshot
from oompolicy.sources.unit_files import read_unit_settings

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


@click.command()
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="Instead of /etc/oompolicy/oompolicy.toml."
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "hook", "oom_score_adj", "kill", "dry_run"]),
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

    The configuration is read anew when it changes, and on SIGHUP. After a kill -9 the policy stays in force, until the
    next start or `oompolicy restore`.
    """
    if as_json and not once:
        raise click.UsageError("--json goes with --once: the daemon itself prints only its log.")

    def settings() -> Settings:
        config = load_config(config_path)
        config = replace(
            config,
            backend=backend or config.backend,
            policy=policy_name or config.policy,
            # The file's parameters are those of the file's policy.
            params=() if policy_name else config.params,
            interval_ms=interval_ms or config.interval_ms,
            scope=scope_path(scope) or config.scope,
            state_dir=state_dir or config.state_dir,
        )
        if config.backend == "kill" and (once or not config.rules):
            why = "does nothing once: it waits for rules to fire" if once else "has no [[rule]] to go by"
            raise BackendError("backend kill", why, "write rules (docs/rules.md), and run without --once")
        found = _settings(config, parameters, compiled, shadowing)
        return replace(found, watched=(config_path or DEFAULT_PATH).absolute()) if config.reload_on_change else found

    if be_ordinary():
        _answer_reload(settings)
    elif once:
        _run_once(settings(), as_json)
    else:
        exec_daemon(settings())


def _settings(
    config: Config, parameters: tuple[str, ...], compiled: bool | None, shadowing: tuple[str, ...]
) -> Settings:
    return Settings(
        backend=config.backend,
        policy=config.policy,
        params=config.params,
        parameters=parameters,
        interval_ms=config.interval_ms,
        drift=config.drift,
        scope=config.scope,
        state_dir=config.state_dir,
        ttl_ms=config.ttl_ms,
        assign=config.assign,
        rules=config.rules,
        budget=config.budget,
        protect=config.protect,
        compiled=compiled,
        shadowing=shadowing,
        command=(sys.executable, *sys.orig_argv[1:]),
        scorers=config.scorers,
        units=read_unit_settings(),
        python=tuple(_python_files(config)),
    )


def _python_files(config: Config) -> Iterator[Path]:
    """What is read besides the configuration."""
    of_rules = (name for rule in config.rules for name in (rule.policy, rule.python) if name)
    names = (config.policy, *config.scorers, *of_rules)
    for name in dict.fromkeys(names):
        if (path := file_of(name)) is not None:
            yield path.absolute()


def _answer_reload(settings: Callable[[], Settings]) -> None:
    """A daemon asks what the configuration is now: see daemon/child_reload.py."""
    now = None
    try:
        now = settings()
        orders_of(now)
    except OompolicyError as error:
        answer(REFUSED, refusal(error, None if now is None else now.python))
    else:
        answer(UNDERSTOOD, packed(now))


def _run_once(settings: Settings, as_json: bool) -> None:
    chosen = backend_for(settings, _unsaid, once=True)
    clear_the_way(chosen, settings)
    orders = orders_of(settings)
    check_scope(settings, live_snapshot())
    Daemon(chosen, live_snapshot, orders, lambda: orders).run_once()
    assert isinstance(chosen, OomScoreAdj)
    assert chosen.plan is not None
    (_print_json if as_json else _print)(chosen.plan)
    if not isinstance(chosen, DryRun):
        log("it stays so until `oompolicy restore`; processes that are new are not looked after")


def _unsaid(line: str) -> None:
    """The table says it."""


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
