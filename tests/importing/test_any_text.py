"""Whatever the text: a configuration that loads, or an error that a person can act on."""

from __future__ import annotations

import ast
import tomllib
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importing.loaded import FIXTURES
from oompolicy.config.rows import rule_of
from oompolicy.config.schema import RuleRow
from oompolicy.errors import ConfigError, Place
from oompolicy.importing.config_text import config_text
from oompolicy.importing.imported import Imported, rule_name
from oompolicy.importing.recognise import import_command_line, import_files

TEXTS = {
    "oomd": (FIXTURES / "oomd.json").read_text(),
    "nohang": (FIXTURES / "nohang-desktop.conf").read_text(),
    "earlyoom": "EARLYOOM_ARGS=\"-m 5,3 -M 90000 -s 9 --prefer '^(a|b)$' --avoid 'x.y' --ignore '^z' -N /a -g\"\n",
    "systemd-oomd": (
        "[Slice]\nManagedOOMSwap=kill\nManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit=50%\n"
        "ManagedOOMMemoryPressureDurationSec=1min 30s\n[OOM]\nSwapUsedLimit=90%\n"
    ),
}
INSERTED = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "0",
        "9" * 400,
        "-1",
        '"',
        "'",
        "\\",
        "\n",
        "%",
        "٣",
        "²",
        "\x00",
        "\x1b",
        '"""',
        "\\ud800",
        "]]",
        "/*",
        "1e999",
        "{",
        "}",
        "$PID",
    ]
)


def is_sound(made: Imported) -> None:
    """It is TOML, its rules are rules, its policies are Python that does nothing when it is loaded."""
    table = tomllib.loads(config_text(made))
    rules = [rule_of(msgspec.convert(row, RuleRow), lambda *_: Place("x")) for row in table.get("rule", [])]
    names = [rule.name for rule in rules]
    assert names == [rule.rule.name for rule in made.rules]
    assert len(set(names)) == len(names)
    for policy in made.policies:
        for statement in ast.parse(policy.text).body:
            assert isinstance(statement, ast.Import | ast.ImportFrom | ast.Assign | ast.FunctionDef | ast.Expr)
            if isinstance(statement, ast.Expr):
                assert isinstance(statement.value, ast.Constant)
            if isinstance(statement, ast.Assign):
                calls = [ast.unparse(node.func) for node in ast.walk(statement) if isinstance(node, ast.Call)]
                assert set(calls) <= {"re.compile"}


@pytest.mark.parametrize("tool", TEXTS)
@settings(deadline=None)
@given(data=st.data())
def test_a_damaged_configuration(tool: str, data: st.DataObject) -> None:
    text = TEXTS[tool]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        text = text[:start] + data.draw(INSERTED) + text[start + data.draw(st.integers(0, 20)) :]
    path = "/etc/systemd/system/a.slice" if tool == "systemd-oomd" else "file"
    made = None
    with suppress(ConfigError):
        made = import_files({path: text}, "file", tool)
    if made is not None:
        is_sound(made)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["-m", "-s", "-M", "--prefer", "--avoid", "--ignore", "5", "-g", "--sort-by-rss"]) | INSERTED
    )
)
def test_any_command_line(arguments: list[str]) -> None:
    made = None
    with suppress(ConfigError):
        made = import_command_line(arguments, "--earlyoom")
    if made is not None:
        is_sound(made)


@settings(deadline=None)
@given(st.text(), st.sets(st.text()))
def test_any_name_becomes_a_rules_name(text: str, taken: set[str]) -> None:
    rule_of(RuleRow(rule_name(text, taken), when="mem_available_percent < 5"), lambda *_: Place("x"))


def test_what_the_daemon_would_refuse_is_left_out() -> None:
    text = TEXTS["systemd-oomd"].replace("1min 30s", "3d")
    made = import_files({"/etc/systemd/system/a.slice": text}, "x")
    assert [rule.rule.name for rule in made.rules] == ["a.slice-swap"]
    assert any(one.what == "rule a.slice-pressure" for one in made.left_out)
