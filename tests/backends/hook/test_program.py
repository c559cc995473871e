"""The programs as text: they assemble for any layout, stay small, and look up in the order that the document gives.

What the verifier says of them, and what they do, is tests/guest/test_hook.py's.
"""

from __future__ import annotations

from dataclasses import fields

from oompolicy.backends.hook import program
from oompolicy.backends.hook.abi import LEVELS
from oompolicy.backends.hook.attachment import PROGRAMS
from oompolicy.backends.hook.layout import KernelLayout
from oompolicy.backends.hook.program import MapDescriptors
from oompolicy.bpf.assembly import assemble, listing, slots

LAYOUT = KernelLayout(**{field.name: 8 * number for number, field in enumerate(fields(KernelLayout), start=1)})
MAPS = MapDescriptors(3, 4, 5)


def test_all_assemble_and_stay_far_below_what_old_verifiers_take() -> None:
    for make in PROGRAMS.values():
        lines = list(make(LAYOUT, MAPS))
        assert assemble(lines)
        assert slots(lines) < 1000


def test_as_many_look_ups_as_the_document_says() -> None:
    """Two for the task, two for each level of memcgs, one for the generation and one for the record."""
    text = listing(program.score(LAYOUT, MAPS))
    assert text.count("call bpf_map_lookup_elem") == 2 + 2 * LEVELS + 2


def test_the_answering_program_is_attached_last_and_let_go_of_first() -> None:
    assert list(PROGRAMS)[-1] == "score"
