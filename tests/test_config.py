"""oompolicy.toml: what it says, and how it is told to be wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oompolicy.assign import Assignment
from oompolicy.config import Config, load_config
from oompolicy.errors import ConfigError

EXAMPLE = Path(__file__).parent.parent / "examples" / "oompolicy.toml"


@pytest.fixture(autouse=True)
def _trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """/tmp is not a folder that root trusts, so the check is told to be somebody else's."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)


def refusal(folder: Path, text: str | bytes) -> ConfigError:
    path = folder / "oompolicy.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return caught.value


def test_every_key(tmp_path: Path) -> None:
    path = tmp_path / "oompolicy.toml"
    path.write_text(
        """
        backend = "oom_score_adj"
        policy = "priority_floor"
        interval_ms = 1000
        drift = "leave"
        scope = "/batch"
        state_dir = "/run/mine"
        params = { FLOOR_PAGES = 7, UIDS = [0, "www"] }
        [[assign]]
        value = 900
        cgroup = "/system.slice/db*"
        [[assign]]
        value = -3
        comm = "sort"
        uid = 1000
        """
    )
    assert load_config(path) == Config(
        backend="oom_score_adj",
        policy="priority_floor",
        params=(("FLOOR_PAGES", 7), ("UIDS", (0, "www"))),
        interval_ms=1000,
        drift="leave",
        scope="/batch",
        state_dir=Path("/run/mine"),
        assign=(Assignment(900, cgroup="/system.slice/db*"), Assignment(-3, comm="sort", uid=1000)),
        path=path,
    )


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "oompolicy.toml"
    path.touch()
    assert load_config(path) == Config(path=path)


def test_no_file_is_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oompolicy.config.load.DEFAULT_PATH", tmp_path / "none.toml")
    assert load_config() == Config()


def test_the_default_file_is_read_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here.toml").write_text("interval_ms = 700")
    monkeypatch.setattr("oompolicy.config.load.DEFAULT_PATH", tmp_path / "here.toml")
    assert load_config().interval_ms == 700


def test_the_example_is_valid() -> None:
    assert load_config(EXAMPLE).assign


def test_a_policy_file_is_named_from_the_folder_of_the_config(tmp_path: Path) -> None:
    path = tmp_path / "oompolicy.toml"
    path.write_text('policy = "mine.py:late"')
    assert load_config(path).policy == f"{tmp_path}/mine.py:late"
    path.write_text('policy = "/etc/oompolicy/mine.py"')
    assert load_config(path).policy == "/etc/oompolicy/mine.py"


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "place", "why", "hint"),
    [
        ('\npolcy = "x"', ":2", "unknown key polcy", "did you mean policy?"),
        (
            "zzz = 1",
            ":1",
            "unknown key zzz",
            "there are backend, policy, params, interval_ms, drift, scope, state_dir, ttl_ms, "
            "reload_on_change, assign, scorers, rule, budget, protect",
        ),
        (
            '[[assign]]\nvalue = 1\n[[assign]]\nvalue = 2\ncgruop = "/x"',
            ":5",
            "unknown key cgruop in [[assign]]",
            "did you mean cgroup?",
        ),
        ('interval_ms = "5"', ":1", "interval_ms: expected a whole number, got a text in quotes", None),
        ("interval_ms = 5", ":1", "interval_ms: expected a whole number >= 100", None),
        ("backend = 1", ":1", "backend: expected a text in quotes, got a whole number", None),
        ('drift = "korrect"', ":1", 'drift: \'korrect\' is none of "correct", "leave"', 'did you mean "correct"?'),
        ('[[assign]]\ncgroup = "/x"', ":1", "assign has no value", "add value = …"),
        ('[[assign]]\nvalue = "3"', ":2", "assign.value: expected a whole number, got a text in quotes", None),
        (
            "[[assign]]\nvalue = 99999999999999999999",
            ":2",
            "assign.value: expected a whole number <= 9223372036854775807",
            None,
        ),
        ("[assign]\nvalue = 1", ":1", "assign: expected a list, got a table", None),
        (
            "[params]\nX = true",
            ":1",
            "params: expected a whole number or a text in quotes or a list, got true or false",
            None,
        ),
        ("a = = 1", ":1:5", "is not TOML: Invalid value", None),
        ("drift = 1\ndrift = 2\n\n", ":2:10", "is not TOML: Cannot overwrite a value", None),
        ('policy = "x', ":1", "is not TOML: Unterminated string", None),
    ],
)
def test_a_wrong_file_says_where_and_what(tmp_path: Path, text: str, place: str, why: str, hint: str | None) -> None:
    error = refusal(tmp_path, text)
    assert error.what == f"{tmp_path}/oompolicy.toml{place}"
    assert (error.why, error.hint) == (why, hint)
    assert error.excerpt


@pytest.mark.parametrize("content", [b"\x7fELF\x02\x01\x01\x00\xff\xfe", b"policy = 'x'\n\xff"])
def test_a_binary_file(tmp_path: Path, content: bytes) -> None:
    assert "is not UTF-8 text" in refusal(tmp_path, content).why


def test_a_file_that_nests_too_deeply(tmp_path: Path) -> None:
    assert "nests too deeply" in refusal(tmp_path, "a = " + "[" * 100_000).why


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path)


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_root_refuses_a_file_in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", os.getuid)
    (tmp_path / "oompolicy.toml").touch()
    with pytest.raises(ConfigError, match="can be written by everybody: root would obey"):
        load_config(tmp_path / "oompolicy.toml")
