"""The tables of the language hold: what is accepted compiles, what is refused is refused with its reason and hint."""

from __future__ import annotations

import importlib
import re

import pytest

from oompolicy.compiler import ir
from oompolicy.compiler.examples import module_of, policy_of
from oompolicy.compiler.frontend import compile_to_ir
from oompolicy.compiler.subset import ACCEPTED, FIELDS, REFUSED, Accepted, Field, FieldKind
from oompolicy.compiler.well_formed import check
from oompolicy.errors import CompileError
from oompolicy.policies import BUILT_IN
from oompolicy.policy import Policy


def built_in(name: str) -> Policy:
    found = getattr(importlib.import_module(f"oompolicy.policies.{name}"), name)
    assert isinstance(found, Policy)
    return found


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_policy_compiles(name: str) -> None:
    program = compile_to_ir(built_in(name))
    check(program)
    assert program.name == name


@pytest.mark.parametrize("construct", ACCEPTED, ids=lambda construct: construct.name)
def test_what_is_accepted_compiles(construct: Accepted) -> None:
    check(compile_to_ir(policy_of(module_of(construct.example))))


@pytest.mark.parametrize("name", [name for name, refused in REFUSED.items() if refused.example])
def test_what_is_refused_says_why_and_what_to_do(name: str) -> None:
    refused = REFUSED[name]
    with pytest.raises(CompileError) as caught:
        compile_to_ir(policy_of(module_of(refused.example)))
    (refusal,) = caught.value.refusals
    assert re.fullmatch(pattern(refused.reason), refusal.why)
    assert re.fullmatch(pattern(refused.hint), refusal.hint or "")
    assert refusal.place.line
    assert refusal.place.column
    assert refusal.place.text


def test_only_what_this_python_cannot_write_has_no_example() -> None:
    assert [name for name, refused in REFUSED.items() if not refused.example] == ["syntax"]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_field_is_read_by_its_name(field: Field) -> None:
    base, _, name = field.name.partition(".")
    reach = "task.memcg" if base == "memcg" else base
    use = {
        FieldKind.COMM: f'{reach}.{name} == "x"',
        FieldKind.MEMCG: f"{reach}.{name} is None",
        FieldKind.TASK: f"{reach}.{name} is None",
        FieldKind.OPTIONAL_INT: f"{reach}.{name} is None",
        FieldKind.IS_UNDER: f'{reach}.{name}("/x")',
    }.get(field.kind, f"{reach}.{name}")
    program = compile_to_ir(policy_of(module_of(f"return {use}")))
    steps = [step for block in program.blocks for step in block.steps]
    if field.kind is FieldKind.COMM:
        assert any(isinstance(step, ir.CommTest) for step in steps)
    else:
        assert field.name in {step.field for step in steps if isinstance(step, ir.Read)}


def pattern(said: str) -> str:
    return re.sub(r"\\\{\w+\\\}", ".*", re.escape(said))
