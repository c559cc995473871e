"""The documents name what there is: fields, policies, commands, files."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from oompolicy.cli import COMMANDS
from oompolicy.compiler.checked import checked
from oompolicy.compiler.frontend import compile_to_ir
from oompolicy.daemon.requests import DOES, request_of
from oompolicy.policies import BUILT_IN
from oompolicy.policy import POINTS
from oompolicy.policy_file import load_policy
from oompolicy.scorer_file import load_scorer
from oompolicy.scoring import PastKill, Scene, Scoring
from oompolicy.sources.unit_files import read_unit_settings

from worlds import machine, memcg

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("lab/*.md")])
VALUES = (ROOT / "docs/values.md").read_text()
POLICIES = (ROOT / "docs/policies.md").read_text()


def test_every_built_in_policy_is_in_the_table() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", POLICIES.partition("## Built in")[2], re.MULTILINE)
    assert tuple(listed) == BUILT_IN


def test_the_verdict_table_is_the_code() -> None:
    design = (ROOT / "docs/design.md").read_text()
    for base in {abs(row.base).bit_length() - 1 for row in POINTS.values() if row.base}:
        assert f"2^{base}" in design


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"`{command}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", POLICIES, re.DOTALL))
def test_the_policies_shown_load_and_compile(block: str, trusted_folder: Path) -> None:
    (trusted_folder / "shown.py").write_text(block)
    policy = load_policy(str(trusted_folder / "shown.py"))
    assert policy.doc == ""
    compile_to_ir(policy)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_the_examples_load_and_compile(example: Path, trusted_folder: Path) -> None:
    copy = trusted_folder / example.name
    copy.write_bytes(example.read_bytes())
    if "@scorer" in copy.read_text():
        found = Scoring([load_scorer(str(copy))]).scored(machine(memcg("a", usage_pages="300M")))
        assert (found.faults, found.snapshot.memcg("/a").value) == ((), -3)
        return
    policy = load_policy(str(copy))
    assert policy.doc
    compile_to_ir(policy)


def test_the_scorer_and_the_policy_of_the_values_document_load(trusted_folder: Path) -> None:
    scoring, delegating = re.findall(r"```python\n(.*?)```", VALUES, re.DOTALL)
    (trusted_folder / "shown.py").write_text(scoring)
    (trusted_folder / "policy.py").write_text(delegating)
    assert Scoring([load_scorer(str(trusted_folder / "shown.py"))]).scored(machine(memcg("a"))).faults == ()
    policy = load_policy(str(trusted_folder / "policy.py"))
    compile_to_ir(policy)
    assert checked(policy).lowest_first


def test_all_that_a_scorer_sees_is_in_the_document() -> None:
    sees = {name for name in vars(Scene) if not name.startswith("_")} - {"seen_by"}
    shown = set(re.findall(r"scene\.(\w+)", VALUES))
    assert shown == sees
    assert {field.name for field in dataclasses.fields(PastKill)} <= set(re.findall(r"`(\w+)`", VALUES))


def test_the_unit_file_shown_is_understood(tmp_path: Path) -> None:
    (text,) = re.findall(r"```ini\n(.*?)```", VALUES, re.DOTALL)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/x.service").write_text(text)
    assert read_unit_settings(tmp_path).value_of("x.service") == -5


def test_every_request_shown_is_understood_and_every_one_there_is_shown() -> None:
    lines = re.findall(r"^\| `(\{.*?\})` \|", (ROOT / "docs/service.md").read_text(), re.MULTILINE)
    assert {request_of(line.encode()).do for line in lines} == set(DOES)
