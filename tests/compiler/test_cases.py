"""The text cases hold, and there is one at least for each row of the language's tables."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from compiler.case_files import FOLDER, Case, all_cases, now, parsed, written
from compiler.test_language import pattern
from oompolicy.compiler.passes import PASSES
from oompolicy.compiler.subset import ACCEPTED, FIELDS, REFUSED, Field, FieldKind

CASES = all_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file}:{case.name}")
def test_case(case: Case, pytestconfig: pytest.Config) -> None:
    found = now(case)
    if found.out != case.out and pytestconfig.getoption("--update-cases"):
        path = FOLDER / case.file
        intro, cases = parsed(path)
        written(path, intro, [found if each.name == case.name else each for each in cases])
    else:
        assert found.out == case.out


def test_names_are_used_once_a_file() -> None:
    assert set(Counter((case.file, case.name) for case in CASES).values()) == {1}


def test_every_accepted_construct_has_a_case() -> None:
    names = {case.name for case in CASES if case.file == "accepted.test" and "ir" in case.out}
    assert {re.sub(r"\W+", "_", construct.name) for construct in ACCEPTED} <= names


# What is nested too deep makes no readable text; test_language.py shows it.
@pytest.mark.parametrize("row", [row for row in REFUSED if row not in ("nested too deep", "syntax")])
def test_every_refused_construct_has_a_case(row: str) -> None:
    said = re.compile(rf".*?:\d+:\d+: {pattern(REFUSED[row].reason)}: {pattern(REFUSED[row].hint)}")
    assert any(said.fullmatch(line) for case in CASES for line in case.out.get("errors", "").splitlines())


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_field_has_a_case(field: Field) -> None:
    said = "comm equals %task" if field.kind is FieldKind.COMM else f"read {field.name} "
    assert any(said in case.out.get("ir", "") for case in CASES if case.file == "fields.test")


def test_every_pass_has_a_case() -> None:
    assert {name for case in CASES for name in case.passes} == set(PASSES)
