"""The reference semantics, held to what the grammar of the IR says of them."""

from __future__ import annotations

import pytest

from compiler.made_up_worlds import OC, TASKS, MadeUpWorld
from oompolicy.compiler.arithmetic import DIVISION_BY_ZERO, DOES_NOT_FIT, NEGATIVE_SHIFT
from oompolicy.compiler.interp import Answer, Failure, run
from oompolicy.compiler.ir import (
    NULL,
    TASK,
    BandNumber,
    Binary,
    BinaryOp,
    Block,
    Branch,
    CommOp,
    CommTest,
    CompareOp,
    Const,
    End,
    Fault,
    Guard,
    Jump,
    Kind,
    Operand,
    Program,
    Read,
    Return,
    Step,
    Target,
    Unary,
    UnaryOp,
    Value,
)
from oompolicy.compiler.place import Place
from oompolicy.compiler.well_formed import MalformedError
from oompolicy.mm.limits import LONG_MAX, LONG_MIN

HERE = Place("policy.py", 7, 12)
NOWHERE = MadeUpWorld({}, {1: b"sshd\0and junk\0\0\0"}, {})
A, B, C = (Value(number) for number in (2, 3, 4))


def answered(score: Operand) -> Return:
    return Return(Const(BandNumber.SCORE), score, HERE)


def said(*steps: Step, end: End | None = None, world: MadeUpWorld = NOWHERE) -> Answer | Failure:
    """What one block says; the value it returns is A where nothing else is said."""
    return run(Program("p", (Block("b", (), steps, end or answered(A)),)), world, TASKS[0], OC)


def number(op: BinaryOp, left: int, right: int) -> int | str:
    return outcome(said(Binary(A, op, Const(left), Const(right), True, HERE)))


def outcome(found: Answer | Failure) -> int | str:
    if isinstance(found, Failure):
        assert found.place == HERE
        return found.why
    return found.score


@pytest.mark.parametrize(
    ("op", "left", "right", "expected"),
    [
        (BinaryOp.ADD, LONG_MAX, 1, DOES_NOT_FIT),
        (BinaryOp.ADD, LONG_MIN, LONG_MAX, -1),
        (BinaryOp.SUB, LONG_MIN, 1, DOES_NOT_FIT),
        (BinaryOp.MUL, 1 << 32, -(1 << 31), LONG_MIN),
        (BinaryOp.MUL, 1 << 32, 1 << 31, DOES_NOT_FIT),
        (BinaryOp.FLOORDIV, -7, 2, -4),
        (BinaryOp.FLOORDIV, LONG_MIN, -1, DOES_NOT_FIT),
        (BinaryOp.FLOORDIV, 7, 0, DIVISION_BY_ZERO),
        (BinaryOp.MOD, -7, 2, 1),
        (BinaryOp.MOD, 7, -2, -1),
        (BinaryOp.MOD, LONG_MIN, -1, 0),
        (BinaryOp.MOD, 7, 0, DIVISION_BY_ZERO),
        (BinaryOp.SHL, 1, 62, 1 << 62),
        (BinaryOp.SHL, 1, 63, DOES_NOT_FIT),
        (BinaryOp.SHL, -1, 63, LONG_MIN),
        (BinaryOp.SHL, 0, LONG_MAX, 0),
        (BinaryOp.SHL, 0, -1, NEGATIVE_SHIFT),
        (BinaryOp.SHR, -5, LONG_MAX, -1),
        (BinaryOp.SHR, 5, 64, 0),
        (BinaryOp.SHR, 5, -1, NEGATIVE_SHIFT),
        (BinaryOp.AND, -1, LONG_MIN, LONG_MIN),
        (BinaryOp.MIN, LONG_MIN, LONG_MAX, LONG_MIN),
        (BinaryOp.MAX, LONG_MIN, LONG_MAX, LONG_MAX),
    ],
)
def test_arithmetic_is_exact_or_a_fault(op: BinaryOp, left: int, right: int, expected: int | str) -> None:
    assert number(op, left, right) == expected


def test_only_long_min_has_no_opposite() -> None:
    for op in (UnaryOp.NEG, UnaryOp.ABS):
        assert outcome(said(Unary(A, op, Const(LONG_MIN), True, HERE))) == DOES_NOT_FIT
        assert outcome(said(Unary(A, op, Const(-LONG_MAX), True, HERE))) == LONG_MAX
    assert outcome(said(Unary(A, UnaryOp.INVERT, Const(LONG_MIN), False, HERE))) == LONG_MAX


def test_of_a_comm_only_what_stands_before_the_nul_counts() -> None:
    for op, text, expected in (
        (CommOp.EQUALS, b"sshd", 1),
        (CommOp.EQUALS, b"ssh", 0),
        (CommOp.EQUALS, b"sshd\0and", 0),
        (CommOp.STARTSWITH, b"ssh", 1),
        (CommOp.STARTSWITH, b"sshd\0", 0),
    ):
        assert said(CommTest(A, op, TASK, text, HERE)) == Answer(BandNumber.SCORE, expected), text


def test_an_absent_number_is_0_and_not_present() -> None:
    read = Read(A, B, "task.value", TASK, None, HERE)
    for value, expected in ((None, 0), (0, 1), (-5, 1)):
        found = MadeUpWorld({(1, "task.value"): value}, {}, {})
        assert said(read, world=found) == Answer(BandNumber.SCORE, value or 0)
        assert said(read, end=answered(B), world=found) == Answer(BandNumber.SCORE, expected)


def test_a_read_that_fails_is_a_fault_of_its_place() -> None:
    world = MadeUpWorld({}, {}, {}, frozenset({(1, "task.rss")}))
    found = said(Read(A, None, "task.rss", TASK, None, HERE), world=world)
    assert found == Failure("task.rss cannot be read", HERE)


def test_reading_through_null_is_the_compilers_fault() -> None:
    memcg = Value(5, Kind.MEMCG)
    steps = (
        Read(memcg, None, "task.memcg", TASK, None, HERE),
        Read(A, None, "memcg.id", memcg, None, HERE),
    )
    world = MadeUpWorld({(1, "task.memcg"): None}, {}, {})
    with pytest.raises(MalformedError):
        said(*steps, world=world)
    guarded = (steps[0], Guard(CompareOp.NE, memcg, NULL, "it is None", HERE), steps[1])
    assert said(*guarded, world=world) == Failure("it is None", HERE)


def test_parameters_change_places_at_once() -> None:
    program = Program(
        "p",
        (
            Block("b0", (), (), Jump(Target("b1", (Const(1), Const(2))), HERE)),
            Block("b1", (A, B), (), Branch(CompareOp.LT, A, B, Target("b2", (B, A)), Target("b2", (A, B)), HERE)),
            Block("b2", (C, Value(5)), (), answered(C)),
        ),
    )
    assert run(program, NOWHERE, 1, OC) == Answer(BandNumber.SCORE, 2)


def test_a_score_counts_for_the_band_of_scores_alone() -> None:
    for band in BandNumber:
        found = said(end=Return(Const(band), Const(7), HERE))
        assert found == Answer(band, 7 if band is BandNumber.SCORE else 0)
    assert said(end=Fault("no way", HERE)) == Failure("no way", HERE)
