"""`oompolicy lab` as a person types it, short of booting a guest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oompolicy.cli import lab as command
from oompolicy.errors import OompolicyError

from conftest import Run


def test_without_a_scenario_the_collection_is_listed(run_command: Run) -> None:
    done = run_command("lab")
    assert done.status == 0
    for name in ("memcg", "nested", "global", "sysrq", "oom_group", "fork_storm", "spare_everyone"):
        assert f"\n{name} " in done.out
    lines = [json.loads(line) for line in run_command("lab", "--json").out.splitlines()]
    assert {"scenario", "rounds", "about"} == set(lines[0])


def test_a_scenario_that_is_not_there(run_command: Run) -> None:
    done = run_command("lab", "memgc")
    assert done.status == 1
    assert "memgc.toml: cannot be read (No such file or directory): `oompolicy lab` lists the collection" in done.err


def test_a_kernel_that_is_not_there(run_command: Run) -> None:
    done = run_command("lab", "memcg", "--kernel", "./none")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("oompolicy: lab: none: no such kernel image: name a vmlinuz, or one of ")


def test_a_broken_scenario_is_shown_with_its_line(run_command: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('runs_out = "/job"\nvictim = ["x"]\n')
    done = run_command("lab", tmp_path / "mine.toml")
    assert done.status == 1
    assert "mine.toml:2: unknown key victim" in done.err
    assert 'victim = ["x"]' in done.err
    assert "did you mean victims?" in done.err


def test_an_installed_package_says_that_the_lab_is_not_in_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    with pytest.raises(OompolicyError, match="it belongs to the source tree, and this is an installed package: run"):
        command._find_lab()


def test_names_are_counted() -> None:
    assert command._names(["a", "b", "b", "c", "d", "e", "f"]) == "a, 2 b, c, d, 2 more"
