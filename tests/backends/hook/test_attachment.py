"""Which slot the next policy goes into, and that an OOM under way keeps the one that it began with."""

from __future__ import annotations

import threading
from typing import cast

import pytest

from oompolicy.backends.hook import attachment
from oompolicy.backends.hook.abi import ControlWord, Form
from oompolicy.backends.hook.attachment import Attachment, Maps
from oompolicy.backends.hook.control import Control
from oompolicy.bpf.programs import Program


class Words(dict[ControlWord, int]):
    """Control words without a kernel."""

    def __missing__(self, word: ControlWord) -> int:
        return 0

    def set_of_slot(self, first: ControlWord, slot: int, value: int) -> None:
        self[cast(ControlWord, first + slot)] = value


class Policies:
    """An array of programs without a kernel; it refuses what is not a name."""

    def __init__(self) -> None:
        self.slots: dict[int, object] = {}

    def put(self, slot: int, program: object) -> None:
        if program is None:
            raise OSError
        self.slots[slot] = program


def attached() -> tuple[Attachment, Words, Policies]:
    held = object.__new__(Attachment)
    words, policies = Words(), Policies()
    held.control = cast(Control, words)
    held.maps = cast(Maps, type("Maps", (), {"policies": policies}))
    return held, words, policies


def program(name: str | None) -> Program:
    return cast(Program, name)


def test_policies_take_turns_in_the_slots() -> None:
    held, words, policies = attached()
    for number, name in enumerate(("one", "two", "three")):
        slot = held.free_next_slot()
        held.make_live(slot, program(name), number, Form.COMPILED)
        assert (words[ControlWord.LIVE_SLOT], words[ControlWord.POLICY_ID]) == (slot, number)
    assert policies.slots == {0: "two", 1: "three"}


def test_what_cannot_go_into_the_slot_leaves_the_live_one() -> None:
    held, words, _ = attached()
    held.make_live(1, program("good"), 7, Form.COMPILED)
    with pytest.raises(OSError):  # noqa: PT011 - any: it is the fake's
        held.make_live(0, program(None), 8, Form.COMPILED)
    assert (words[ControlWord.LIVE_SLOT], words[ControlWord.POLICY_ID]) == (1, 7)


def test_a_slot_is_waited_for_while_an_oom_goes_by_it() -> None:
    held, words, _ = attached()
    words[ControlWord.EVENT_UNDERWAY], words[ControlWord.EVENT_SLOT] = 1, 1
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(held.free_next_slot()))
    waiting.start()
    waiting.join(0.05)
    assert found == []
    words[ControlWord.EVENT_UNDERWAY] = 0
    waiting.join(2)
    assert found == [1]


def test_an_oom_by_the_other_slot_is_not_waited_for() -> None:
    held, words, _ = attached()
    words[ControlWord.EVENT_UNDERWAY], words[ControlWord.EVENT_SLOT] = 1, 0
    assert held.free_next_slot() == 1


def test_an_end_that_nobody_saw_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachment, "WAITS_FOR_OOM_S", 0.02)
    held, words, _ = attached()
    words[ControlWord.EVENT_UNDERWAY], words[ControlWord.EVENT_SLOT] = 1, 1
    assert held.free_next_slot() == 1
