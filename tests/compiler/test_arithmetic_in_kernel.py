"""Every operation in the kernel, on the ends of everything: in registers and in memory, with what is known of signs.

The random programs come by most of this; here nothing is left to the dice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

import pytest

from compiler import made_up_worlds
from compiler.bpf_world import FRAME_TOP, MapReader, Worlds, loaded
from compiler.made_up_worlds import TASKS, MadeUpWorld
from compiler.random_ir import CHECKED
from oompolicy.compiler.emit import emit, emitter
from oompolicy.compiler.emit.allocation import SLOT_BYTES, Allocation, Slot, allocate
from oompolicy.compiler.emit.liveness import Interval
from oompolicy.compiler.interp import run
from oompolicy.compiler.ir import (
    NULL,
    OC,
    TASK,
    BandNumber,
    Binary,
    BinaryOp,
    Block,
    Compare,
    CompareOp,
    Const,
    Guard,
    Kind,
    Operand,
    Program,
    Read,
    Return,
    Step,
    Unary,
    UnaryOp,
    Value,
)
from oompolicy.compiler.passes import PASSES
from oompolicy.compiler.place import Place
from oompolicy.compiler.well_formed import check
from oompolicy.mm.limits import LONG_MAX, LONG_MIN

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("bpf_here")]

ENDS = (0, 1, -1, 2, -2, 7, -7, 63, 64, 1 << 31, -(1 << 31) - 1, 3037000500, 1 << 62, LONG_MAX, LONG_MIN, LONG_MIN + 1)
HERE = Place("ends.py", 1, 1)
TRIGGER, LEFT, LEFT_THERE, RIGHT, RIGHT_THERE = Value(2, Kind.TASK), Value(3), Value(4), Value(5), Value(6)
SIGNS = (None, BinaryOp.MAX, BinaryOp.MIN)  # against 0: anything, not negative, not positive


def pairs() -> list[MadeUpWorld]:
    """A world for each pair: the candidate's value, and that of the task that ran out."""
    trigger = {(made_up_worlds.OC, "oc.trigger"): TASKS[1]}
    return [_World({**trigger, (1, "task.value"): left, (2, "task.value"): right}) for left in ENDS for right in ENDS]


class _World(MadeUpWorld):
    """All that is not said is 0."""

    def __init__(self, words: dict[tuple[int, str], int | None]) -> None:
        super().__init__(_Default(words), dict.fromkeys(TASKS, b""), _NoMemcgs())


class _Default(dict[tuple[int, str], int | None]):
    def __missing__(self, key: tuple[int, str]) -> int:
        return 0


class _NoMemcgs(dict[int, frozenset[int | str]]):
    def __missing__(self, key: int) -> frozenset[int | str]:
        return frozenset()


def program(last: Step, left: BinaryOp | None = None, right: BinaryOp | None = None) -> Program:
    """Reads both, bounds them, does the last step on %7 and %8, and returns %9."""
    steps: list[Step] = [
        Read(TRIGGER, None, "oc.trigger", OC, None, HERE),
        Guard(CompareOp.NE, TRIGGER, NULL, "never", HERE),
        Read(LEFT, LEFT_THERE, "task.value", TASK, None, HERE),
        Read(RIGHT, RIGHT_THERE, "task.value", TRIGGER, None, HERE),
    ]
    for result, value, sign in ((Value(7), LEFT, left), (Value(8), RIGHT, right)):
        steps.append(Binary(result, sign or BinaryOp.OR, value, Const(0), False, HERE))
    made = Program("ends", (Block("b", (), (*steps, last), Return(Const(BandNumber.SCORE), Value(9), HERE)),))
    check(made)
    return made


def in_memory(found: Iterable[Interval], frame_top: int) -> Allocation:
    """An allocation that has no register for anything."""
    values = [interval.value for interval in found]
    slots = {value: Slot(frame_top - SLOT_BYTES * (1 + index)) for index, value in enumerate(values)}
    return Allocation(slots, SLOT_BYTES * len(values))


def half_in_memory(found: Iterable[Interval], frame_top: int) -> Allocation:
    """Every other value in memory, the others where they would be."""
    intervals = list(found)
    slots = dict(in_memory(intervals, frame_top).homes)
    kept = allocate(intervals, frame_top).homes
    homes = {value: kept[value] if value.number % 2 else slot for value, slot in slots.items()}
    return Allocation(homes, SLOT_BYTES * len(slots))


@pytest.fixture(scope="module")
def worlds(bpf_here: None) -> Iterator[Worlds]:
    with Worlds(pairs()) as made:
        yield made


def holds(worlds: Worlds, program: Program, every: int = 1) -> None:
    """In the kernel as in the interpreter, for each pair, or each `every`-th."""
    for known in (program, PASSES["ranges"](program)):
        emitted = emit(known, MapReader(worlds, Random(1)), FRAME_TOP)
        with loaded(emitted) as kernel:
            for index in range(0, len(worlds.worlds), every):
                expected = run(program, worlds.worlds[index], TASKS[0], made_up_worlds.OC)
                assert worlds.run(kernel, emitted, index) == expected, f"{known}\n{worlds.worlds[index].words}"


@pytest.mark.parametrize("homes", [allocate, in_memory, half_in_memory], ids=lambda homes: homes.__name__)
@pytest.mark.parametrize("op", BinaryOp, ids=lambda op: op.value)
def test_an_operation_of_two(op: BinaryOp, homes: object, worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emitter, "allocate", homes)
    for left in SIGNS:
        for right in SIGNS:
            step = Binary(Value(9), op, Value(7), Value(8), op in CHECKED, HERE)
            holds(worlds, program(step, left, right), every=1 if left is right is None else 3)
    holds(worlds, program(Binary(Value(9), op, Value(7), Value(7), op in CHECKED, HERE)), every=17)


@pytest.mark.parametrize("op", BinaryOp, ids=lambda op: op.value)
def test_an_operation_with_a_constant(op: BinaryOp, worlds: Worlds) -> None:
    sides: list[tuple[Operand, Operand]] = [
        (Value(7), Const(number)) for number in (*ENDS, 62, 65, 1 << 32, -(1 << 63))
    ]
    for left, right in [*sides, *((right, left) for left, right in sides)]:
        for sign in SIGNS if op in CHECKED else (None,):
            step = Binary(Value(9), op, left, right, op in CHECKED, HERE)
            holds(worlds, program(step, sign), every=len(ENDS))  # the right side of the pair does not matter


@pytest.mark.parametrize("homes", [allocate, in_memory, half_in_memory], ids=lambda homes: homes.__name__)
def test_operations_of_one_and_comparisons(homes: object, worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emitter, "allocate", homes)
    for unary in UnaryOp:
        for sign in SIGNS:
            holds(worlds, program(Unary(Value(9), unary, Value(7), unary in CHECKED, HERE), sign), every=len(ENDS))
    for compare in CompareOp:
        holds(worlds, program(Compare(Value(9), compare, Value(7), Value(8), HERE)))
        for number in ENDS:
            holds(worlds, program(Compare(Value(9), compare, Value(7), Const(number), HERE)), every=len(ENDS))
            holds(worlds, program(Compare(Value(9), compare, Const(number), Value(7), HERE)), every=len(ENDS))
            holds(worlds, program(Compare(Value(9), compare, Value(8), Const(number), HERE)), every=7)
