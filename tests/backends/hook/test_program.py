"""The programs as text: they assemble for any layout, stay small, and look up in the order that the document gives.

What the verifier says of them, and what they do, is tests/guest's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import pytest

from oompolicy.backends.hook import compiled, published
from oompolicy.backends.hook.abi import LEVELS
from oompolicy.backends.hook.attachment import PROGRAMS
from oompolicy.backends.hook.compiled import ANSWERED, FAULTED, Body
from oompolicy.backends.hook.layout import KernelLayout
from oompolicy.backends.hook.pieces import MapDescriptors
from oompolicy.bpf.assembly import Line, assemble, listing, resolve, slots
from oompolicy.bpf.instructions import Exit, Goto, Instruction, Jump, move
from oompolicy.bpf.opcodes import R0, R1
from oompolicy.compiler.ir import BandNumber

LAYOUT = KernelLayout(**{field.name: 8 * number for number, field in enumerate(fields(KernelLayout), start=1)})
MAPS = MapDescriptors(3, 4, 5, 6, 7, 8)
SCORES = (move(R0, BandNumber.SCORE), move(R1, 7), Goto(ANSWERED))
FAULTS = (move(R0, 0), Goto(FAULTED))


def all_programs() -> dict[str, list[Line]]:
    made = {name: list(make(LAYOUT, MAPS)) for name, make in PROGRAMS.items()}
    made["published"] = list(published.body(LAYOUT, MAPS, 1 << 63))
    for name, lines in {"scores": SCORES, "faults": FAULTS}.items():
        for goes_by in range(4):
            body = Body(lines, ("mine.py:1:1",), bool(goes_by & 1), bool(goes_by & 2))
            made[f"{name} {goes_by}"] = list(compiled.live(LAYOUT, MAPS, 1 << 63, body))
            made[f"{name} {goes_by}, a shadow"] = list(compiled.shadow(LAYOUT, MAPS, 1 << 63, body))
    return made


def unreached(program: Sequence[Instruction]) -> set[int]:
    """Instructions that no way leads to: the verifier refuses them."""
    slot_of, at = {}, 0
    for index, line in enumerate(program):
        slot_of[at] = index
        at += line.slots
    places = {index: slot for slot, index in slot_of.items()}
    seen: set[int] = set()
    to_do = [0]
    while to_do:
        index = to_do.pop()
        if index in seen:
            continue
        seen.add(index)
        line = program[index]
        if not isinstance(line, Exit | Goto):
            to_do.append(index + 1)
        if isinstance(line, Jump | Goto):
            assert isinstance(line.target, int)
            to_do.append(slot_of[places[index] + line.slots + line.target])
    return set(range(len(program))) - seen


@pytest.mark.parametrize("name", all_programs())
def test_each_assembles_is_reached_everywhere_and_stays_far_below_what_verifiers_take(name: str) -> None:
    lines = all_programs()[name]
    assert assemble(lines)
    assert unreached(resolve(lines)) == set()
    assert slots(lines) < 1000


def test_as_many_look_ups_as_the_document_says() -> None:
    """Two for the task, two for each level of memcgs, one for the generation and one for the record."""
    text = listing(published.body(LAYOUT, MAPS, 1))
    assert text.count("call bpf_map_lookup_elem") == 2 + 2 * LEVELS + 2


def test_a_compiled_policy_that_goes_by_nothing_published_looks_nothing_up_but_its_record() -> None:
    text = listing(compiled.live(LAYOUT, MAPS, 1, Body(SCORES)))
    assert text.count("call bpf_map_lookup_elem") == 1
    assert slots(compiled.live(LAYOUT, MAPS, 1, Body(SCORES))) < 100


def test_what_stays_attached_passes_on_and_does_nothing_else() -> None:
    text = listing(PROGRAMS["score"](LAYOUT, MAPS))
    assert "call bpf_tail_call" in text
    assert "bpf_map_lookup_elem" not in text


def test_the_answering_program_is_attached_last_and_let_go_of_first() -> None:
    assert list(PROGRAMS)[-1] == "score"
