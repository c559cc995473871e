"""The documents name what there is: fields, policies, commands, files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oompolicy.cli import COMMANDS
from oompolicy.compiler.frontend import compile_to_ir
from oompolicy.policies import BUILT_IN
from oompolicy.policy import POINTS
from oompolicy.policy_file import load_policy

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("lab/*.md")])
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
    policy = load_policy(str(copy))
    assert policy.doc
    compile_to_ir(policy)
