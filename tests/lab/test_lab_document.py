"""docs/lab.md names every key that there is, and its scenario is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oompolicy.cli.lab import lab as command

from lab.kernels import names
from lab.result import Report, Result, RoundVerdict
from lab.scenario import collection, read_scenario
from lab.world import Machine, Round, ScenarioFile, Workload

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/lab.md").read_text()


@pytest.mark.parametrize("said", [Round, Workload, Machine, Report, Result, RoundVerdict])
def test_every_key_is_in_a_table(said: type) -> None:
    for name in said.__struct_fields__:  # type: ignore[attr-defined]
        assert re.search(rf"^\|.*`{name}`.*\|", DOCUMENT, re.MULTILINE), name


def test_every_table_of_a_file_is_there() -> None:
    own = set(ScenarioFile.__struct_fields__) - set(Round.__struct_fields__)
    assert own == {"machine", "cgroup", "workload", "assign", "round", "time_limit_s"}
    for name in own - {"time_limit_s"}:
        assert re.search(rf"`\[\[?{name}[\].]", DOCUMENT), name


def test_the_scenario_shown_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "mine.toml").write_text(block)
    scenario = read_scenario(tmp_path / "mine.toml")
    assert [this.round.victims for this in scenario.rounds] == [["database"], ["batch"]]


def test_what_oom_score_adj_cannot_do_is_in_its_table() -> None:
    """The scenarios that say so of a round, and the rows that name a scenario, are the same."""
    table = (ROOT / "docs/oom_score_adj.md").read_text().partition("## What it cannot express")[2].partition("\n## ")[0]
    named = re.findall(r"\| `(\w+)` \|$", table, re.MULTILINE)
    scenarios = [read_scenario(path) for path in collection()]
    said = [
        each.name for each in scenarios if any("oom_score_adj" in (this.round.cannot or {}) for this in each.rounds)
    ]
    assert sorted(named) == sorted(said) != []


def test_every_kernel_that_has_a_name_is_there() -> None:
    for name in names():
        assert f"`{name}`" in DOCUMENT


def test_every_option_is_there() -> None:
    for option in command.params:
        for name in option.opts:
            assert not name.startswith("--") or name in DOCUMENT, name
