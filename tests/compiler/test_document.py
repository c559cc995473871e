"""docs/language.md and policy/view.py say what the language's tables say."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from oompolicy.compiler.document import language_page
from oompolicy.compiler.subset import FIELDS, Field, FieldKind
from oompolicy.policy import Memcg, OomControl, Task

PAGE = Path(__file__).parents[2] / "docs/language.md"
VIEWS: dict[str, type] = {"task": Task, "memcg": Memcg, "oc": OomControl}
ANNOTATIONS = {
    FieldKind.INT: "int",
    FieldKind.BOOL: "bool",
    FieldKind.OPTIONAL_INT: "int | None",
    FieldKind.COMM: "str",
    FieldKind.MEMCG: "Memcg | None",
    FieldKind.TASK: "Task | None",
    FieldKind.IS_UNDER: "bool",
}


def test_the_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text() == language_page(), "python -m oompolicy.compiler.document > docs/language.md"


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_an_editor_completes_what_the_table_says(field: Field) -> None:
    base, _, name = field.name.partition(".")
    found = inspect.getattr_static(VIEWS[base], name)
    read = found if field.kind is FieldKind.IS_UNDER else found.fget
    assert inspect.getdoc(read) == field.doc
    assert read.__annotations__["return"] == ANNOTATIONS[field.kind]


@pytest.mark.parametrize(("base", "view"), VIEWS.items())
def test_a_view_offers_nothing_else(base: str, view: type) -> None:
    offered = {f"{base}.{name}" for name in vars(view) if not name.startswith("_")}
    assert offered == {field.name for field in FIELDS if field.name.startswith(f"{base}.")}
