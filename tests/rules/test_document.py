"""docs/conditions.md is made from the tables; docs/rules.md has every key, and all that it shows is understood."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oompolicy.config import load_config
from oompolicy.config.rows import ACTIONS
from oompolicy.config.schema import ProtectTable, RuleRow
from oompolicy.policies import BUILT_IN
from oompolicy.rule_file import armed_rules, load_rule
from oompolicy.rules.cases import RECOVERY_LIMIT_MS
from oompolicy.rules.condition import GAP_MS
from oompolicy.rules.document import conditions_page
from oompolicy.rules.fields import FIELDS

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS.parent / "examples/oompolicy.toml"
TEXT = (DOCS / "rules.md").read_text()


def test_the_page_is_what_the_tables_say() -> None:
    page = (DOCS / "conditions.md").read_text()
    assert page == conditions_page(), "python -m oompolicy.rules.document > docs/conditions.md"


def test_every_field_is_on_it() -> None:
    assert [field.name for field in FIELDS if f"`{field.name}`" not in conditions_page()] == []


def keys_under(heading: str, key: str = r"`(\w+)`") -> set[str]:
    part = re.split(r"\n#+ ", TEXT.partition(heading)[2])[0]
    return {found for row in re.findall(r"^\| (`[^|]*) \|", part, re.MULTILINE) for found in re.findall(key, row)}


def test_the_limits_are_those_of_the_code() -> None:
    assert f"any look of more than {GAP_MS // 1000} s" in TEXT
    assert f"has come back, at most {RECOVERY_LIMIT_MS // 1000} s" in TEXT


def test_every_key_is_on_it() -> None:
    assert keys_under("## Keys of `[[rule]]`") == set(RuleRow.__struct_fields__)
    assert keys_under("### Actions") == set(ACTIONS)
    assert keys_under("## `[budget]` and `[protect]`") == set(ProtectTable.__struct_fields__)


@pytest.mark.parametrize("block", [*re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL), EXAMPLE.read_text()])
def test_recipes_are_understood(block: str, trusted_folder: Path) -> None:
    (trusted_folder / "oompolicy.toml").write_text(block)
    config = load_config(trusted_folder / "oompolicy.toml")
    assert armed_rules(config.rules)
    assert {rule.policy for rule in config.rules} <= {None, *BUILT_IN}


def test_the_function_shown_loads(trusted_folder: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (trusted_folder / "mine.py").write_text(block)
    assert load_rule(f"{trusted_folder}/mine.py").every_ms == 500
