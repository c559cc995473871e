"""Finding policies: names, files, parameters, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from oompolicy import policy_limit
from oompolicy.errors import OompolicyError, Place, PolicyError
from oompolicy.policy_file import load_policy

HEAD = "from oompolicy import *\n"
GOOD = HEAD + "@policy\ndef mine(task, oc):\n    return KILL if task.comm == 'x' else DEFER\n"


def refused(name: str, *parameters: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        load_policy(name, parameters)
    return caught.value


def written(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that root trusts: /tmp is not one, so the check is told to be somebody else's."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    return tmp_path


def test_a_built_in_by_name() -> None:
    assert load_policy("memcg_priority").name == "memcg_priority"


def test_a_wrong_name_suggests_the_nearest() -> None:
    assert str(refused("memcg_prio")) == (
        "policy memcg_prio: there is no built-in policy of that name: did you mean memcg_priority?"
    )


def test_a_file_and_a_name_in_it(folder: Path) -> None:
    path = written(folder, GOOD + "@policy\ndef other(task, oc):\n    return SPARE\n")
    assert load_policy(f"{path}:other").name == "other"
    assert "has 2 policies" in refused(path).why
    assert refused(f"{path}:third").hint == "its policies: mine, other"


def test_a_file_without_a_policy(folder: Path) -> None:
    assert "has no policies" in refused(written(folder, HEAD)).why


def test_a_syntax_error_shows_its_place(folder: Path) -> None:
    error = refused(written(folder, HEAD + "@policy\ndef mine(task, oc)\n    return KILL\n"))
    assert error.what.endswith("mine.py:3:19")
    assert error.excerpt.splitlines() == ["    def mine(task, oc)", " " * 22 + "^"]


def test_what_a_file_raises_shows_its_line(folder: Path) -> None:
    error = refused(written(folder, HEAD + "\nLIMIT = 1 // 0\n"))
    assert error.what.endswith("mine.py:3")
    assert "ZeroDivisionError" in error.why


def test_a_file_that_loops(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oompolicy.python_file.call_limit", lambda: policy_limit.call_limit(0.05))
    assert "does it loop?" in refused(written(folder, "while True:\n    pass\n")).why


def test_a_file_that_exits_does_not_take_us_along(folder: Path) -> None:
    assert "SystemExit" in refused(written(folder, "raise SystemExit(0)\n")).why


@pytest.mark.parametrize("content", [b"\0\1\2", b"\xff\xfe\x00"])
def test_a_binary_file(folder: Path, content: bytes) -> None:
    (folder / "mine.py").write_bytes(content)
    assert "is not Python" in refused(str(folder / "mine.py")).why


def test_an_empty_file(folder: Path) -> None:
    assert "has no policies" in refused(written(folder, "")).why


def test_no_such_file(folder: Path) -> None:
    with pytest.raises(OompolicyError):
        load_policy(str(folder / "none.py"))


def test_parameters_take_the_type_of_the_constant(folder: Path) -> None:
    path = written(folder, HEAD + "LIMIT = 3\nNAME = 'a'\nUIDS = ()\n" + GOOD.removeprefix(HEAD))
    parameters = load_policy(path, ["LIMIT=0x10", "NAME=b c", "UIDS=0, 33,www"]).parameters
    assert (parameters["LIMIT"], parameters["NAME"], parameters["UIDS"]) == (16, "b c", (0, 33, "www"))
    assert "it takes a whole number" in str(refused(path, "LIMIT=many"))
    assert "its parameters: LIMIT, NAME, UIDS" in str(refused(path, "LIMITS=4"))
    assert "write NAME=VALUE" in str(refused(path, "LIMIT"))


def test_a_parameter_reaches_the_policy_and_its_functions_and_not_the_original() -> None:
    changed = load_policy("priority_floor", ["FLOOR_PAGES=7"])
    assert changed.parameters["FLOOR_PAGES"] == 7
    assert load_policy("priority_floor").parameters["FLOOR_PAGES"] == 2560


def test_what_is_final_is_no_parameter() -> None:
    assert load_policy("memcg_priority").parameters == {}


def test_a_place_is_written_as_editors_read_it() -> None:
    assert str(Place("a.py", 7, 12)) == "a.py:7:12"
    assert str(Place("a.py")) == "a.py"
