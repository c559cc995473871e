"""`oompolicy lab`: scenarios played in a guest, on the kernels of one's choice.

Belongs here: the command, its rows, and finding the lab, which is a folder of the checkout and not of the package.
Must not know: how a guest is booted, how a round is judged.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oompolicy.cli.inputs import json_option
from oompolicy.cli.render import Column, print_error, print_json, print_line, print_note, print_table
from oompolicy.errors import OompolicyError

if TYPE_CHECKING:
    from lab.play import Played
    from lab.result import Report, Result, RoundVerdict
    from lab.scenario import Scenario

ROOT = Path(__file__).resolve().parents[3]
COLLECTION = (Column("SCENARIO"), Column("ROUNDS", is_number=True), Column("SHOWS", is_wide=True))
ROUNDS = (
    Column("SCENARIO"),
    Column("KERNEL"),
    Column("#", is_number=True),
    Column("BACKEND"),
    Column("POLICY"),
    Column("RAN OUT"),
    Column("DIED"),
    Column("LIVED"),
    Column("AFTER S", is_number=True),
    Column("MODEL"),
    Column("OK"),
    Column("REMARKS", is_wide=True),
)
SHOWN_AT_MOST = 4


@click.command()
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO...]")
@click.option(
    "--kernel", "kernels", multiple=True, metavar="K", help="6.12, 6.1, patched, or ./bzImage; may be repeated."
)
@click.option("--policy", "-p", "policy_name", metavar="P", help="Play every round that has a policy with this one.")
@click.option(
    "--backend",
    type=click.Choice(["none", "auto", "oom_score_adj", "hook", "kill"]),
    help="Force policies this way; auto: as run chooses there; none: only the rounds without a policy.",
)
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Keep logs and results there.")
@json_option
def lab(
    scenarios: tuple[str, ...],
    kernels: tuple[str, ...],
    policy_name: str | None,
    backend: str | None,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Play each SCENARIO (a TOML file, or a name of the collection) in a guest that boots a kernel, and see who dies.

    Nothing reaches this machine. Exit 1 where something is not as the scenario expects, or where the kernel was in
    trouble. Without a SCENARIO the collection is listed. docs/lab.md has the format.
    """
    _find_lab()
    from lab.scenario import find, forced, read_scenario

    if not scenarios:
        _list_collection(as_json)
        return
    policy = _from_here(policy_name)
    wanted = [forced(read_scenario(find(name)), policy, backend) for name in scenarios]  # type: ignore[arg-type]
    results = []
    for result in _results(wanted, kernels, keep):
        results.append(result)
        if as_json:
            print_json(_as_json(result))
    if not as_json:
        _print(results)
    if not all(result.ok for result in results):
        raise click.exceptions.Exit(1)


def _find_lab() -> None:
    """Make the lab of this checkout importable. Raises OompolicyError where there is none."""
    if not (ROOT / "lab" / "play.py").is_file():
        why = "is not here: it belongs to the source tree, and this is an installed package"
        raise OompolicyError(
            "the lab", why, "run `oompolicy lab` from a checkout of the source (`make run` sets it up)"
        )
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))


def _from_here(policy: str | None) -> str | None:
    """A policy's file as seen from anywhere: scenarios name theirs from their own folder."""
    if policy is None or ("/" not in policy and ".py" not in policy):
        return policy
    file, suffix, name = policy.partition(".py:")
    return f"{Path(file).absolute()}{suffix}{name}"


def _list_collection(as_json: bool) -> None:
    from lab.scenario import collection, read_scenario

    known = [read_scenario(path) for path in collection()]
    if as_json:
        for scenario in known:
            print_json({"scenario": scenario.name, "rounds": len(scenario.rounds), "about": scenario.about})
        return
    print_table(COLLECTION, ((scenario.name, len(scenario.rounds), scenario.about) for scenario in known))


def _results(scenarios: list[Scenario], kernels: tuple[str, ...], keep: Path | None) -> Iterator[Result]:
    """Each scenario on each kernel; what cannot be played at all is said, and raised at the end."""
    from lab import LabError
    from lab.kernels import SERIES
    from lab.play import play
    from lab.verdict import judge, nothing_played

    for kernel in kernels or SERIES[:1]:
        for scenario in scenarios:
            if sys.stderr.isatty():
                print_note(f"{scenario.name} on {kernel} …")
            if not scenario.played:
                yield nothing_played(scenario, kernel)
                continue
            try:
                played = play(scenario, kernel)
            except LabError as error:
                raise OompolicyError("lab", str(error)) from error
            result = judge(played)
            if keep is not None:
                _keep(keep / f"{scenario.name}-{kernel.replace('/', '_')}", played, result)
            yield result


def _keep(folder: Path, played: Played, result: Result) -> None:
    from lab.guest import save

    save(played.result, folder)
    folder.joinpath("result.json").write_text(json.dumps(_as_json(result), indent=1) + "\n")
    for seen in played.said.rounds:
        folder.joinpath(f"round-{seen.number}.log").write_text(seen.log)
        if seen.policy_log:
            folder.joinpath(f"round-{seen.number}.policy.log").write_text(seen.policy_log)


def _print(results: list[Result]) -> None:
    print_table(ROUNDS, (_row(result, this) for result in results for this in result.rounds))
    for result in results:
        name = f"{result.scenario} on {result.kernel}"
        if result.trouble is not None:
            print_error(OompolicyError(name, result.trouble))
        for fault in result.faults:
            print_note(f"{name}: booted again, the emulator had failed: {fault}")
        for problem in result.log_problems:
            print_error(OompolicyError(name, "the kernel was in trouble", problem))
    rounds = [this for result in results for this in result.rounds]
    played = [this for this in rounds if this.skipped is None]
    reports = [report for this in played for report in this.reports]
    agree = sum(report.agrees is True for report in reports)
    print_line(
        f"{sum(this.ok for this in played)} of {len(played)} rounds as expected"
        + (f", {len(rounds) - len(played)} skipped" if len(rounds) > len(played) else "")
        + f"; the model of the kernel agrees with {agree} of {len(reports)} reports."
    )


def _row(result: Result, this: RoundVerdict) -> tuple[object, ...]:
    return (
        result.scenario,
        result.kernel,
        this.number,
        this.backend if this.took is None else f"{this.backend}: {this.took}",
        _policy(this.policy),
        this.runs_out,
        _names([victim.comm for victim in this.victims]),
        _names([survivor.comm for survivor in this.survivors]),
        this.seconds,
        _agreement(this.reports),
        "skipped" if this.skipped is not None else "yes" if this.ok else "no",
        "; ".join(dict.fromkeys(_remarks(this))),
    )


def _policy(policy: str | None) -> str:
    """A policy by its name: a file without its folders, a source by what it is."""
    if policy is None:
        return ""
    return "(its own)" if "\n" in policy else policy.rpartition("/")[2]


def _names(comms: list[str]) -> str:
    """Names, several of one together.

    >>> _names(["db", "storm", "storm"]), _names([])
    ('db, 2 storm', '-')
    """
    counted = [f"{comms.count(comm)} {comm}" if comms.count(comm) > 1 else comm for comm in dict.fromkeys(comms)]
    more = len(counted) - SHOWN_AT_MOST
    return ", ".join(counted[:SHOWN_AT_MOST] + ([f"{more} more"] if more > 0 else [])) or "-"


def _agreement(reports: list[Report]) -> str:
    """Does the model of the kernel agree with its reports?"""
    if not reports:
        return ""
    if all(report.agrees is True for report in reports):
        return "agrees"
    return "differs" if any(report.agrees is False for report in reports) else "?"


def _remarks(this: RoundVerdict) -> Iterator[str]:
    yield from (remark for remark in (this.skipped, this.took_why) if remark is not None)
    yield from this.why
    for report in this.reports:
        if report.agrees is not True and report.why_not is not None:
            yield report.why_not
        elif report.obeyed is False and report.policy is not None and report.killed is not None:
            picked, killed = (f"{who.comm} ({who.pid})" for who in (report.policy, report.killed))
            yield f"the policy picks {picked}, and the kernel killed {killed}"


def _as_json(result: Result) -> dict[str, object]:
    from lab.result import to_json

    return to_json(result)
