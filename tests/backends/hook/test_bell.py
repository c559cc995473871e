"""The doorbell between this kernel and this process: it wakes, it is silent again, and a full one has rung already.

The instructions are those of the program at the end of an OOM, in a program that this test runs itself.
"""

from __future__ import annotations

import mmap
import select
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bpf.by_hand import R0, load, not_here
from oompolicy.backends.hook.abi import BELL_BYTES
from oompolicy.backends.hook.bell import SPEC, Bell
from oompolicy.backends.hook.pieces import SCOPE, U64, MapDescriptors, ring_bell
from oompolicy.bpf.errors import BpfError
from oompolicy.bpf.instructions import Exit, Store, move
from oompolicy.bpf.maps import Map
from oompolicy.bpf.opcodes import R10
from oompolicy.bpf.programs import Program

pytestmark = pytest.mark.root
ROOM = mmap.PAGESIZE // (8 + BELL_BYTES)  # a header of 8 bytes each


@pytest.fixture
def at_the_door() -> Iterator[tuple[Program, Bell]]:
    """Who rings, and who listens."""
    with ExitStack() as stack:
        try:
            ring = stack.enter_context(Map.create(SPEC))
        except BpfError as error:
            not_here(error)
        maps = MapDescriptors(0, 0, 0, 0, 0, ring.fileno())
        lines = [Store(U64, R10, SCOPE, 0), *ring_bell(maps), move(R0, 0), Exit()]
        program = stack.enter_context(load(lines))
        bell = Bell(ring)
        stack.callback(bell.close)
        yield program, bell


def has_rung(bell: Bell, within_ms: int = 0) -> bool:
    poll = select.poll()
    poll.register(bell.fileno(), select.POLLIN)
    return bool(poll.poll(within_ms))


def test_it_wakes_who_polls_and_is_silent_until_the_next_time(at_the_door: tuple[Program, Bell]) -> None:
    program, bell = at_the_door
    for _ in range(3):
        assert not has_rung(bell)
        program.run(b"")
        program.run(b"")
        assert has_rung(bell, 1000)
        assert has_rung(bell)
        bell.silence()


def test_a_full_one_has_rung_and_rings_again_when_it_was_heard(at_the_door: tuple[Program, Bell]) -> None:
    """So it is when no daemon has listened for long."""
    program, bell = at_the_door
    for _ in range(2 * ROOM):
        program.run(b"")
    assert has_rung(bell)
    bell.silence()
    assert not has_rung(bell)
    program.run(b"")
    assert has_rung(bell, 1000)
