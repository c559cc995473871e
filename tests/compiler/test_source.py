"""Where a policy's source comes from, what its names mean, and how what is wrong with it is shown."""

from __future__ import annotations

import linecache
from pathlib import Path

import pytest

from oompolicy.cli.render import print_error
from oompolicy.compiler.examples import module_of, policy_of
from oompolicy.compiler.frontend import compile_to_ir, translate
from oompolicy.compiler.source import NoSourceError, source_of
from oompolicy.errors import CompileError
from oompolicy.policy import Policy
from oompolicy.policy_file import load_policy


def refused(policy: Policy) -> CompileError:
    with pytest.raises(CompileError) as caught:
        compile_to_ir(policy)
    return caught.value


def test_a_lambda_and_what_is_no_function_have_no_source() -> None:
    for function in (eval("lambda task, oc: 1"), eval("print")):
        error = refused(Policy(function))
        assert error.why.startswith(f"{Policy(function).name} cannot be compiled: it is")
        assert error.hint == "write it with def, in a file"


def test_what_was_typed_in_has_no_source() -> None:
    names: dict[str, object] = {}
    exec("def typed(task, oc):\n    return 1", names)
    assert "its source is not to be had" in str(refused(Policy(names["typed"])))  # type: ignore[arg-type]


def test_an_async_policy_is_named_as_such() -> None:
    async def later(task: object, oc: object) -> int:
        return 1

    assert "it is async" in str(refused(Policy(later)))  # type: ignore[arg-type]


def test_a_source_that_is_another_by_now_is_not_taken_for_it() -> None:
    policy = policy_of(module_of("return 1"), "changing.py")
    text = "# one line more\n" + module_of("return 2")
    linecache.cache["changing.py"] = (len(text), None, text.splitlines(keepends=True), "changing.py")
    with pytest.raises(NoSourceError, match="changed since it was loaded"):
        source_of(policy.function)


def test_a_file_that_changes_after_loading_is_compiled_as_it_was(trusted_folder: Path) -> None:
    path = trusted_folder / "mine.py"
    path.write_text("from oompolicy import *\n\n@policy\ndef mine(task, oc):\n    return 3\n")
    policy = load_policy(str(path))
    path.write_text("from oompolicy import *\n\n@policy\ndef mine(task, oc):\n    return 4\n")
    assert "return SCORE, 3" in str(compile_to_ir(policy))


def test_a_policy_in_a_function_sees_what_it_closes_over() -> None:
    floor = 17
    names = ("a", "b")

    def over_floor(task: Task, oc: OomControl) -> int | Verdict:  # type: ignore[name-defined] # noqa: F821
        return floor if task.comm in names else 0

    text = str(compile_to_ir(Policy(over_floor)))
    assert "17" in text
    assert 'comm equals %task, "b"' in text


def test_all_refusals_are_printed_each_with_its_line_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(
        refused(policy_of("from oompolicy import *\n@policy\ndef p(task, oc):\n    x = {}\n    return 1.5\n", "p.py"))
    )
    assert capsys.readouterr().err.splitlines() == [
        "oompolicy: p.py:4:9: a dictionary is not available in the kernel",
        "    x = {}",
        "        ^",
        "  use if and elif",
        "oompolicy: p.py:5:12: there are no fractions in the kernel",
        "    return 1.5",
        "           ^",
        "  use integers: x * 3 // 2 for x * 1.5",
    ]


def test_what_a_parameter_rules_out_is_not_called_unreachable() -> None:
    text = (
        "from oompolicy import *\nSTRICT = False\nNAMES = ()\n\n@policy\ndef p(task, oc):\n"
        "    if STRICT:\n        return SPARE\n    for name in NAMES:\n        return KILL\n"
        "    if task.uid in NAMES:\n        return KILL\n    return DEFER\n    return KILL\n"
    )
    (place,) = translate(policy_of(text, "unreached.py")).unreachable
    assert str(place) == "unreached.py:14:5"


def test_a_branch_that_constants_of_the_policy_rule_out_is_unreachable() -> None:
    body = "mode = 1\nif mode == 2:\n    return KILL\nreturn DEFER"
    (place,) = translate(policy_of(module_of(body))).unreachable
    assert place.text == "        return KILL"
